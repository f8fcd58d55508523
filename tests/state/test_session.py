"""Conversations without end in constant bytes, saved and gone on with."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from state_worlds import TEMPLATE, numbers, tiny, tokenizer  # noqa: E402
from tiny_networks import backbone_of  # noqa: E402

from pinyon.errors import BadInput, Damaged, NotFound, StoreError, TooNew  # noqa: E402
from pinyon.models.base import Message  # noqa: E402
from pinyon.state import Compressor, KeyNorm, KVzip, Session, SinkWindow, SnapKV, Surprisal  # noqa: E402


def opened(policy=None, *, entries=60, backbone=None, **given):
    backbone = tiny() if backbone is None else backbone
    return backbone.session(policy or Surprisal(), budget_bytes=entries * backbone.bytes_per_token, **given)


def watched(session):
    """Count what is held within every forward pass."""
    held = []
    forward = session.backbone.forward

    def counting(ids, cache, *, logits, after_layer):
        def count(layer, entries, queries):
            held.append(cache.nbytes)
            if after_layer is not None:
                after_layer(layer, entries, queries)

        return forward(ids, cache, logits=logits, after_layer=count)

    session.backbone.forward = counting
    return held


@pytest.mark.parametrize("policy", [SinkWindow(), Surprisal(), KeyNorm(), SnapKV(queries=8)], ids=lambda p: p.name)
def test_the_budget_holds_at_every_moment_of_an_endless_talk(policy) -> None:
    session = opened(policy)
    held = watched(session)
    for turn in range(8):
        session.read(numbers(45, seed=turn))
        list(session.continuation(40))
    assert session.cache.read == 8 * 85
    assert max(held) <= session.budget_bytes
    assert session.cache.overhead_bytes < 60 * 4000  # constant: facts of tokens that are gone go too


def test_with_room_for_all_it_is_the_plain_model() -> None:
    session, ids = opened(entries=200), numbers(150)
    session.read(ids[:70])
    session.read(ids[70:])
    assert torch.allclose(session.logits, session.backbone.forward(ids), atol=1e-4)


def test_positions_never_grow_beyond_the_cache() -> None:
    session = opened(SinkWindow())
    for turn in range(5):
        session.read(numbers(100, seed=turn))
    assert session.cache.next_position <= session.entries
    assert int(session.cache.layers[0].uniform().positions.max()) < session.entries


@pytest.mark.parametrize(
    "policy",
    [SinkWindow(), Surprisal(decay=0.9), Surprisal(scoring="official", excluded=frozenset({3, 1})), SnapKV(queries=8)],
    ids=lambda p: p.name,
)
def test_a_saved_talk_goes_on_bit_for_bit(policy, tmp_path) -> None:
    session = opened(policy)
    session.read(numbers(90))
    answer = session.continuation(12)
    for _ in range(5):
        next(answer)  # in the middle of an answer
    session.save(tmp_path / "talk")
    again = Session.load(tmp_path / "talk", tiny(), policy)
    assert torch.equal(again.logits, session.logits)
    for one in (session, again):
        one.read(numbers(50, seed=4))
    assert list(session.continuation(30)) == list(again.continuation(30))
    assert torch.equal(again.logits, session.logits)
    assert session.to_bytes() == again.to_bytes()


def test_a_talk_without_words_can_be_saved() -> None:
    again = Session.load(opened().to_bytes(), tiny(), Surprisal())
    assert again.logits is None
    assert again.read([1, 2]) == 2


def test_the_same_talk_gives_the_same_bytes() -> None:
    one, two = opened(), opened()
    for session in (one, two):
        session.read(numbers(90))
    assert one.to_bytes() == two.to_bytes()


def test_every_flipped_bit_and_every_cut_is_seen() -> None:
    session = opened(entries=20)
    session.read(numbers(20))
    whole = session.to_bytes()
    for place in [*range(80), *range(80, len(whole), len(whole) // 60)]:
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        with pytest.raises(Damaged):
            Session.load(bytes(changed), session.backbone, Surprisal())
    for size in [*range(0, 80, 3), len(whole) // 2, len(whole) - 1]:
        with pytest.raises(Damaged):
            Session.load(whole[:size], session.backbone, Surprisal())


def test_a_later_format_is_refused_by_its_number() -> None:
    from pinyon.state._session_file import _sealed

    with pytest.raises(TooNew, match="format 9"):
        Session.load(_sealed(9, b"whatever"), tiny(), Surprisal())


def test_another_model_or_policy_is_refused() -> None:
    session = opened()
    session.read(numbers(20))
    with pytest.raises(BadInput, match="another model"):
        Session.load(session.to_bytes(), tiny(seed=1), Surprisal())
    with pytest.raises(BadInput, match="policy"):
        Session.load(session.to_bytes(), session.backbone, Surprisal(decay=0.5))


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch) -> None:
    session, file = opened(), tmp_path / "talk"
    session.read(numbers(20))
    session.save(file)
    before = file.read_bytes()
    session.read(numbers(20))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        session.save(file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(StoreError):
        session.save(tmp_path / "missing" / "talk")


def test_a_file_that_is_not_there_is_said_so(tmp_path) -> None:
    with pytest.raises(NotFound, match="no session"):
        Session.load(tmp_path / "none", tiny(), Surprisal())


@pytest.mark.parametrize("template", [TEMPLATE, None], ids=["template", "lines"])
def test_turns_are_laid_out_as_the_whole_talk_would_be(template) -> None:
    words = tokenizer(template)
    session = opened(entries=600, backbone=tiny(words=words), system="Be short.")
    fed = []
    feed = session._feed
    session._feed = lambda ids, **given: (fed.extend(ids), feed(ids, **given))[1]
    first, second = session.say("Who?", max_tokens=3), session.say("Where?", max_tokens=3)
    whole = session.backbone.render(
        [
            Message("system", "Be short."),
            Message("user", "Who?"),
            Message("assistant", "\0"),
            Message("user", "Where?"),
        ]
    )
    before, after = whole.split("\0")
    ids = fed[:-3]
    start = session.backbone.encode(before.rstrip(" "))
    assert ids[: len(start)] == start
    tail = session.backbone.encode(after)
    assert ids[-len(tail) :] == tail
    assert len(ids) == len(start) + 3 + len(tail)
    assert session.turn == 2
    assert isinstance(first, str)
    assert isinstance(second, str)


def test_roles_can_be_read_without_an_answer() -> None:
    session = opened(entries=600, backbone=tiny(words=tokenizer()))
    session.read("One.", role="user")
    session.read("OK", role="assistant")
    session.read("Two.", role="user")
    talk = [Message("user", "One."), Message("assistant", "OK"), Message("user", "Two.")]
    whole = session.backbone.encode(session.backbone.render(talk, opening=False))
    assert session.cache.tokens.ids.tolist() == whole


def test_streaming_gives_the_answer_in_pieces() -> None:
    backbone = tiny(words=tokenizer())
    one, two = opened(backbone=backbone, entries=90), opened(backbone=backbone, entries=90)
    assert "".join(one.stream("Hello there", max_tokens=20)) == two.say("Hello there", max_tokens=20)
    assert torch.equal(one.logits, two.logits)


def test_an_answer_that_is_not_read_to_its_end_is_a_turn_all_the_same() -> None:
    session = opened(backbone=tiny(words=tokenizer()), entries=300)
    answer = session.stream("Hello", max_tokens=50)
    next(answer)
    answer.close()
    assert session.turn == 1
    session.say("Go on", max_tokens=2)
    assert session.turn == 2


def test_turns_mark_the_tokens_they_brought() -> None:
    session = opened()
    session.read([1, 2, 3])
    session.read([4])
    assert session.cache.tokens.turns.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("given", [{"entries": 5}, {"chunk": 0}])
def test_settings_that_make_no_sense_are_refused(given) -> None:
    with pytest.raises(BadInput):
        opened(**given)


def test_calls_that_make_no_sense_are_refused() -> None:
    session = opened(backbone=tiny(words=tokenizer()))
    with pytest.raises(BadInput, match="read nothing"):
        list(session.continuation(3))
    with pytest.raises(BadInput, match="role"):
        session.read([1], role="user")
    with pytest.raises(BadInput, match="max_tokens"):
        session.say("x", max_tokens=0)


def test_renumbering_at_the_last_position_changes_nothing_that_is_read() -> None:
    """A window without gaps is only shifted, so a model that ends earlier says the same as one that does not."""
    policy = SinkWindow(sinks=0, positions="original")
    short, long = (opened(policy, entries=40, backbone=tiny(limit=limit)) for limit in (96, 4096))
    for turn in range(12):
        for session in (short, long):
            session.read(numbers(35, seed=turn))
        assert torch.allclose(short.logits, long.logits, atol=2e-4)
        assert list(short.continuation(5)) == list(long.continuation(5))
    assert short.cache.next_position <= 96
    assert long.cache.next_position == 12 * 40


def test_queries_that_a_policy_wants_are_renumbered_with_the_keys() -> None:
    backbone, policy = tiny(), SnapKV(queries=6, kernel=1)
    cache = backbone.cache()
    cutter = Compressor(backbone, cache, policy, entries=20)
    backbone.forward(numbers(30), cache, positions=range(500, 530), after_layer=cutter.watch)
    scores = [policy.score(cutter._view(index, cache.layers[index].uniform(), 30, 20)) for index in range(3)]
    cutter.renumber()
    assert cache.next_position == 30
    for index, before in enumerate(scores):
        after = policy.score(cutter._view(index, cache.layers[index].uniform(), 30, 20))
        assert torch.allclose(before, after, atol=1e-4)
    assert float(scores[0].max()) > 0.01


def test_a_model_whose_keys_cannot_be_moved_is_refused_before_the_talk() -> None:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    backbone = backbone_of("llama", rope_parameters=rope)
    for policy in (SinkWindow(), SnapKV(queries=4)):
        with pytest.raises(BadInput, match="cannot be moved") as caught:
            opened(policy, backbone=backbone)
        assert "rotary" in caught.value.hint


@pytest.mark.parametrize("given", [{"budget_bytes": "1GB"}, {"budget_bytes": 1e9}, {"budget_bytes": True}])
def test_a_budget_that_is_no_whole_number_is_refused(given) -> None:
    with pytest.raises(BadInput, match="whole number"):
        Session(tiny(), Surprisal(), **given)


def test_what_is_no_policy_is_refused() -> None:
    with pytest.raises(BadInput, match="KVzip is no cache policy") as caught:
        opened(KVzip())
    assert "KVzip.compress()" in caught.value.hint
    with pytest.raises(BadInput, match="object is no cache policy"):
        opened(object())


def test_what_cannot_be_read_is_refused() -> None:
    session = opened(backbone=tiny(words=tokenizer()))
    with pytest.raises(BadInput, match="text or token ids, got None"):
        session.read(None)
    with pytest.raises(BadInput, match="role must be one of system, user, assistant, got 'robot'"):
        session.read("x", role="robot")
    with pytest.raises(BadInput, match="a message is text, got None"):
        session.say(None)
    assert session.turn == 0


def test_a_model_opens_the_same_session_as_its_class() -> None:
    backbone = tiny()
    given = {"budget_bytes": 60 * backbone.bytes_per_token, "system": "Be brief."}
    one, two = backbone.session(Surprisal(decay=0.9), **given), Session(backbone, Surprisal(decay=0.9), **given)
    assert type(one) is Session
    for session in (one, two):
        session.read(numbers(100))
    assert one.to_bytes() == two.to_bytes()
    smaller = backbone.session(Surprisal(), budget_bytes=60 * backbone.bytes_per_token, chunk=3)
    held = []
    forward = backbone.forward
    backbone.forward = lambda ids, *given, **more: held.append(len(ids)) or forward(ids, *given, **more)
    smaller.read(numbers(20))
    assert max(held) == 3
