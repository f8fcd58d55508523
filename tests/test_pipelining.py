"""Runs of pipelines: everything or nothing, on every engine; rights, notes, and what each step does."""

from __future__ import annotations

import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from world_hash import fill, world_hash

from pinyon import Memory
from pinyon.core.cube import Cube
from pinyon.core.header import Rights
from pinyon.errors import BadInput, Conflict, ModelError, NotFound, StoreError
from pinyon.memory import engine_at
from pinyon.pipelining import MOST_NOTES, PipelineFailed
from pinyon.schedule import Pipeline, Step
from pinyon.testing import FixedClock, HashEmbedder, ScriptedModel, WordCounter

ENGINES = ["sqlite", "memory", "encrypted", pytest.param("postgres", marks=pytest.mark.postgres)]


def opened(kind: str, folder: Path, **more: Any) -> Memory:
    more = {"embedder": HashEmbedder(8), "tokens": WordCounter(), "user": "ann", "audit": "changes", **more}
    if kind == "postgres":
        sys.path.insert(0, str(Path(__file__).parent / "postgres"))
        from pg_server import WHY_NOT, shared

        if WHY_NOT:
            pytest.skip(WHY_NOT)
        return Memory.open(f"{shared().address}?schema=p{uuid.uuid4().hex[:16]}", **more)
    if kind == "encrypted":
        pytest.importorskip("sqlcipher3")
        return Memory.open(folder / "m.db", key=bytes(32), **more)
    return Memory.open(":memory:" if kind == "memory" else folder / "m.db", **more)


@pytest.fixture(params=ENGINES)
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Memory]:
    with opened(request.param, tmp_path) as found:
        fill(found)
        yield found


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Memory]:
    with opened("sqlite", tmp_path) as found:
        fill(found)
        yield found


def texts(memory: Memory, **who: str) -> list[str]:
    return [cube.text for cube in memory.list(newest_first=False, **who).cubes]  # type: ignore[arg-type]


# --- all or nothing -------------------------------------------------------------------------------------------------

STEPS = (
    Step("bees", "list", {"where": {"tags": ["bees"]}}),
    Step("redact", "redact", {"kinds": ["email"]}, ("bees",)),
    Step("found", "search", {"question": "honey", "k": 3}, after=("redact",)),
    Step("short", "condense", {"tokens": 20}, ("found",)),
    Step("note", "add", {"tags": ["short"]}, ("short",)),
    Step("label", "tag", {"tags": ["seen"]}, ("found",)),
    Step("copy", "copy", {"to": "farm"}, ("label",)),
    Step("once", "repeats", {}, ("redact",)),
    Step("away", "archive", {"why": "repeated"}, ("once",)),
    Step("hold", "freeze", {}, ("note",)),
    Step("allergy", "search", {"question": "peanuts", "k": 1}, after=("hold",)),
    Step("gone", "forget", {}, ("allergy",)),
)


def boom(memory: Memory, cubes: Sequence[Cube]) -> None:
    raise ModelError("the model is away")


def with_failure_after(number: int) -> Pipeline:
    """Return the long pipeline with a step that fails after so many others, and before the rest."""
    first, rest = STEPS[:number], STEPS[number:]
    failing = Step("boom", boom, after=tuple(step.name for step in first))
    late = tuple(
        Step(s.name, s.do, s.options, s.sources, s.without, (*s.after, "boom"), s.on_error, s.tries) for s in rest
    )
    return Pipeline("failing", (*first, failing, *late))


def test_a_long_run_does_what_its_steps_say(memory: Memory) -> None:
    done = memory.pipeline(Pipeline("long", STEPS))
    assert [step.status for step in done.steps] == ["done"] * len(STEPS)
    assert "Tom is allergic to peanuts." not in texts(memory)
    assert not any("example.org" in text for text in (*texts(memory), *texts(memory, space="farm")))
    assert len(texts(memory, space="farm")) == len(done.step("found").cubes)
    (note,) = memory.list(where={"states": ["frozen"]}).cubes
    assert {parent.id for parent in note.header.lineage.parents} == {cube.id for cube in done.step("short").cubes}
    assert done.entries == sum(step.entries for step in done.steps) == memory.store.engine.head().seq - done.after
    assert memory.verify().is_sound
    assert memory.check() == []
    assert {hit.cube.id for hit in memory.search("honey", space="farm").hits} == {
        cube.id for cube in done.step("copy").cubes
    }


@pytest.mark.parametrize("number", range(len(STEPS) + 1))
def test_a_failure_at_any_step_leaves_the_store_as_it_was(number: int, plain: Memory) -> None:
    before = world_hash(plain)
    with pytest.raises(PipelineFailed, match="step 'boom' failed") as error:
        plain.pipeline(with_failure_after(number))
    assert world_hash(plain) == before
    run = error.value.run
    assert (run.status, run.step("boom").status, run.entries) == ("undone", "failed", 0)
    assert [step.status for step in run.steps].count("not reached") == len(STEPS) - number
    assert plain.verify().is_sound
    assert plain.check() == []


def test_a_failure_after_all_steps_leaves_every_store_as_it_was(memory: Memory) -> None:
    before = world_hash(memory)
    with pytest.raises(PipelineFailed):
        memory.pipeline(with_failure_after(len(STEPS)))
    assert world_hash(memory) == before
    memory.add("Later.")
    assert memory.verify().is_sound
    assert memory.check() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, StoreError("the disk is full")])
def test_an_interruption_and_a_broken_store_undo_everything_whatever_a_step_says(error: Any, plain: Memory) -> None:
    def broken(memory: Memory, cubes: Sequence[Cube]) -> None:
        raise error

    before = world_hash(plain)
    steps = (*STEPS[:5], Step("broken", broken, after=("note",), on_error="skip", tries=3))
    with pytest.raises((KeyboardInterrupt, PipelineFailed)):
        plain.pipeline(Pipeline("broken", steps))
    assert world_hash(plain) == before


def test_a_dry_run_says_what_a_run_does_and_changes_nothing(memory: Memory) -> None:
    before = world_hash(memory)
    dry = memory.pipeline(Pipeline("long", STEPS), dry_run=True)
    assert world_hash(memory) == before
    assert memory.pipeline_runs() == ()
    done = memory.pipeline(Pipeline("long", STEPS))
    assert (dry.status, dry.entries, dry.after) == ("dry run", done.entries, done.after)
    said = [(step.name, step.status, [cube.text for cube in step.cubes], step.text) for step in dry.steps]
    assert said == [(step.name, step.status, [cube.text for cube in step.cubes], step.text) for step in done.steps]


def test_an_embedder_that_is_slow_sees_nothing_of_what_was_undone(tmp_path: Path) -> None:
    with opened("sqlite", tmp_path, embedder=HashEmbedder(8, is_instant=False)) as memory:
        fill(memory)
        memory.catch_up()
        before = world_hash(memory)
        with pytest.raises(PipelineFailed):
            memory.pipeline(with_failure_after(len(STEPS)))
        assert world_hash(memory) == before
        memory.pipeline(Pipeline("long", STEPS))
        memory.catch_up()
        assert memory.check() == []
        assert memory.search("honey", space="farm").hits


# --- against a naive executor ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """One random step: what it adds, which steps it reads, how often it fails first, what happens then."""

    name: str
    sources: tuple[str, ...]
    after: tuple[str, ...]
    failures: int
    tries: int
    on_error: str


@st.composite
def plans(draw: Any) -> list[Plan]:
    out: list[Plan] = []
    for number in range(draw(st.integers(1, 6))):
        earlier = [plan.name for plan in out]
        some = st.lists(st.sampled_from(earlier), max_size=2, unique=True) if earlier else st.just([])
        out.append(
            Plan(
                f"s{number}",
                tuple(draw(some)),
                tuple(draw(some)),
                draw(st.integers(0, 3)),
                draw(st.integers(1, 3)),
                draw(st.sampled_from(["abort", "skip", "skip"])),
            )
        )
    return out


def naive(plans: list[Plan]) -> tuple[set[str] | None, dict[str, str]]:
    """Return the texts of the world afterwards, None where everything is undone, and the status of each step."""
    world: set[str] = set()
    status: dict[str, str] = {}
    for plan in plans:
        if any(status[name] in ("skipped", "left out") for name in plan.sources):
            status[plan.name] = "left out"
        elif plan.failures < plan.tries:
            status[plan.name] = "done"
            world.add(plan.name)
        elif plan.on_error == "skip":
            status[plan.name] = "skipped"
        else:
            return None, status
    return world, status


def made(plan: Plan) -> Step:
    begun = 0

    def work(memory: Memory, cubes: Sequence[Cube]) -> Sequence[Cube]:
        nonlocal begun
        begun += 1
        if begun <= plan.failures:
            memory.add(f"{plan.name} draft")
            memory.add(f"{plan.name} another")
            assert memory.search("draft").hits  # by an index that must forget it again
            raise ValueError("not yet")
        added = memory.add(plan.name).cubes
        assert memory.search(plan.name, k=50).hits
        assert memory.check() == []
        return [*cubes, *added]

    return Step(plan.name, work, {}, plan.sources, (), plan.after, plan.on_error, plan.tries)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@given(chosen=plans(), is_shuffled=st.randoms(use_true_random=False))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_graphs_leave_what_a_naive_executor_leaves(
    kind: str, chosen: list[Plan], is_shuffled: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with opened(kind, tmp_path_factory.mktemp("walk")) as memory:
        steps = [made(plan) for plan in chosen]
        is_shuffled.shuffle(steps)
        pipeline = Pipeline("random", tuple(steps))
        by_name = {plan.name: plan for plan in chosen}
        world, status = naive([by_name[step.name] for step in pipeline.order()])
        if world is None:
            with pytest.raises(PipelineFailed) as error:
                memory.pipeline(pipeline)
            run = error.value.run
            world = set()
        else:
            run = memory.pipeline(pipeline)
        assert set(texts(memory)) == world
        assert {step.name: step.status for step in run.steps if step.name in status} == status
        assert {hit.cube.text for hit in memory.search(" ".join(by_name), k=50).hits} <= world
        assert memory.check() == []
        assert memory.verify().is_sound


# --- errors of steps ------------------------------------------------------------------------------------------------


def test_a_step_is_tried_again_and_then_skipped_with_what_needs_it(plain: Memory) -> None:
    steps = (
        Step("find", "list"),
        Step("short", "condense", {"by": "${model}"}, ("find",), on_error="skip", tries=3),
        Step("merge", "merge", {}, ("short",)),
        Step("label", "tag", {"tags": ["seen"]}, ("find",), after=("short",)),
    )
    model = ScriptedModel([])
    plain.caller.parts.generators["script"] = model
    done = plain.pipeline(Pipeline("try", steps, values={"model": None}), values={"model": "script"})
    assert [step.status for step in done.steps] == ["done", "skipped", "left out", "done"]
    assert done.step("short").tries == 3
    assert done.step("short").error


def test_a_model_can_condense(plain: Memory) -> None:
    plain.caller.parts.generators["script"] = ScriptedModel(["Ann's bees gave 30 kilos of honey."])
    done = plain.pipeline("consolidation", values={"question": "honey", "k": 3, "by": "script"})
    assert done.step("merge").cubes[0].text == "Ann's bees gave 30 kilos of honey."


def test_a_step_without_memories_has_nothing_to_do(plain: Memory) -> None:
    steps = (Step("none", "list", {"where": {"tags": ["nothing"]}}), Step("away", "archive", {}, ("none",)))
    done = plain.pipeline(Pipeline("idle", steps))
    assert [step.status for step in done.steps] == ["done", "nothing to do"]
    assert done.entries == 0


def test_writing_by_the_memory_outside_is_refused_and_undoes_the_run(memory: Memory) -> None:
    before = world_hash(memory)
    wrong = Step("wrong", lambda inner, cubes: memory.add("by the outer memory").cubes)
    with pytest.raises(PipelineFailed, match=r"writing to .* already"):
        memory.pipeline(Pipeline("wrong", (STEPS[0], STEPS[1], wrong)))
    assert world_hash(memory) == before


def test_searching_by_the_memory_outside_leaves_no_trace_of_what_was_undone(plain: Memory) -> None:
    def look(inner: Memory, cubes: Sequence[Cube]) -> None:
        inner.add("A ghost about honey.")
        assert plain.search("ghost").hits
        raise ModelError("away")

    with pytest.raises(PipelineFailed):
        plain.pipeline(Pipeline("ghost", (Step("look", look),)))
    assert plain.check() == []
    assert not any("ghost" in hit.cube.text for hit in plain.search("ghost").hits)
    plain.add("Something else about honey.")
    assert plain.check() == []


def test_a_step_can_run_a_pipeline_of_its_own(memory: Memory) -> None:
    def inner(inside: Memory, cubes: Sequence[Cube]) -> Sequence[Cube]:
        run = inside.pipeline("transfer", values={"to": "farm", "tag": "bees"})
        assert inside.search("honey", space="farm").hits
        return run.step("copy").cubes

    before = world_hash(memory)
    with pytest.raises(PipelineFailed):
        memory.pipeline(Pipeline("outer", (Step("inner", inner), Step("boom", boom, after=("inner",)))))
    assert world_hash(memory) == before
    done = memory.pipeline(Pipeline("outer", (Step("inner", inner), Step("pin", "pin", {}, ("inner",)))))
    assert len(done.step("pin").cubes) == 4
    assert all(cube.header.life.pinned for cube in memory.list(space="farm").cubes)
    assert memory.check() == []


def test_bad_functions_are_named(plain: Memory) -> None:
    with pytest.raises(PipelineFailed, match="returned a int"):
        plain.pipeline(Pipeline("odd", (Step("odd", lambda memory, cubes: 3),)))
    with pytest.raises(PipelineFailed, match="ZeroDivisionError"):
        plain.pipeline(Pipeline("odd", (Step("odd", lambda memory, cubes: 1 / 0),)))


def test_others_wait_with_their_writing_and_see_all_or_nothing(plain: Memory) -> None:
    reached, looked = threading.Event(), threading.Event()
    seen: list[list[str]] = []

    def pause(memory: Memory, cubes: Sequence[Cube]) -> None:
        reached.set()
        assert looked.wait(20)

    def other() -> None:
        assert reached.wait(20)
        seen.append(texts(plain))
        looked.set()
        plain.add("Written by another.")

    thread = threading.Thread(target=other)
    thread.start()
    plain.pipeline(Pipeline("slow", (Step("new", "add", {"text": "One."}), Step("pause", pause, after=("new",)))))
    thread.join(30)
    assert "One." not in seen[0]
    assert {"One.", "Written by another."} <= set(texts(plain))
    assert plain.check() == []


# --- templates ------------------------------------------------------------------------------------------------------


def test_transfer_copies_labels_and_archives(memory: Memory) -> None:
    done = memory.pipeline("transfer", values={"to": "farm", "tag": "bees"})
    copies = memory.list(space="farm").cubes
    assert len(copies) == 4
    assert all(cube.header.tags == ("bees", "transferred") for cube in copies)
    assert {cube.time for cube in copies} == {cube.time for cube in done.step("find").cubes}
    assert texts(memory) == ["Tom is allergic to peanuts."]
    again = memory.pipeline("transfer", values={"to": "farm", "tag": "bees"})
    assert again.entries == 0
    memory.forget([done.step("find").cubes[0].id])  # a copy goes with what it is a copy of
    assert len(memory.list(space="farm").cubes) == 3


def test_copies_of_two_that_say_the_same_are_two(plain: Memory) -> None:
    plain.add([{"role": "user", "content": "Yes.", "time": f"2024-07-0{day}"} for day in (1, 2)], tags=["talk"])
    plain.pipeline("transfer", values={"to": "farm", "tag": "talk"})
    assert texts(plain, space="farm") == ["Yes.", "Yes."]


def test_a_step_works_on_memories_as_they_are_by_then(plain: Memory) -> None:
    steps = (
        Step("bees", "list", {"where": {"tags": "bees", "until": "2024-06-01"}}),
        Step("rest", "list", {"where": {"tags": "bees", "since": "2024-06-12"}}),
        Step("say", "update", {"text": "Ann keeps wasps in the attic."}, ("bees",)),
        Step("gone", "forget", {}, ("rest",)),
        Step("short", "condense", {}, ("bees", "rest"), after=("say", "gone")),
    )
    done = plain.pipeline(Pipeline("fresh", steps))
    assert (done.step("short").given, done.step("short").text) == (1, "Ann keeps wasps in the attic.")


def test_purification_covers_repeats_and_puts_the_outdated_away(memory: Memory) -> None:
    source = memory.add("The mill stands by the river.").cubes[0]
    made_of = memory.add("There is a mill.", derived_from=[source.id]).cubes[0]
    memory.update(source.id, text="The mill burnt down.")
    memory.pipeline("purification")
    kept = texts(memory)
    assert sum("honey" in text for text in kept) == 2
    assert not any("example.org" in text.lower() for text in kept)
    assert memory.get(made_of.id).header.life.state == "archived"


def test_rollback_brings_back_what_was_said_at_a_moment(tmp_path: Path) -> None:
    clock = FixedClock("2024-07-01")
    with opened("sqlite", tmp_path, clock=clock) as memory:
        fill(memory)
        before = sorted(texts(memory))
        clock.set("2024-08-01")
        first, second, third = memory.list(newest_first=False).cubes[:3]
        memory.update(first.id, text="Ann keeps wasps.")
        memory.archive(second.id)
        memory.update(third.id, tags=["odd"])
        memory.add("A later thought.")
        memory.pipeline("rollback", values={"to": "2024-07-15"})
        assert sorted(texts(memory)) == before
        assert memory.get(third.id).header.tags == ("bees",)
        assert memory.verify().is_sound
        assert [line.op for line in memory.log(limit=3)].count("restore") >= 1  # history never shrinks


def test_consolidation_makes_one_of_several(plain: Memory) -> None:
    done = plain.pipeline("consolidation", values={"question": "honey of the hives", "k": 3, "tokens": 12})
    (one,) = done.step("label").cubes
    assert one.header.tags[-1] == "condensed"
    assert all(plain.get(cube.id).header.life.state == "archived" for cube in done.step("find").cubes)


def test_a_pipeline_in_a_file_runs(plain: Memory, tmp_path: Path) -> None:
    file = tmp_path / "tidy.toml"
    file.write_text('[[step]]\ndo = "list"\nlimit = 2\n[[step]]\ndo = "pin"\nfrom = "list"\n', encoding="utf-8")
    assert plain.pipeline(file).name == "tidy"
    assert sum(cube.header.life.pinned for cube in plain.list().cubes) == 2
    with pytest.raises(NotFound, match="cannot be opened"):
        plain.pipeline(tmp_path / "missing.toml")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match=r"no UTF-8|no TOML"):
        plain.pipeline(file)


def test_answers_and_contexts_can_be_added(plain: Memory) -> None:
    steps = (
        Step("ask", "ask", {"question": "What is Tom allergic to?"}),
        Step("keep", "add", {"tags": ["answer"]}, ("ask",)),
        Step("context", "recall", {"question": "honey", "budget_tokens": 50}, after=("keep",)),
        Step("text", "add", {"text": "Said once more."}, ("context",)),
    )
    done = plain.pipeline(Pipeline("answers", steps))
    (kept,) = done.step("keep").cubes
    assert "peanuts" in kept.text
    assert len(kept.header.lineage.parents) == len(done.step("ask").cubes) > 0


def test_updates_picks_and_labels(plain: Memory) -> None:
    steps = (
        Step("all", "list"),
        Step("first", "pick", {"limit": 1, "where": {"tags": "bees"}}, ("all",)),
        Step("rest", "pick", {}, ("all",), without=("first",)),
        Step("say", "update", {"text": "Ann keeps hens.", "priority": "high"}, ("first",)),
        Step("off", "untag", {"tags": "bees"}, ("rest",)),
        Step("pin", "pin", {}, ("say",)),
        Step("named", "get", {"ids": "${id}"}),
        Step("life", "expire", {}, ("named",)),
    )
    last = plain.list().cubes[0]
    plain.pipeline(Pipeline("several", steps, values={"id": None}), values={"id": last.id})
    (one,) = plain.list(where={"tags": ["bees"]}).cubes
    assert (one.text, one.header.life.priority, one.header.life.pinned) == ("Ann keeps hens.", 1.0, True)
    assert last.id not in {cube.id for cube in plain.list().cubes}


# --- rights and notes -----------------------------------------------------------------------------------------------


def test_each_step_asks_for_the_rights_of_the_caller(memory: Memory) -> None:
    theirs = memory.add("A shared plan about honey.", rights=Rights(read=("user:bob",))).cubes[0]
    bob = memory.at(user="bob")
    before = world_hash(memory)
    mine = Pipeline(
        "mine", (Step("find", "search", {"question": "honey"}), Step("tag", "tag", {"tags": "x"}, ("find",)))
    )
    with pytest.raises(PipelineFailed, match="may not be changed"):
        bob.pipeline(mine)
    assert world_hash(memory) == before
    denied = [entry.line for entry in memory.audit(allowed=False)]
    assert [line.cube for line in denied] == [theirs.id]  # what was denied is told though all was undone
    assert not [entry for entry in memory.audit(allowed=True, by="bob") if entry.line.action == "update"]
    copied = bob.pipeline("transfer", values={"to": "team", "tag": "nothing"})
    assert copied.entries == 0


def test_a_closed_space_takes_no_copies(plain: Memory) -> None:
    plain.rights.grant(write=["user:bob"], space="team")
    before = world_hash(plain)
    with pytest.raises(PipelineFailed, match="nothing may be added"):
        plain.pipeline("transfer", values={"to": "team"})
    assert world_hash(plain) == before


def test_runs_are_noted_with_their_inputs_and_without_content(memory: Memory) -> None:
    memory.pipeline("consolidation", values={"question": "secret honey", "k": 2, "label": "secretly"})
    with pytest.raises(PipelineFailed):
        memory.pipeline(with_failure_after(2))
    failed, done = memory.pipeline_runs()
    assert (failed.status, failed.entries, done.status, done.number) == ("undone", 0, "done", 1)
    assert [event.seq for event in memory.store.journal(done.after)][: done.entries][-1] == done.after + done.entries
    find = done.steps[0]["inputs"]
    assert find["k"] == 2  # type: ignore[index, call-overload]
    assert str(find["question"]).startswith("hmac-sha256:")  # type: ignore[index, call-overload]
    assert "secret" not in repr(memory.pipeline_runs())
    assert memory.pipeline_runs(user="bob") == ()
    told = [entry.line.detail for entry in memory.audit(actions=["pipeline"])]
    assert [(each["run"], each["status"]) for each in told] == [(1, "done"), (2, "undone")]
    assert len(memory.pipeline_runs(limit=1)) == 1


def test_old_notes_make_room(tmp_path: Path) -> None:
    with opened("memory", tmp_path) as memory:
        idle = Pipeline("idle", (Step("find", "list"),))
        for _ in range(MOST_NOTES + 3):
            memory.pipeline(idle)
        notes = memory.pipeline_runs(limit=MOST_NOTES + 3)
        assert [note.number for note in notes] == list(range(MOST_NOTES + 3, 3, -1))


def test_the_past_and_a_closed_memory_are_refused(plain: Memory) -> None:
    with pytest.raises(BadInput, match="the past cannot be written"):
        plain.as_of("2100-01-01").pipeline("purification")


def test_a_step_in_a_space_that_is_another_store_fails_as_any_step(tmp_path: Path) -> None:
    pytest.importorskip("sqlcipher3")
    with opened("encrypted", tmp_path) as memory:
        fill(memory)
        memory.own_key(space="vault")
        steps = (Step("there", "list", {"space": "vault"}, on_error="skip"), Step("here", "list", {"space": "farm"}))
        done = memory.pipeline(Pipeline("spaces", steps))
        assert [step.status for step in done.steps] == ["skipped", "done"]


def test_keys_of_spaces_are_not_changed_in_a_run(tmp_path: Path) -> None:
    pytest.importorskip("sqlcipher3")
    with opened("encrypted", tmp_path) as memory:
        fill(memory)
        own = Step("own", lambda inside, cubes: inside.own_key(space="fresh"))
        with pytest.raises(PipelineFailed, match="not changed inside a run"):
            memory.pipeline(Pipeline("own", (own,)))
        assert memory.check() == []


def test_a_space_with_a_key_of_its_own_is_a_store_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("sqlcipher3")
    with opened("encrypted", tmp_path) as memory:
        fill(memory)
        memory.own_key(space="vault")
        memory.add("A secret about honey.", space="vault")
        memory.add("a secret about honey", space="vault")
        with pytest.raises(PipelineFailed, match="rests in another file"):
            memory.pipeline("transfer", values={"to": "vault"})
        before = world_hash(memory), texts(memory, space="vault")
        failing = Pipeline("f", (Step("a", "list"), Step("b", "archive", {}, ("a",)), Step("c", boom, after=("b",))))
        with pytest.raises(PipelineFailed):
            memory.pipeline(failing, space="vault")
        assert (world_hash(memory), texts(memory, space="vault")) == before
        memory.pipeline("purification", space="vault")
        assert len(texts(memory, space="vault")) == 1
        assert memory.pipeline_runs(space="vault")[0].status == "done"
        with pytest.raises(PipelineFailed, match="rests in another file"):
            memory.pipeline("transfer", values={"to": "farm"}, space="vault")


@pytest.mark.postgres
def test_a_run_works_behind_the_walls_of_a_database(tmp_path: Path) -> None:
    with opened("postgres", tmp_path) as memory:
        fill(memory)
        postgres = import_module("pinyon.store.postgres")  # which needs its extra
        engine = memory.store.engine
        assert isinstance(engine, postgres.PostgresEngine)
        postgres.grant_walls(engine, "pinyon_piped")
        place = f"{engine.links.address}?schema={engine.links.schema}&role=pinyon_piped"
        before = world_hash(memory)
        with Memory.open(place, embedder=HashEmbedder(8), tokens=WordCounter(), user="ann") as walled:
            with pytest.raises(PipelineFailed):
                walled.pipeline(with_failure_after(len(STEPS)))
            assert world_hash(memory) == before
            done = walled.pipeline(Pipeline("long", STEPS))
            assert {step.status for step in done.steps} == {"done"}
        assert memory.verify().is_sound


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with opened("sqlite", tmp_path) as memory:
        fill(memory)
        with memory.store.engine.transaction(), pytest.raises(Conflict):
            memory.pipeline("purification")
    engine = engine_at(tmp_path / "m.db")
    assert engine.head().seq == 6
    engine.close()
