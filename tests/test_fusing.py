"""States of a memory as one state of all their texts."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import state_cubes  # noqa: E402

from pinyon import Memory  # noqa: E402
from pinyon.core.cube import Cube  # noqa: E402
from pinyon.core.header import Rights  # noqa: E402
from pinyon.core.payload import State  # noqa: E402
from pinyon.errors import BadInput, Conflict, Denied, NotFound  # noqa: E402
from pinyon.models.backbone import Backbone  # noqa: E402
from pinyon.testing import FixedClock, HashEmbedder, WordCounter  # noqa: E402

QUESTION = "Where does Ann keep her bees?"


@pytest.fixture(scope="module")
def model() -> Backbone:
    return state_cubes.backbone(limit=800)  # so that an answer is short


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    with Memory.open(tmp_path / "m.db", embedder=HashEmbedder(), tokens=WordCounter(), clock=FixedClock()) as opened:
        yield opened


def two(memory: Memory, model: Backbone) -> tuple[list[str], list[str]]:
    """Return the ids of four texts, and of two states of them."""
    texts = [memory.add(text).cubes[0].id for text in state_cubes.TEXTS]
    return texts, [memory.convert(some, backbone=model).cube.id for some in (texts[:2], texts[2:])]


def files(memory: Memory) -> set[str]:
    return {path.name for path in Path(memory.store.engine.location + ".blobs").rglob("*") if path.is_file()}


def state(cube: Cube) -> State:
    assert isinstance(cube.payload, State)
    return cube.payload


def said(cube: Cube) -> dict:
    found = state(cube).details["fused"]
    assert isinstance(found, dict)
    return found


def ids_of_states(memory: Memory) -> set[str]:
    return {cube.id for cube in memory.list(where={"kinds": ["state"]}).cubes}


@pytest.mark.parametrize("mode", ["reposition", "repair"])
def test_states_become_one_of_all_their_texts_and_stay(memory: Memory, model: Backbone, mode) -> None:
    texts, states = two(memory, model)
    made = memory.convert(states, backbone=model, fuse=mode)
    assert [parent.id for parent in made.cube.header.lineage.parents] == texts
    assert {parent.relation for parent in made.cube.header.lineage.parents} == {"converted"}
    assert [span[0] for span in state(made.cube).details["spans"]] == texts  # type: ignore[union-attr,index]
    assert (made.outcome, made.replaced) == ("created", ())
    assert 0 < made.reused < made.tokens
    assert state(made.cube).details["approximate"] is True
    assert said(made.cube)["states"] == states
    assert said(made.cube)["divergence"] > 0
    assert said(made.cube)["made_by"] == mode
    assert ids_of_states(memory) == {*states, made.cube.id}
    assert memory.check() == []


def test_ask_attaches_it_as_approximate_and_says_so(memory: Memory, model: Backbone) -> None:
    _, states = two(memory, model)
    made = memory.convert(states, backbone=model, fuse="repair")
    answer = memory.ask(QUESTION, generator=model)
    assert answer.saved is not None
    assert (answer.saved.state, answer.saved.is_approximate) == (made.cube.id, True)
    assert answer.saved.tokens == made.tokens
    assert "the approximate state" in answer.recall.found.notes[-1]


def test_what_was_read_goes_before_what_was_fused_and_is_not_taken_for_it(memory: Memory, model: Backbone) -> None:
    texts, states = two(memory, model)
    fused = memory.convert(states, backbone=model, fuse="repair")
    exact = memory.convert(texts, backbone=model)
    assert (exact.outcome, exact.replaced) == ("created", (fused.cube.id,))
    assert state(exact.cube).binding["token_ids"] == state(fused.cube).binding["token_ids"]
    answer = memory.ask(QUESTION, generator=model)
    assert answer.saved is not None
    assert (answer.saved.state, answer.saved.is_approximate) == (exact.cube.id, False)
    again = memory.convert(states, backbone=model, fuse="repair")  # there is a better one
    assert (again.outcome, again.cube.id) == ("unchanged", exact.cube.id)


def test_fusing_alike_changes_nothing_and_otherwise_takes_its_place(memory: Memory, model: Backbone) -> None:
    _, states = two(memory, model)
    one = memory.convert(states, backbone=model, fuse="repair", repaired=4)
    same = memory.convert(states, backbone=model, fuse="repair", repaired=4)
    assert (same.outcome, same.cube.id) == ("unchanged", one.cube.id)
    other = memory.convert(states, backbone=model, fuse="repair", repaired=8)
    assert (other.outcome, other.replaced) == ("created", (one.cube.id,))
    assert other.reused == one.reused - 4


def test_reading_again_is_exact_and_its_answer_is_that_of_the_texts(memory: Memory, model: Backbone) -> None:
    texts, states = two(memory, model)
    made = memory.convert(states, backbone=model, fuse="recompute")
    assert state(made.cube).details["approximate"] is False
    assert made.reused > 0  # the first state stands first
    answer = memory.ask(QUESTION, generator=model)
    with Memory.open(":memory:", embedder=HashEmbedder(), tokens=WordCounter(), clock=FixedClock()) as fresh:
        for text in state_cubes.TEXTS:
            fresh.add(text)
        read = fresh.convert(backbone=model)
        assert state(read.cube).binding == state(made.cube).binding
        assert fresh.ask(QUESTION, generator=model).text == answer.text
    assert memory.convert(texts, backbone=model).outcome == "unchanged"


def test_what_is_too_far_off_is_read_and_says_why(
    memory: Memory, model: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = importlib.import_module("pinyon.state.fuse_segment")  # the room shows the function by this name
    _, states = two(memory, model)
    measured = room._measured
    monkeypatch.setattr(room, "_measured", lambda *given: (0.2, measured(*given)[1]))
    made = memory.convert(states, backbone=model, fuse="reposition")
    assert state(made.cube).details["approximate"] is False
    assert (said(made.cube)["made_by"], said(made.cube)["measured"]) == ("recompute", 0.2)
    assert memory.convert(states, backbone=model, fuse="reposition").outcome == "unchanged"


def test_fewer_bits_are_kept_of_it_too_and_can_be_fused(memory: Memory, model: Backbone) -> None:
    texts = [memory.add(text).cubes[0].id for text in state_cubes.TEXTS]
    states = [memory.convert(some, backbone=model, form="int8").cube.id for some in (texts[:2], texts[2:])]
    made = memory.convert(states, backbone=model, fuse="repair", form="int8")
    assert state(made.cube).details["form"] == "int8"
    assert said(made.cube)["divergence"] > 0
    assert "divergence" in state(made.cube).details["errors"]  # type: ignore[operator]
    assert memory.ask(QUESTION, generator=model).saved is not None


# --- rights, life, lineage -------------------------------------------------------------------------------------------


def test_rights_are_what_all_sources_give_and_life_is_the_shortest(memory: Memory, model: Backbone) -> None:
    given = (
        {"rights": Rights(read=("user:bob", "user:eve"), sensitivity=("pii",))},
        {"rights": Rights(read=("user:bob",), sensitivity=("health",)), "expires": "2024-02-01"},
        {"rights": Rights(read=("user:eve", "user:bob"))},
    )
    texts = [
        memory.add(text, user="ann", **more).cubes[0] for text, more in zip(state_cubes.TEXTS, given, strict=False)
    ]
    some = (texts[:1], texts[1:])
    states = [memory.convert([c.id for c in each], backbone=model, user="ann").cube.id for each in some]
    memory.at(user="ann").rights.grant(states[0], deny=["user:mallory"])
    made = memory.convert(states, backbone=model, user="ann", fuse="repair").cube.header
    assert made.rights.read == ("user:bob",)
    assert set(made.rights.sensitivity) == {"pii", "health"}
    assert "user:mallory" in made.rights.deny  # a state may be narrower than its texts
    assert made.life.expires == texts[1].header.life.expires


def test_what_is_private_does_not_become_everybodys(memory: Memory, model: Backbone) -> None:
    texts = [memory.add(text, user="ann").cubes[0].id for text in state_cubes.TEXTS[:2]]
    states = [memory.convert([text], backbone=model, user="ann").cube.id for text in texts]
    with pytest.raises((Denied, NotFound)):
        memory.convert(states, backbone=model, fuse="repair")
    with pytest.raises(NotFound):
        memory.convert(states, backbone=model, fuse="repair", user="bob")
    assert memory.convert(states, backbone=model, fuse="repair", user="ann").cube.owner.user == "ann"


@pytest.mark.parametrize("which", [0, 3])
def test_it_is_stale_with_any_source_and_forgotten_with_any(memory: Memory, model: Backbone, which: int) -> None:
    texts, states = two(memory, model)
    made = memory.convert(states, backbone=model, fuse="repair")
    memory.update(texts[which], text="The boat is sold.")
    assert memory.get(made.cube.id).header.life.stale
    kept = state(made.cube).blobs[0].sha256
    assert kept in files(memory)
    done = memory.forget([texts[which]])
    assert made.cube.id in {cube.id for cube in done.cubes}
    assert kept not in files(memory)
    assert len(files(memory)) == 1  # the other state


def test_it_outlives_the_states_that_it_was_made_of(memory: Memory, model: Backbone) -> None:
    _, states = two(memory, model)
    made = memory.convert(states, backbone=model, fuse="repair")
    memory.forget(states)
    assert ids_of_states(memory) == {made.cube.id}
    assert memory.ask(QUESTION, generator=model).saved is not None


# --- what cannot be used ---------------------------------------------------------------------------------------------


def test_a_state_of_another_model_is_read_from_its_texts(memory: Memory, model: Backbone) -> None:
    texts, (one, _) = two(memory, model)
    foreign = memory.convert(texts[2:], backbone=state_cubes.backbone(seed=1)).cube.id
    made = memory.convert([one, foreign], backbone=model, fuse="reposition")
    assert list(said(made.cube)["read_again"]) == [foreign]
    assert "the weights differ" in said(made.cube)["read_again"][foreign]
    assert said(made.cube)["states"] == [one]
    assert state(made.cube).details["approximate"] is False  # the first one stands first, the rest was read
    both = [memory.convert(some, backbone=state_cubes.backbone(seed=1)).cube.id for some in (texts[:1], texts[1:3])]
    alone = memory.convert(both, backbone=model, fuse="repair")
    assert state(alone.cube).details["approximate"] is False
    assert "fused" not in state(alone.cube).details


def test_a_changed_text_is_read_and_nothing_of_the_old_one_stays(memory: Memory, model: Backbone) -> None:
    texts, states = two(memory, model)
    memory.update(texts[2], text="Tom is allergic to nothing at all.")
    made = memory.convert(states, backbone=model, fuse="repair")
    assert said(made.cube)["read_again"] == {states[1]: "one of its texts was changed"}
    memory.update(texts[0], time="2023-05-05")  # shown in the passage, so that its tokens are others
    later = memory.convert(states, backbone=model, fuse="repair")
    assert "fused" not in state(later.cube).details  # neither could be used
    assert state(later.cube).details["approximate"] is False


def test_a_text_that_is_shown_in_another_way_is_read(memory: Memory, model: Backbone) -> None:
    texts, states = two(memory, model)
    memory.update(texts[2], time="2023-05-05")  # stands in the passage; no other words
    made = memory.convert(states, backbone=model, fuse="repair")
    assert "today" in said(made.cube)["read_again"][states[1]]


def test_damaged_tensors_are_never_fused(memory: Memory, model: Backbone) -> None:
    texts, states = two(memory, model)
    name = state(memory.get(states[1])).blobs[0].sha256
    (file,) = Path(memory.store.engine.location + ".blobs").rglob(name)
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(bytes(data))
    memory.caller.parts.desk.close()
    made = memory.convert(states, backbone=model, fuse="reposition")
    assert "cannot be used" in said(made.cube)["read_again"][states[1]]
    assert [cube.id for cube in made.sources] == texts


def test_a_text_that_is_forgotten_meanwhile_leaves_nothing(memory: Memory, model: Backbone) -> None:
    texts, states = two(memory, model)
    with pytest.raises(Conflict, match="meanwhile"):
        memory.convert(states, backbone=model, fuse="repair", progress=lambda _: memory.forget([texts[0]]))
    assert ids_of_states(memory) == {states[1]}
    assert len(files(memory)) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fuse": "glue"}, "fused by 'glue'"),
        ({"fuse": "repair", "repaired": -1}, "repaired must be"),
        ({"fuse": "repair", "ids": 1}, "at least two states are fused, 1 were named"),
        ({"fuse": "repair", "ids": 0}, "at least two states are fused, 0 were named"),
    ],
)
def test_what_cannot_be_fused_is_said(memory: Memory, model: Backbone, given: dict, message: str) -> None:
    texts, states = two(memory, model)
    ids = {2: states, 1: [states[0], texts[3]], 0: texts}[given.pop("ids", 2)]
    with pytest.raises(BadInput, match=message):
        memory.convert(ids, backbone=model, **given)
