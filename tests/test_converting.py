"""Memories as states of a local model, and answers that read on from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import state_cubes  # noqa: E402

from pinyon import Memory  # noqa: E402
from pinyon.core.cube import Cube  # noqa: E402
from pinyon.core.payload import Blob, Kind, State  # noqa: E402
from pinyon.errors import BadInput, Conflict, Denied, NotFound, StoreError  # noqa: E402
from pinyon.models.backbone import Backbone  # noqa: E402
from pinyon.results import Answer  # noqa: E402
from pinyon.testing import FixedClock, HashEmbedder, WordCounter  # noqa: E402

QUESTION = "Where does Ann keep her bees?"


@pytest.fixture(scope="module")
def model() -> Backbone:
    return state_cubes.backbone(limit=680)  # so that an answer is short


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    clock = FixedClock()
    with Memory.open(tmp_path / "m.db", embedder=HashEmbedder(), tokens=WordCounter(), clock=clock) as opened:
        yield opened


def filled(memory: Memory, count: int = 3, **who: str) -> list[str]:
    return [memory.add(text, **who).cubes[0].id for text in state_cubes.TEXTS[:count]]  # type: ignore[arg-type]


def files(memory: Memory) -> list[Path]:
    return [path for path in Path(memory.store.engine.location + ".blobs").rglob("*") if path.is_file()]


def state(cube: Cube) -> State:
    assert isinstance(cube.payload, State)
    return cube.payload


def states(memory: Memory) -> list[Cube]:
    return list(memory.list(where={"kinds": ["state"]}).cubes)


def note(answer: Answer) -> str:
    return answer.recall.found.notes[-1]


# --- convert ---------------------------------------------------------------------------------------------------------


def test_a_state_names_its_texts_and_rests_as_one_blob(memory: Memory, model: Backbone) -> None:
    ids = filled(memory)
    made = memory.convert(ids, backbone=model)
    assert [parent.id for parent in made.cube.header.lineage.parents] == ids
    assert {parent.relation for parent in made.cube.header.lineage.parents} == {"converted"}
    assert made.cube.kind is Kind.STATE
    assert state(made.cube).details["approximate"] is False
    assert [file.stat().st_size for file in files(memory)] == [made.bytes]
    assert (made.outcome, made.tokens) == ("created", state(made.cube).tokens)
    assert memory.check() == []


def test_converting_the_same_again_changes_nothing(memory: Memory, model: Backbone) -> None:
    ids = filled(memory)
    one, two = memory.convert(ids, backbone=model), memory.convert(ids, backbone=model)
    assert two.cube == one.cube
    assert two.outcome == "unchanged"
    assert len(states(memory)) == 1


def test_a_query_and_a_space_can_be_converted(memory: Memory, model: Backbone) -> None:
    filled(memory, space="garden")
    by_space = memory.convert(space="garden", backbone=model)
    assert len(by_space.sources) == 3
    by_query = memory.convert(query=QUESTION, k=1, space="garden", backbone=model)
    assert [cube.text for cube in by_query.sources] == [state_cubes.TEXTS[0]]


def test_searches_and_recalls_show_no_states(memory: Memory, model: Backbone) -> None:
    filled(memory)
    before = memory.recall(QUESTION)
    made = memory.convert(backbone=model)
    assert made.cube.id not in {hit.cube.id for hit in memory.search(QUESTION, k=10).hits}
    assert memory.recall(QUESTION).text == before.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"ids": ["0" * 32]}, "no cube"),
        ({"to": "weights"}, "no conversion"),
        ({"ids": ["x"], "query": "y"}, "exclude"),
        ({"where": {"tags": ["none"]}}, "no text"),
        ({"ids": ["x"], "where": {"tags": ["y"]}}, "a filter exclude"),
        ({"backbone": 3}, "a int is no local model"),
    ],
)
def test_what_cannot_be_converted_is_said(memory: Memory, model: Backbone, arguments, said: str) -> None:
    filled(memory)
    with pytest.raises((BadInput, NotFound), match=said):
        memory.convert(**{"backbone": model, **arguments})
    assert files(memory) == []


def test_without_a_model_the_next_step_is_named(memory: Memory) -> None:
    filled(memory)
    with pytest.raises(BadInput, match="smollm2"):
        memory.convert()


def test_texts_that_are_too_long_for_the_model_are_refused(memory: Memory) -> None:
    filled(memory)
    with pytest.raises(BadInput, match="reads at most 64"):
        memory.convert(backbone=state_cubes.backbone(limit=64))


def test_rights_are_those_that_all_texts_give_and_life_is_the_shortest(memory: Memory, model: Backbone) -> None:
    from pinyon.core.header import Rights

    one = memory.add("Ann keeps bees.", user="ann", rights=Rights(read=("user:bob", "user:eve"), sensitivity=("pii",)))
    two = memory.add("Tom eats no nuts.", user="ann", rights=Rights(read=("user:bob",)), expires="2024-02-01")
    made = memory.convert([one.cubes[0].id, two.cubes[0].id], backbone=model, user="ann")
    assert made.cube.header.rights.read == ("user:bob",)
    assert made.cube.header.rights.sensitivity == ("pii",)
    assert made.cube.header.life.expires == two.cubes[0].header.life.expires


def test_what_is_private_does_not_become_everybodys(memory: Memory, model: Backbone) -> None:
    memory.add("Ann keeps bees.", user="ann")
    with pytest.raises((Denied, BadInput)):
        memory.convert(backbone=model)
    assert memory.convert(backbone=model, user="ann").cube.owner.user == "ann"


def test_a_text_that_changes_while_it_is_read_leaves_nothing(memory: Memory, model: Backbone) -> None:
    ids = filled(memory)

    def meanwhile(done: int) -> None:
        memory.update(ids[1], text="The spare key is lost.")

    with pytest.raises(Conflict, match="meanwhile"):
        memory.convert(ids, backbone=model, progress=meanwhile)
    assert states(memory) == []
    assert files(memory) == []


def test_a_text_that_is_forgotten_while_it_is_read_leaves_nothing(memory: Memory, model: Backbone) -> None:
    ids = filled(memory)
    with pytest.raises(Conflict, match="meanwhile"):
        memory.convert(ids, backbone=model, progress=lambda _: memory.forget([ids[0]]))
    assert states(memory) == []
    assert files(memory) == []


def test_a_disk_that_is_full_leaves_nothing(memory: Memory, model: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(memory)
    import os

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left"):
            memory.convert(backbone=model)
    assert files(memory) == []
    assert states(memory) == []
    assert memory.convert(backbone=model).outcome == "created"


# --- ask -------------------------------------------------------------------------------------------------------------


def test_an_answer_reads_on_from_the_state_and_is_that_of_the_whole_prompt(memory: Memory, model: Backbone) -> None:
    from pinyon.state.prefix import content_of
    from pinyon.text.cited_prompt import RULES

    ids = filled(memory, 4)
    made = memory.convert(ids[:3], backbone=model)
    answer = memory.ask(QUESTION, generator=model)
    assert answer.saved is not None
    assert answer.saved.state == made.cube.id
    assert answer.saved.tokens == made.tokens
    assert made.cube.id[:10] in note(answer)
    from pinyon.models.base import Message

    turn = f"Passages:\n[4] {state_cubes.TEXTS[3]}\n\nQuestion: {QUESTION}"
    prompt = [Message("system", content_of(made.sources, RULES)), Message("user", turn)]
    assert answer.text == model.generate(prompt).strip()
    assert [hit.cube.id for hit in answer.recall.hits] == [*ids]


def test_the_state_that_holds_most_hits_is_taken(memory: Memory, model: Backbone) -> None:
    ids = filled(memory, 4)
    memory.convert(ids[:1], backbone=model)
    most = memory.convert(ids[:3], backbone=model)
    memory.convert(ids[2:], backbone=model)
    answer = memory.ask(QUESTION, generator=model)
    assert answer.saved is not None
    assert answer.saved.state == most.cube.id


def test_an_exact_state_goes_before_an_approximate_one(memory: Memory, model: Backbone) -> None:
    filled(memory)
    rough = memory.convert(backbone=model, form="int8")
    assert set(state(rough.cube).details["errors"]) >= {"keys_max", "values_mean", "divergence"}  # type: ignore[arg-type]
    first = memory.ask(QUESTION, generator=model)
    assert first.saved is not None
    assert first.saved.is_approximate
    exact = memory.convert(backbone=model)
    second = memory.ask(QUESTION, generator=model)
    assert second.saved is not None
    assert (second.saved.state, second.saved.is_approximate) == (exact.cube.id, False)


def test_a_state_of_another_model_is_never_used(memory: Memory, model: Backbone) -> None:
    filled(memory)
    memory.convert(backbone=model)
    answer = memory.ask(QUESTION, generator=state_cubes.backbone(seed=1))
    assert answer.saved is None
    assert "the weights differ" in note(answer)


def test_why_no_state_fits_is_said(memory: Memory, model: Backbone) -> None:
    ids = filled(memory)
    assert "none was made" in note(memory.ask(QUESTION, generator=model))
    memory.convert(backbone=model)
    assert "exceed the budget of 10 tokens" in note(memory.ask(QUESTION, generator=model, budget_tokens=10))
    filtered = memory.ask(QUESTION, generator=model, where={"until": "2024-01-02", "tags": []})
    assert filtered.saved is not None
    memory.update(ids[0], time="2023-05-05")
    assert "tokens are not those" in note(memory.ask(QUESTION, generator=model))
    memory.update(ids[0], text="Ann keeps goats.")
    assert "stale" in note(memory.ask(QUESTION, generator=model))


def test_the_budget_holds_with_a_state_too(memory: Memory, model: Backbone) -> None:
    ids = filled(memory, 4)
    memory.convert(ids[:2], backbone=model)
    for budget in range(20, 45):
        answer = memory.ask(QUESTION, generator=model, budget_tokens=budget)
        assert len(answer.recall.text.split()) <= budget
        assert answer.recall.context.footprint.tokens <= budget


def test_a_caller_who_may_not_read_a_text_gets_no_state_of_it(memory: Memory, model: Backbone) -> None:
    from pinyon.core.header import Rights

    shared = [memory.add(t, user="ann", rights=Rights(read=("user:bob",))).cubes[0].id for t in state_cubes.TEXTS[:2]]
    memory.convert(shared, backbone=model, user="ann")
    bob = memory.ask(QUESTION, generator=model, user="bob")
    assert bob.saved is not None
    memory.at(user="ann").rights.grant(shared[1], read=[], deny=["user:bob"])
    assert memory.ask(QUESTION, generator=model, user="bob").saved is None


def test_a_damaged_state_is_never_attached_and_is_made_again(memory: Memory, model: Backbone) -> None:
    filled(memory)
    made = memory.convert(backbone=model)
    (file,) = files(memory)
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(bytes(data))
    memory.caller.parts.desk.close()  # another process would read the file anew
    answer = memory.ask(QUESTION, generator=model)
    assert answer.saved is None
    assert "changed on disk" in note(answer)
    assert memory.check()
    again = memory.convert(backbone=model)
    assert (again.cube.id, again.outcome) == (made.cube.id, "rewritten")
    assert memory.check() == []
    assert memory.ask(QUESTION, generator=model).saved is not None


# --- what is forgotten goes ------------------------------------------------------------------------------------------


def test_forgetting_a_text_drops_its_states_their_bytes_and_what_is_at_hand(memory: Memory, model: Backbone) -> None:
    ids = filled(memory)
    made = memory.convert(ids[:2], backbone=model)
    kept = memory.convert(ids[2:], backbone=model)
    memory.ask(QUESTION, generator=model)
    desk = memory.caller.parts.desk
    assert state(made.cube).blobs[0].sha256 in desk.shelf().names()
    done = memory.forget([ids[0]])
    assert made.cube.id in {cube.id for cube in done.cubes}
    assert state(made.cube).blobs[0].sha256 not in desk.shelf().names()
    assert [file.name for file in files(memory)] == [state(kept.cube).blobs[0].sha256]


def test_another_process_that_forgot_a_text_is_noticed_at_the_next_use(memory: Memory, model: Backbone) -> None:
    ids = filled(memory)
    memory.convert(ids, backbone=model)
    memory.ask(QUESTION, generator=model)
    with Memory.open(memory.store.engine.location, embedder=HashEmbedder(), tokens=WordCounter()) as other:
        other.forget([ids[0]])
    answer = memory.ask(QUESTION, generator=model)
    assert answer.saved is None
    assert not memory.caller.parts.desk.shelf().names()


def test_a_state_that_is_forgotten_while_its_tensors_are_read_does_not_stay(memory: Memory, model: Backbone) -> None:
    ids = filled(memory)
    made = memory.convert(ids, backbone=model)
    desk, engine = memory.caller.parts.desk, memory.store.engine
    desk.close()
    view = engine.blobs.view

    def forgotten(blob: Blob) -> memoryview:
        data = view(blob)
        with Memory.open(engine.location, embedder=HashEmbedder(), tokens=WordCounter()) as other:
            other.forget([ids[0]])
        return data

    engine.blobs.view = forgotten  # type: ignore[method-assign]
    with pytest.raises(NotFound, match="meanwhile"):
        desk.tensors(made.cube, engine)
    assert not desk.shelf().names()


def test_a_state_of_a_changed_text_is_made_anew_from_what_came_before_it(memory: Memory, model: Backbone) -> None:
    ids = filled(memory)
    old = memory.convert(ids, backbone=model)
    memory.update(ids[2], text="Tom is allergic to nothing at all.")
    new = memory.convert([old.cube.id], backbone=model)
    assert new.reused > len(old.sources[0].text)
    assert new.replaced == (old.cube.id,)
    assert [file.name for file in files(memory)] == [state(new.cube).blobs[0].sha256]
    answer = memory.ask(QUESTION, generator=model)
    assert answer.saved is not None
    fresh = Memory.open(":memory:", embedder=HashEmbedder(), tokens=WordCounter())
    for cube in new.sources:
        fresh.add(cube.text)
    assert state(fresh.convert(backbone=model).cube).binding == state(new.cube).binding
    assert fresh.ask(QUESTION, generator=model).text == answer.text


def test_what_was_cut_out_leaves_no_trace(memory: Memory, model: Backbone) -> None:
    from pinyon.state.prefix import attach

    ids = filled(memory)
    memory.convert(ids, backbone=model)
    mended = memory.convert([ids[0], ids[2]], backbone=model)
    assert mended.reused > 0
    with Memory.open(":memory:", embedder=HashEmbedder(), tokens=WordCounter()) as fresh:
        for cube in mended.sources:
            fresh.add(cube.text)
        alone = fresh.convert(backbone=model)
        caches = []
        for where, cube in ((memory, mended.cube), (fresh, alone.cube)):
            file = where.caller.parts.desk.tensors(cube, where.store.engine)
            caches.append(attach(model, state(cube), file).cache)
    for one, two in zip(caches[0].layers, caches[1].layers, strict=True):
        assert torch.allclose(one.uniform().keys, two.uniform().keys, atol=1e-5)
        assert torch.allclose(one.uniform().values, two.uniform().values, atol=1e-5)


# --- branches --------------------------------------------------------------------------------------------------------


@pytest.fixture
def branched(memory: Memory, model: Backbone) -> tuple[Memory, list[str], Cube]:
    """A memory with three texts and a state of them, and a branch of it: the memory, its texts, the branch's state."""
    ids = filled(memory)
    memory.convert(ids, backbone=model)
    assert memory.branch("if").cubes == 4
    there = memory.at(space="if")
    (copy,) = states(there)
    return there, ids, copy


def test_a_branch_attaches_its_copy_of_a_state(branched: tuple[Memory, list[str], Cube], model: Backbone) -> None:
    there, ids, copy = branched
    answer = there.ask(QUESTION, generator=model)
    assert answer.saved is not None
    assert answer.saved.state == copy.id
    assert {hit.cube.space for hit in answer.recall.hits} == {"if"}
    assert answer.text == there.at(space="main").ask(QUESTION, generator=model).text
    converted = [parent.id for parent in copy.header.lineage.parents if parent.relation == "converted"]
    assert [there.get(id).text for id in converted] == [there.get(id, space="main").text for id in ids]
    assert not set(converted) & set(ids)
    assert there.check() == []


def test_a_change_in_a_branch_makes_its_state_stale_and_no_other(
    branched: tuple[Memory, list[str], Cube], model: Backbone
) -> None:
    there, ids, copy = branched
    texts = [parent.id for parent in copy.header.lineage.parents if parent.relation == "converted"]
    there.update(texts[2], text="Tom is allergic to nothing.")
    assert there.ask(QUESTION, generator=model).saved is None
    assert there.ask(QUESTION, generator=model, space="main").saved is not None
    again = there.convert([copy.id], backbone=model)
    assert again.reused > len(state_cubes.TEXTS[0])
    assert again.replaced == (copy.id,)
    there.update(ids[0], text="Ann keeps goats.", space="main")
    assert there.ask(QUESTION, generator=model).saved is not None
    assert there.ask(QUESTION, generator=model, space="main").saved is None


def test_forgetting_in_a_branch_or_in_its_origin_drops_the_state_there(
    branched: tuple[Memory, list[str], Cube], model: Backbone
) -> None:
    there, ids, copy = branched
    texts = [parent.id for parent in copy.header.lineage.parents if parent.relation == "converted"]
    there.forget([texts[0]])
    assert states(there) == []
    assert len(files(there)) == 1
    assert there.ask(QUESTION, generator=model, space="main").saved is not None
    there.branch("again", space="main")
    assert len(states(there.at(space="again"))) == 1
    there.forget([ids[1]], space="main")
    assert states(there.at(space="again")) == states(there.at(space="main")) == []
    assert files(there) == []


def test_a_state_that_was_made_in_a_branch_is_attached_where_it_was_merged(
    branched: tuple[Memory, list[str], Cube], model: Backbone
) -> None:
    there, ids, copy = branched
    texts = [parent.id for parent in copy.header.lineage.parents if parent.relation == "converted"]
    there.update(texts[2], text="Tom is allergic to nothing.")
    fresh = there.add(state_cubes.TEXTS[3]).cubes[0].id
    there.convert([*texts, fresh], backbone=model)
    here = there.at(space="main")
    assert here.merge_branch("if").conflicts == ()
    answer = here.ask(QUESTION, generator=model)
    assert answer.saved is not None
    (made,) = [cube for cube in states(here) if not cube.header.life.stale]
    assert answer.saved.state == made.id
    assert set(ids) < {parent.id for parent in made.header.lineage.parents}
    assert [there.merge_branch("if", space="main").created, here.check()] == [(), []]
    here.update(ids[0], text="Ann keeps goats.")
    assert here.ask(QUESTION, generator=model).saved is None


def test_a_branch_that_lacks_a_text_attaches_nothing_of_it(memory: Memory, model: Backbone) -> None:
    ids = filled(memory)
    memory.convert(ids, backbone=model)
    memory.archive(ids[1])
    there = memory.at(space="if")
    memory.branch("if")
    assert there.ask(QUESTION, generator=model).saved is None
    assert there.check() == []


# --- promotion -------------------------------------------------------------------------------------------------------


def promoting(path: Path, model: Backbone, **given: object) -> Memory:
    clock = FixedClock()
    return Memory.open(
        path / "p.db", embedder=HashEmbedder(), tokens=WordCounter(), clock=clock, backbone=model, **given
    )  # type: ignore[arg-type]


def use(memory: Memory, times: int, *, question: str = QUESTION, k: int = 3) -> None:
    """Note what `ask` notes when a local model reads the best hits, without its answer."""
    from pinyon.prompts import note_prompt

    for number in range(times):
        cubes = [hit.cube for hit in memory.search(question, k=k).hits]
        note_prompt(memory.at(session=f"s{number % 3}").caller, cubes)


def total(memory: Memory) -> int:
    return sum(file.stat().st_size for file in files(memory))


def measured(memory: Memory, model: Backbone, gain: float) -> None:
    """Write down costs, so that the test does not depend on the machine."""
    key = memory.caller.parts.desk._key(model)
    costs = {"t_direct": gain, "t_cached": 0.0, "t_build": gain, "bytes_per_token": 1000}
    memory.store.engine.set_setting(key, json.dumps(costs))


def test_much_used_texts_are_promoted_and_texts_that_are_used_no_more_are_dropped(
    tmp_path: Path, model: Backbone
) -> None:
    with promoting(tmp_path, model) as memory:
        measured(memory, model, 0.01)
        ids = filled(memory, 2)
        use(memory, 12)
        memory.jobs.add("state")
        assert memory.work() == 2
        (promoted,) = states(memory)
        assert {parent.id for parent in promoted.header.lineage.parents} == set(ids)
        assert len(files(memory)) == 1
        answer = memory.ask(QUESTION, generator=model)
        assert answer.saved is not None
        clock = memory.caller.parts.clock
        assert isinstance(clock, FixedClock)
        clock.advance(60 * 86400)
        memory.jobs.add("state")
        memory.work()
        assert files(memory) == []
        assert all(state(cube).blobs == () for cube in states(memory))
        assert all("weights" in state(cube).binding for cube in states(memory))
        assert "dropped to save room" in note(memory.ask(QUESTION, generator=model))
        assert memory.check() == []
        assert memory.convert([ids[0]]).outcome == "created"


def test_processes_that_live_for_one_question_lead_to_a_promotion_too(tmp_path: Path, model: Backbone) -> None:
    with promoting(tmp_path, model) as memory:
        measured(memory, model, 0.01)
        filled(memory, 1)
    for process in (1, 2):
        with Memory.open(tmp_path / "p.db", embedder=HashEmbedder(), tokens=WordCounter(), clock=FixedClock()) as other:
            for _ in range(3):
                other.ask(QUESTION, generator=model)
        with promoting(tmp_path, model) as memory:
            memory.jobs.add("state")
            memory.work()
            assert len(states(memory)) == process - 1


def test_a_text_that_changed_is_promoted_after_as_many_sessions_again(tmp_path: Path, model: Backbone) -> None:
    with promoting(tmp_path, model) as memory:
        measured(memory, model, 0.01)
        (id,) = filled(memory, 1)
        use(memory, 12)
        memory.update(id, text="Ann keeps bees behind the new mill.")
        for session, expected in (("a", 0), ("b", 1)):
            for _ in range(3):
                memory.ask(QUESTION, generator=model, session=session)
            memory.jobs.add("state")
            memory.work()
            assert len(states(memory)) == expected


def test_more_sessions_than_are_counted_cannot_be_asked_for() -> None:
    from pinyon.schedule import StateRules
    from pinyon.states import StateConfig

    with pytest.raises(BadInput, match="nobody counts 9 sessions"):
        StateConfig(rules=StateRules(price=0.0, sessions=9))


def test_costs_are_measured_once(tmp_path: Path, model: Backbone) -> None:
    with promoting(tmp_path, model) as memory:
        desk, engine = memory.caller.parts.desk, memory.store.engine
        assert desk.known_costs(model, engine) is None
        found = desk.costs(model, engine)
        assert found.t_build >= found.t_direct > 0
        assert found.bytes_per_token >= model.bytes_per_token
        assert desk.costs(model, engine) == found
        assert files(memory) == []


def test_a_budget_of_bytes_holds(tmp_path: Path, model: Backbone) -> None:
    from pinyon.states import StateConfig

    sizes = []
    for most in (100_000, 500_000, 1_000_000, 2_000_000):
        with promoting(tmp_path / str(most), model, states=StateConfig(budget_bytes=most)) as memory:
            measured(memory, model, 0.01)
            filled(memory, 4)
            for text in state_cubes.TEXTS:
                use(memory, 12, question=text, k=1)
            memory.jobs.add("state")
            memory.work()
            assert total(memory) <= most
            assert len(states(memory)) == len(files(memory))
            sizes.append(len(states(memory)))
    assert sizes == [0, 1, 2, 4]


def test_a_state_that_is_larger_than_was_thought_is_never_written(tmp_path: Path, model: Backbone) -> None:
    from pinyon.states import StateConfig

    with promoting(tmp_path, model, states=StateConfig(budget_bytes=300_000)) as memory:
        key = memory.caller.parts.desk._key(model)
        costs = {"t_direct": 0.01, "t_cached": 0.0, "t_build": 0.01, "bytes_per_token": 1}
        memory.store.engine.set_setting(key, json.dumps(costs))
        filled(memory, 2)
        use(memory, 12)
        memory.jobs.add("state")
        memory.work()
        assert files(memory) == []
        assert "there is room for 300000" in str(memory.jobs.get(2).result["passed"])
        assert memory.caller.parts.desk.costs(model, memory.store.engine).bytes_per_token > 700
        memory.jobs.add("state")
        assert memory.work() == 1  # it is not tried again


def test_what_stands_in_one_prompt_becomes_one_state(tmp_path: Path, model: Backbone) -> None:
    with promoting(tmp_path, model) as memory:
        measured(memory, model, 0.01)
        ids = filled(memory, 4)
        use(memory, 12)
        use(memory, 12, question=state_cubes.TEXTS[3], k=1)
        memory.jobs.add("state")
        memory.work()
        together = {hit.cube.id for hit in memory.search(QUESTION, k=3).hits}
        alone = {hit.cube.id for hit in memory.search(state_cubes.TEXTS[3], k=1).hits}
        assert alone == {ids[3]}
        made = [{parent.id for parent in cube.header.lineage.parents} for cube in states(memory)]
        assert together in made
        assert len(made) == (1 if alone < together else 2)
        memory.jobs.add("state")
        assert memory.work() == 1  # nothing is left to be done


def test_searches_and_recalls_alone_promote_nothing(tmp_path: Path, model: Backbone) -> None:
    with promoting(tmp_path, model) as memory:
        measured(memory, model, 0.01)
        filled(memory)
        for number in range(12):
            memory.recall(QUESTION, session=f"s{number % 3}")
        memory.jobs.add("state")
        assert memory.work() == 1
        assert states(memory) == []


def test_what_is_forgotten_is_no_part_of_a_prompt_any_more(tmp_path: Path, model: Backbone) -> None:
    with promoting(tmp_path, model) as memory:
        measured(memory, model, 0.01)
        ids = filled(memory, 2)
        use(memory, 12)
        use(memory, 2, question=state_cubes.TEXTS[1], k=1)
        memory.forget([ids[0]])
        known = memory.store.engine.setting("state_prompts") or ""
        assert [one["rows"] for one in json.loads(known).values()] == [[2]]
        memory.forget([ids[1]])
        assert memory.store.engine.setting("state_prompts") == "{}"
        memory.jobs.add("state")
        memory.work()
        assert states(memory) == []


def test_a_state_somebody_made_is_left_alone_and_is_reason_enough_for_no_other(tmp_path: Path, model: Backbone) -> None:
    with promoting(tmp_path, model) as memory:
        measured(memory, model, 0.01)
        filled(memory, 2)
        made = memory.convert()
        use(memory, 12)
        memory.jobs.add("state")
        memory.work()
        assert states(memory) == [made.cube]


def test_an_answer_says_what_was_saved_by_what_converting_took(memory: Memory, model: Backbone) -> None:
    filled(memory)
    made = memory.convert(backbone=model)
    costs = memory.caller.parts.desk.known_costs(model, memory.store.engine)
    assert costs is not None
    assert 0 < costs.t_direct * made.tokens * 1000 < made.ms
    answer = memory.ask(QUESTION, generator=model)
    assert answer.saved is not None
    assert answer.saved.ms is not None
    rough = memory.convert(backbone=model, form="int8")
    assert rough.replaced == (made.cube.id,)
    saved = memory.ask(QUESTION, generator=model).saved
    assert saved is not None
    assert (saved.state, saved.ms is None) == (rough.cube.id, False)


# --- encrypted -------------------------------------------------------------------------------------------------------


def test_an_encrypted_memory_seals_its_states(tmp_path: Path, model: Backbone) -> None:
    pytest.importorskip("cryptography")
    pytest.importorskip("sqlcipher3")
    with Memory.open(
        tmp_path / "e.db", key="a long passphrase", embedder=HashEmbedder(), tokens=WordCounter()
    ) as memory:
        ids = filled(memory)
        made = memory.convert(ids, backbone=model)
        (file,) = files(memory)
        assert file.name != state(made.cube).blobs[0].sha256
        assert b"layers.0" not in file.read_bytes()
        answer = memory.ask(QUESTION, generator=model)
        assert answer.saved is not None
        assert memory.caller.parts.desk.statistics.held == {"ram": 1}
        assert memory.stats().detail["states_at_hand"]["held"] == {"ram": 1}
        memory.forget([ids[0]])
        assert files(memory) == []
        assert not memory.caller.parts.desk.shelf().names()


def test_a_state_travels_in_an_archive(memory: Memory, model: Backbone, tmp_path: Path) -> None:
    from pinyon.importing import export, import_archive

    filled(memory)
    made = memory.convert(backbone=model)
    export(memory, tmp_path / "a.pinyon")
    with Memory.open(tmp_path / "n.db", embedder=HashEmbedder(), tokens=WordCounter()) as other:
        import_archive(other, tmp_path / "a.pinyon")
        assert [replace(cube, row=0, seq=0) for cube in states(other)] == [replace(made.cube, row=0, seq=0)]
        assert other.ask(QUESTION, generator=model).saved is not None
