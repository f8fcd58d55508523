"""Surprising tokens stay, and fade by the turn."""

from __future__ import annotations

import random

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from state_worlds import numbers, tiny, tokenizer, view  # noqa: E402

from pinyon.errors import BadInput  # noqa: E402
from pinyon.state import Session, SinkWindow, Surprisal, compress, word_starts  # noqa: E402
from pinyon.state.policy import kept_entries  # noqa: E402
from pinyon.state.session import surprisals  # noqa: E402


class PlainSirLLM:
    """The turn loop of the paper on plain lists: which tokens stay, by their origins."""

    def __init__(self, size: int, sinks: int, recent: int, decay: float) -> None:
        self.size, self.sinks, self.recent, self.decay = size, sinks, recent, decay
        self.held: list[int] = []
        self.worth: list[float] = []
        self.read = 0

    def turn(self, surprisal: list[float]) -> None:
        n, m = len(self.held), len(surprisal)
        if n + m > self.size:
            top = self.size - self.sinks - self.recent - m
            by_worth = sorted(range(n), key=lambda j: (self.worth[j], j), reverse=True)
            keep = set(by_worth[: max(0, top)]) | {j for j in range(n) if self.held[j] < self.sinks}
            for j in range(n - 1, -1, -1):
                if len(keep) >= self.size - m:
                    break
                keep.add(j)
            self.held = [self.held[j] for j in sorted(keep)]
            self.worth = [self.worth[j] for j in sorted(keep)]
        self.worth = [self.decay * worth for worth in self.worth]
        self.held += range(self.read, self.read + m)
        self.worth += surprisal
        self.read += m


@pytest.mark.parametrize("decay", [1.0, 0.5])
@pytest.mark.parametrize("recent", [0, 5, 40])
def test_a_conversation_keeps_what_the_loop_of_the_paper_keeps(decay: float, recent: int) -> None:
    backbone = tiny()
    session = Session(backbone, Surprisal(4, recent=recent, decay=decay), budget_bytes=40 * backbone.bytes_per_token)
    plain = PlainSirLLM(40, 4, recent, decay)
    draw = random.Random(2)
    for turn in range(12):
        ids = numbers(draw.randint(1, 18), seed=turn)  # at most one piece: half of 40 - 4
        known = session.read(ids)
        facts = session.cache.tokens.lookup(torch.arange(plain.read, plain.read + known))
        plain.turn(facts.surprisal.double().tolist())
        for layer in session.cache.layers:
            assert layer.uniform().origins.tolist() == [plain.held, plain.held]


levels = st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=1, max_size=25)


@given(levels, st.integers(0, 5), st.integers(0, 5), st.integers(1, 25))
def test_the_choice_is_that_of_the_loop_with_equal_scores_too(surprisal, sinks, recent, room) -> None:
    size = len(surprisal)
    if room >= size or sinks > room:
        return
    seen = view(size, surprisal=torch.tensor([surprisal, surprisal]), turns=torch.zeros(2, size), room=room)
    fast = kept_entries(Surprisal(sinks, recent=recent).score(seen), room).tolist()
    plain = PlainSirLLM(size, sinks, recent, 1.0)
    plain.turn(surprisal)
    plain.turn([0.0] * (size - room))
    assert fast == [plain.held[:room]] * 2


def test_without_a_budget_for_surprise_it_is_the_window() -> None:
    seen = view(30, room=12)
    assert torch.equal(
        kept_entries(Surprisal(4, recent=12).score(seen), 12), kept_entries(SinkWindow(4).score(seen), 12)
    )


def test_a_decay_lets_an_old_surprise_go() -> None:
    surprisal = torch.tensor([[5.0] + [0.1] * 10 + [1.0]] * 2)
    turns = torch.tensor([[0] * 6 + [9] * 6] * 2)
    seen = view(12, surprisal=surprisal, turns=turns, room=1)
    assert kept_entries(Surprisal(0).score(seen), 1).tolist() == [[0], [0]]
    assert kept_entries(Surprisal(0, decay=0.5).score(seen), 1).tolist() == [[11], [11]]


def test_excluded_tokens_are_worth_nothing() -> None:
    ids = torch.tensor([[7, 1, 2, 3, 4, 5]] * 2)
    surprisal = torch.tensor([[9.0, 1, 2, 3, 4, 5]] * 2)
    seen = view(6, token_ids=ids, surprisal=surprisal, room=2)
    assert kept_entries(Surprisal(0).score(seen), 2).tolist() == [[0, 5]] * 2
    assert kept_entries(Surprisal(0, excluded=frozenset({7})).score(seen), 2).tolist() == [[4, 5]] * 2


def test_pieces_of_a_word_stay_together_when_asked() -> None:
    ids = torch.tensor([[1, 8, 9, 1, 9, 1]] * 2)  # 1 and 8 begin words, 9 goes on
    surprisal = torch.tensor([[0.0, 5.0, 0.1, 4.0, 0.0, 3.0]] * 2)
    seen = view(6, token_ids=ids, surprisal=surprisal, turns=torch.zeros(2, 6), room=3)
    assert kept_entries(Surprisal(0).score(seen), 3).tolist() == [[1, 3, 5]] * 2
    whole = Surprisal(0, word_starts=frozenset({1, 8}))
    assert whole.worth(seen)[0].tolist() == [0.0, 5.0, 5.0, 4.0, 4.0, 3.0]
    gap = torch.tensor([[0, 1, 3, 4, 5, 6]] * 2)  # the token between 8 and 9 is gone
    assert whole.worth(view(6, token_ids=ids, surprisal=surprisal, turns=torch.zeros(2, 6), origins=gap))[0, 2] < 1


def test_words_of_a_tokenizer_begin_at_spaces_and_signs() -> None:
    starts = word_starts(tiny(words=tokenizer()))
    vocabulary = tokenizer().get_vocab()
    assert {vocabulary["Ġ"], vocabulary["!"], vocabulary["<s>"]} <= starts
    assert vocabulary["a"] not in starts
    with pytest.raises(BadInput, match="tokenizer"):
        word_starts(tiny())


def test_the_surprise_of_a_token_is_that_of_the_logits_before_it() -> None:
    logits, before, ids = torch.randn(3, 9), torch.randn(9), [4, 2, 7]
    log_p = logits.log_softmax(dim=-1)
    paper = [-before.log_softmax(dim=-1)[4], -log_p[0, 2], -log_p[1, 7]]
    assert torch.allclose(surprisals(ids, logits, before, 1, official=False), torch.stack(paper))
    released = [-log_p[0, 4], -log_p[1, 2]]  # each repeats the token before; the first is the highest
    released = [max(released), *released]
    assert torch.allclose(surprisals(ids, logits, before, 1, official=True), torch.stack(released))


def test_the_first_token_of_all_gets_the_highest_of_its_piece() -> None:
    logits = torch.randn(3, 9)
    found = surprisals([4, 2, 7], logits, None, None, official=False)
    assert found[0] == found[1:].max()
    assert surprisals([4], logits[:1], None, None, official=False).tolist() == [0.0]


def test_the_released_score_differs_from_the_paper() -> None:
    backbone = tiny()
    kept = []
    for scoring in ("paper", "official"):
        session = Session(backbone, Surprisal(scoring=scoring), budget_bytes=40 * backbone.bytes_per_token)
        for turn in range(6):
            session.read(numbers(15, seed=turn))
        kept.append(session.cache.layers[0].uniform().origins[0].tolist())
    assert kept[0] != kept[1]


def test_one_turn_or_two_keep_the_same_while_nothing_fades() -> None:
    backbone, ids = tiny(), numbers(30)
    one, two = (Session(backbone, Surprisal(), budget_bytes=80 * backbone.bytes_per_token) for _ in range(2))
    one.read(ids)
    two.read(ids[:13])
    two.read(ids[13:])
    for session in (one, two):
        session.read(numbers(37, seed=9))
        session.read(numbers(37, seed=8))
    assert torch.equal(one.cache.layers[2].uniform().origins, two.cache.layers[2].uniform().origins)


def test_a_cache_that_was_read_without_surprise_is_refused() -> None:
    backbone = tiny()
    cache = backbone.cache()
    backbone.prefill(numbers(20), cache)
    with pytest.raises(BadInput, match="surprisal"):
        compress(backbone, cache, Surprisal(), entries=10)


@pytest.mark.parametrize("given", [{"sinks": -1}, {"recent": -1}, {"decay": 0.0}, {"decay": 1.1}, {"scoring": "x"}])
def test_settings_that_make_no_sense_are_refused(given) -> None:
    with pytest.raises(BadInput):
        Surprisal(**given)
