"""Runs of pipelines: several verbs in one transaction, all of them or nothing, noted with what went into them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from .core.clock import instant
from .core.cube import Cube
from .core.payload import Json, canonical
from .core.scope import Scope
from .errors import BadInput, Damaged, NotFound, PinyonError, StoreError
from .govern.receipts import blinded
from .holding import HeldFinder, held_parts
from .parts import Caller
from .schedule.operations import OPERATIONS
from .schedule.pipeline import Pipeline, Step, pipeline_of, templates
from .stepping import Gave, Work, perform
from .store.held import Held, LaterAudit, hold

if TYPE_CHECKING:
    from .memory import Memory
    from .store import Engine

__all__ = [
    "MOST_NOTES",
    "PipelineFailed",
    "PipelineNote",
    "PipelineRun",
    "StepRun",
    "at_desk",
    "notes",
    "pipeline_of",
    "run",
]

MOST_NOTES: Final = 200
"""Runs that a store keeps notes of; ours: half a year of a daily one, in some hundred kilobytes."""

Status = Literal["done", "dry run", "undone"]
StepStatus = Literal["done", "nothing to do", "left out", "skipped", "failed", "not reached"]

_LOG = logging.getLogger(__name__)
_LAST: Final = "pipeline runs"
_ONE: Final = "pipeline run:{}"
_PLAIN: Final = frozenset({"name", "names", "integer", "flag", "moment", "choice"})  # sorts that are never content
_SHORT: Final = 64  # characters; what is longer is hashed, whatever it should be
_MOST_IDS: Final = 100  # ids of a step that a note keeps; the journal has all


@dataclass(frozen=True, slots=True)
class StepRun:
    """What became of one step.

    Args:
        name: Of the step.
        verb: What it does.
        status: ``nothing to do`` where earlier steps gave nothing, ``left out`` where one that it needs was skipped.
        tries: How often it was begun.
        given: How many memories it worked on.
        cubes: What it gave, as it left them.
        text: The text it gave, or an empty one.
        entries: Entries of the journal that it wrote.
        error: Why it failed the last time, or an empty text.
    """

    name: str
    verb: str
    status: StepStatus
    tries: int = 0
    given: int = 0
    cubes: tuple[Cube, ...] = ()
    text: str = ""
    entries: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """What became of a pipeline.

    Args:
        name: Of the pipeline.
        status: ``done``, ``dry run``, or ``undone`` when a step failed.
        steps: In the order in which they ran.
        number: Of the note that is kept, from 1; 0 for a dry run.
        after: Number of the journal's entry before the run.
        entries: Entries of the journal that it wrote, which follow each other; 0 when nothing of it is left.
        ms: Milliseconds.
        error: Why a step failed, one sentence, or an empty text.
        hint: What to do about it, or an empty text.
    """

    name: str
    status: Status
    steps: tuple[StepRun, ...]
    number: int = 0
    after: int = 0
    entries: int = 0
    ms: float = 0.0
    error: str = ""
    hint: str = ""

    def step(self, name: str) -> StepRun:
        """Return what became of a step.

        Raises:
            NotFound: There is no such step.
        """
        for step in self.steps:
            if step.name == name:
                return step
        raise NotFound(f"the pipeline {self.name!r} has no step {name!r}")


class PipelineFailed(PinyonError, RuntimeError):
    """A step failed for good, and nothing of the run is left; the cause is chained.

    Args:
        run: How far it came.
        error: Why.
    """

    def __init__(self, run: PipelineRun, error: PinyonError) -> None:
        failed = next((step.name for step in run.steps if step.status == "failed"), "")
        super().__init__(f"step {failed!r} failed, and nothing of the run is left: {error.message}", hint=error.hint)
        self.run = run


@dataclass(frozen=True, slots=True)
class PipelineNote:
    """A run as it is kept: names, numbers and ids; texts, questions, labels and filters as hashes.

    Args:
        number: From 1.
        time: When it ended.
        by: Who ran it.
        space: Where.
        name: Of the pipeline.
        digest: SHA-256 of the pipeline as it was.
        status: ``done`` or ``undone``.
        after: Number of the journal's entry before the run.
        entries: Entries that it wrote.
        steps: Name, verb, inputs, status and outcome of each.
    """

    number: int
    time: datetime
    by: Scope
    space: str
    name: str
    digest: str
    status: str
    after: int
    entries: int
    steps: tuple[Mapping[str, Json], ...] = field(default_factory=tuple)


def run(
    pipeline: Pipeline,
    caller: Caller,
    make: Callable[[Caller], Memory],
    *,
    values: Mapping[str, object],
    dry_run: bool = False,
    progress: Callable[[StepRun], object] | None = None,
) -> PipelineRun:
    """Run a pipeline in one transaction of the store that the caller's space rests in.

    Args:
        pipeline: What is to be done.
        caller: Who does it; each step asks for its rights.
        make: Makes the memory of a caller.
        values: By name.
        dry_run: Do everything, say what came of it, and undo it.
        progress: Told of each step when it is over.

    Raises:
        BadInput: A value is missing or cannot be used.
        PipelineFailed: A step failed; everything was undone.
    """
    steps = pipeline.ready(pipeline.chosen(values))
    if not caller.parts.finder.embedder.is_instant:
        caller.parts.finder.index()  # settles whose vectors searches use, as long as nothing is written
    start = time.perf_counter()
    walk = _Walk(pipeline, steps, caller, progress)
    done = walk.run(make, dry_run=dry_run)
    return replace(done, ms=(time.perf_counter() - start) * 1000)


def at_desk(
    memory: Memory,
    task: Literal["list", "show", "run", "log"],
    what: Pipeline | str | Path = "",
    *,
    values: Mapping[str, object] | None = None,
    dry_run: bool = False,
    limit: int = 20,
) -> tuple[Pipeline, ...] | Pipeline | PipelineRun | tuple[PipelineNote, ...]:
    """Do what the verb ``pipeline`` asks for; a run that failed is returned with its error.

    Args:
        memory: The caller's.
        task: ``list`` gives the pipelines that come with pinyon, ``show`` one, ``run`` its run, ``log`` notes of runs.
        what: Which pipeline.
        values: What it is to work with.
        dry_run: Only say what would happen.
        limit: Most notes.

    Raises:
        BadInput: Nothing says which pipeline, or it cannot be used.
        NotFound: There is no such pipeline.
    """
    if task == "list":
        return templates()
    if task == "log":
        return tuple(memory.pipeline_runs(limit=limit))
    if not what:
        raise BadInput(f"nothing says what to {task}", hint="name a pipeline or a file; `pinyon pipeline list`")
    if task == "show":
        return pipeline_of(what)
    try:
        return memory.pipeline(what, values=values, dry_run=dry_run)
    except PipelineFailed as error:
        return error.run


class _Undo(Exception):
    """Leaves a transaction so that it is undone."""


class _Failed(Exception):
    """A step failed for good."""

    def __init__(self, error: PinyonError) -> None:
        super().__init__(error.message)
        self.error = error


class _Walk:
    """One run under way."""

    def __init__(
        self,
        pipeline: Pipeline,
        steps: Sequence[Step],
        caller: Caller,
        progress: Callable[[StepRun], object] | None,
    ) -> None:
        self.pipeline, self.steps, self.caller, self.progress = pipeline, steps, caller, progress
        self.over: list[StepRun] = []
        self.gave: dict[str, Gave] = {}  # by the name of a step; those that were skipped or left out are missing
        self.after = self.entries = self.number = 0

    def run(self, make: Callable[[Caller], Memory], *, dry_run: bool) -> PipelineRun:
        parts = self.caller.parts
        audit = LaterAudit(parts.root_engine.audit)
        try:
            with hold(parts.store.engine) as held:
                finder = HeldFinder(parts.finder, held)
                there = replace(self.caller, parts=held_parts(self.caller, held, audit, finder))
                self.after = held.start
                self._walk(make(there), held, finder)
                self.entries = held.head().seq - held.start
                if dry_run:
                    raise _Undo
                self.number = _keep(held.as_engine, self._note("done", there.parts.root_engine))
        except (_Undo, _Failed) as error:
            self._let_go(audit)
            if isinstance(error, _Failed):
                raise self._undone(error.error) from error.error
            return PipelineRun(self.pipeline.name, "dry run", tuple(self.over), 0, self.after, self.entries)
        except BaseException:
            self._let_go(audit)
            raise
        audit.write(is_done=True)
        finder.finish()
        parts.let_go()
        self._tell("done")
        return PipelineRun(self.pipeline.name, "done", tuple(self.over), self.number, self.after, self.entries)

    def _let_go(self, audit: LaterAudit) -> None:
        """Forget what was seen of a transaction that was undone; the audit keeps what was denied."""
        parts = self.caller.parts
        parts.desk.drop_store(parts.store.engine.identity)
        if any(not isinstance(step.do, str) for step in self.steps):  # it may have searched by the memory outside
            parts.finder.begin_again()
        audit.write(is_done=False)

    def _undone(self, error: PinyonError) -> PipelineFailed:
        """Note a run of which nothing is left."""
        self.entries = 0
        left = {step.name: step for step in self.steps}
        for done in self.over:
            left.pop(done.name)
        self.over += [StepRun(step.name, step.verb, "not reached") for step in left.values()]
        try:
            self.number = _keep(self.caller.parts.store.engine, self._note("undone", self.caller.parts.root_engine))
            self._tell("undone")
        except StoreError as failure:  # the store that failed the step may fail this too
            _LOG.warning("a run that was undone could not be noted: %s", failure.message)
        over = tuple(self.over)
        run = PipelineRun(self.pipeline.name, "undone", over, self.number, self.after)
        run = replace(run, error=error.message, hint=error.hint)
        return PipelineFailed(run, error)

    def _walk(self, memory: Memory, held: Held, finder: HeldFinder) -> None:
        for step in self.steps:
            done = self._step(step, memory, held, finder)
            self.over.append(done)
            if self.progress is not None and done.status != "failed":
                self.progress(done)

    def _step(self, step: Step, memory: Memory, held: Held, finder: HeldFinder) -> StepRun:
        plain = StepRun(step.name, step.verb, "left out")
        if any(name not in self.gave for name in step.sources):
            return plain
        cubes = self._cubes(step, memory.caller)
        text = "\n\n".join(text for name in step.sources if (text := self.gave[name].text))
        is_idle = not cubes and bool(step.sources) and not (step.do == "add" and (text or "text" in step.options))
        plain = replace(plain, status="nothing to do", given=len(cubes))
        if is_idle:
            self.gave[step.name] = Gave()
            return plain
        return self._tried(step, Work(memory, step, cubes, text), plain, held, finder)

    def _tried(self, step: Step, work: Work, plain: StepRun, held: Held, finder: HeldFinder) -> StepRun:
        """Do a step, each try of it in a part of the transaction."""
        space = step.options.get("space")
        first = held.head().seq
        for tried in range(1, step.tries + 1):
            try:
                with held.transaction():
                    memory = work.memory if space is None else work.memory.at(space=str(space))
                    gave = perform(replace(work, memory=memory))
            except StoreError as error:  # of which a transaction may have gone
                self._fail(replace(plain, status="failed", tries=tried, error=error.message), error)
            except PinyonError as error:
                finder.forget_own()
                plain = replace(plain, tries=tried, error=error.message)
                if tried == step.tries and step.on_error == "abort":
                    self._fail(replace(plain, status="failed"), error)
            else:
                cubes = tuple({cube.id: cube for cube in gave.cubes}.values())
                self.gave[step.name] = replace(gave, cubes=cubes)
                done = replace(plain, status="done", tries=tried, cubes=cubes, text=gave.text, error="")
                return replace(done, entries=held.head().seq - first)
        return replace(plain, status="skipped")

    def _fail(self, failed: StepRun, error: PinyonError) -> None:
        self.over.append(failed)
        raise _Failed(error) from error

    def _cubes(self, step: Step, caller: Caller) -> tuple[Cube, ...]:
        """Return what earlier steps gave, as it is now; what is gone, or not the caller's to see, is missing."""
        barred = {cube.id for name in step.without for cube in self.gave.get(name, Gave()).cubes}
        found = {cube.id: cube for name in step.sources for cube in self.gave[name].cubes if cube.id not in barred}
        now = caller.parts.store.engine.by_rows([cube.row for cube in found.values()])
        views = {space: caller.narrowed({"space": space}).whole_view() for space in {c.space for c in found.values()}}
        fresh = [now[cube.row] for cube in found.values() if cube.row in now]
        return tuple(cube for cube in fresh if views[cube.space].admits(cube))

    def _tell(self, status: Status) -> None:
        """Write to the audit that a pipeline was run."""
        auditor, caller = self.caller.parts.auditor, self.caller
        if auditor.writes("pipeline", allowed=True):
            detail: dict[str, Json] = {"run": self.number, "pipeline": self.pipeline.name, "status": status}
            detail |= {"after": self.after, "entries": self.entries, "steps": len(self.steps)}
            auditor.changed(caller.scope, "pipeline", [""], rule="default", space=caller.space, detail=detail)

    def _note(self, status: Status, engine: Engine) -> dict[str, Json]:
        """Return what is kept of the run, no content of memories; an engine has the key of hashes."""
        caller, by_name = self.caller, {step.name: step for step in self.steps}
        scope = caller.scope
        steps: list[Json] = [
            {
                "name": done.name,
                "do": done.verb,
                "from": list(by_name[done.name].sources),
                "inputs": _inputs(by_name[done.name], engine),
                "status": done.status,
                "tries": done.tries,
                "given": done.given,
                "entries": done.entries if status == "done" else 0,
                "gave": list[Json](cube.id for cube in done.cubes[:_MOST_IDS] if status == "done"),
            }
            for done in self.over
        ]
        return {
            "time": caller.now().isoformat(),
            "by": [scope.tenant, scope.user, scope.agent, scope.session],
            "space": caller.space,
            "name": self.pipeline.name,
            "digest": self.pipeline.digest,
            "status": status,
            "after": self.after,
            "entries": self.entries,
            "steps": steps,
        }


def _inputs(step: Step, engine: Engine) -> dict[str, Json]:
    """Return the options of a step: names, numbers and moments as they are, everything else as a keyed hash."""
    takes = OPERATIONS[step.do].takes if isinstance(step.do, str) else {}
    sorts = {**takes, "space": "name"}
    out: dict[str, Json] = {}
    for name, value in step.options.items():
        is_plain = sorts.get(name) in _PLAIN and len(str(value)) <= _SHORT
        out[name] = value if is_plain else f"hmac-sha256:{blinded(engine, value)[:16]}"
    return out


# --- notes ----------------------------------------------------------------------------------------------------------


def _keep(engine: Engine, said: dict[str, Json]) -> int:
    """Keep a note of a run, where the oldest one makes room, and return its number."""
    with engine.transaction() as tx:
        number = int(tx.setting(_LAST) or 0) + 1
        tx.set_setting(_ONE.format(number % MOST_NOTES), canonical({"number": number, **said}))
        tx.set_setting(_LAST, str(number))
    return number


def notes(caller: Caller, limit: int = 20) -> tuple[PipelineNote, ...]:
    """Return the latest runs that a caller may see, the latest first: its own; an administrator, those of its tenant.

    Args:
        caller: Who asks; the store of its space is looked at.
        limit: How many.

    Raises:
        Damaged: A note cannot be read.
    """
    engine = caller.parts.store.engine
    end = int(engine.setting(_LAST) or 0)
    found: list[PipelineNote] = []
    for number in range(end, max(0, end - MOST_NOTES), -1):
        text = engine.setting(_ONE.format(number % MOST_NOTES))
        if text and len(found) < limit:
            note = _read(text)
            if _may_see(caller, note.by):
                found.append(note)
    return tuple(found)


def _may_see(caller: Caller, by: Scope) -> bool:
    mine = caller.scope
    if mine.tenant != by.tenant:
        return False
    return caller.is_admin or (mine.user, mine.agent) == (by.user, by.agent)


def _read(text: str) -> PipelineNote:
    try:
        said = json.loads(text)
        return PipelineNote(
            int(said["number"]),
            instant(said["time"]),
            Scope(*said["by"]),
            said["space"],
            said["name"],
            said["digest"],
            said["status"],
            int(said["after"]),
            int(said["entries"]),
            tuple(said["steps"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged("the note of a pipeline's run cannot be read") from error
