"""The verb that runs several others as one, as a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from .outcomes import Shown
from .verb import Given, Parameter, Verb

if TYPE_CHECKING:
    from ..memory import Memory
    from ..pipelining import PipelineNote, PipelineRun, StepRun
    from ..schedule import Pipeline

__all__ = ["PIPELINE_VERBS"]

_ID_SHOWN = 10  # as lists of memories show them
_EXCERPT = 90
_NAMED = 5  # memories of a step that are shown


def _pipeline(memory: Memory, given: Given) -> Shown:
    desk = import_module("pinyon.pipelining")  # only when it is asked for
    values = dict(cast("tuple[tuple[str, object], ...]", given.many("values")))
    limit, dry_run = given.integer("limit"), given.is_set("dry_run")
    task = given.text("task")
    found = desk.at_desk(memory, task, given.text("what"), values=values, dry_run=dry_run, limit=limit)
    shown: dict[str, Callable[[Any], Shown]] = {"list": _listed, "show": _shown, "run": _ran, "log": _log}
    return shown[task](found)


def _listed(pipelines: tuple[Pipeline, ...]) -> Shown:
    data: list[Any] = [
        {"name": each.name, "about": each.about, "values": dict(each.values), "needs": _needs(each)}
        for each in pipelines
    ]
    width = max(len(each.name) for each in pipelines)
    lines = [f"{each.name:<{width}}  {each.about}{_wanted(each)}" for each in pipelines]
    return Shown(data, tuple(lines))


def _needs(pipeline: Pipeline) -> list[str]:
    return [name for name, value in pipeline.values.items() if value is None]


def _wanted(pipeline: Pipeline) -> str:
    needs = _needs(pipeline)
    return f" Needs {', '.join(f'--set {name}=…' for name in needs)}." if needs else ""


def _shown(pipeline: Pipeline) -> Shown:
    data = cast("dict[str, Any]", pipeline.to_json())
    lines = [f"{pipeline.name}: {pipeline.about}" if pipeline.about else pipeline.name]
    for name, value in pipeline.values.items():
        lines.append(f"  --set {name}=…" + (" (needed)" if value is None else f" ({_brief(value)} when not set)"))
    said = {step["name"]: step for step in data["step"]}
    for number, step in enumerate(pipeline.order(), 1):
        entry = {key: value for key, value in said[step.name].items() if key not in ("name", "do")}
        if entry["on_error"] == "abort":
            del entry["on_error"]
        options = ", ".join(f"{key} {_brief(value)}" for key, value in entry.items())
        lines.append(f"{number:>3}. {step.name}: {step.verb}" + (f" ({options})" if options else ""))
    return Shown({**data, "order": [step.name for step in pipeline.order()], "digest": pipeline.digest}, tuple(lines))


def _brief(value: object) -> str:
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return " ".join(value)
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


_HEADS = {
    "done": "{name}: done, run {number}, {entries} entries in the journal",
    "dry run": "{name}: dry run, nothing was changed; a run would write {entries} entries",
    "undone": "{name}: failed, nothing of it is left, run {number}",
}


def _ran(run: PipelineRun) -> Shown:
    head = _HEADS[run.status].format(name=run.name, number=run.number, entries=run.entries)
    lines = [head, *(line for step in run.steps for line in _step_lines(step))]
    data: dict[str, Any] = {
        "name": run.name,
        "status": run.status,
        "run": run.number,
        "after": run.after,
        "entries": run.entries,
        "ms": round(run.ms, 1),
        "steps": [_step(step) for step in run.steps],
    }
    if run.error:
        data |= {"error": run.error, "hint": run.hint}
    if run.hint:
        lines.append(f"hint: {run.hint}")
    return Shown(data, tuple(lines), is_good=run.status != "undone")


def _step(step: StepRun) -> dict[str, Any]:
    return {
        "name": step.name,
        "do": step.verb,
        "status": step.status,
        "tries": step.tries,
        "given": step.given,
        "gave": [{"id": cube.id, "space": cube.space, "text": cube.text} for cube in step.cubes],
        "text": step.text,
        "entries": step.entries,
        "error": step.error,
    }


def _step_lines(step: StepRun) -> list[str]:
    numbers = f": {step.given} → {len(step.cubes)}" if step.given else f": {len(step.cubes)}"
    tried = f", {step.tries} tries" if step.tries > 1 else ""
    why = f" ({step.error})" if step.error else ""
    is_over = step.status == "done"
    lines = [f"  {step.name}  {step.verb}  {step.status}{numbers if is_over else ''}{tried}{why}"]
    if step.entries and is_over:
        lines += [f"      {cube.id[:_ID_SHOWN]}  {_excerpt(cube.text)}" for cube in step.cubes[:_NAMED]]
        if len(step.cubes) > _NAMED:
            lines.append(f"      … and {len(step.cubes) - _NAMED} more")
    return lines


def _excerpt(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _EXCERPT else f"{words[:_EXCERPT]}…"


def _log(notes: tuple[PipelineNote, ...]) -> Shown:
    lines = [line for note in notes for line in _note_lines(note)]
    return Shown([_note(note) for note in notes], tuple(lines) or ("no pipeline was run here",))


def _note(note: PipelineNote) -> dict[str, Any]:
    return {
        "run": note.number,
        "time": note.time.isoformat(),
        "by": note.by.given,
        "space": note.space,
        "name": note.name,
        "digest": note.digest,
        "status": note.status,
        "after": note.after,
        "entries": note.entries,
        "steps": [dict(step) for step in note.steps],
    }


def _note_lines(note: PipelineNote) -> list[str]:
    who = note.by.user or note.by.agent or "somebody"
    wrote = f"entries {note.after + 1} to {note.after + note.entries}" if note.entries else "no entries"
    lines = [f"{note.number}  {note.time:%Y-%m-%d %H:%M:%S}  {note.name}  {note.status}  by {who}  {wrote}"]
    for step in note.steps:
        inputs = cast("dict[str, object]", step["inputs"])
        said = ", ".join(f"{key} {_brief(value)}" for key, value in inputs.items())
        lines.append(f"    {step['name']}  {step['do']}  {step['status']}" + (f"  ({said})" if said else ""))
    return lines


PIPELINE_VERBS: tuple[Verb, ...] = (
    Verb(
        "pipeline",
        "Run several verbs as one: all of them, or nothing.",
        "list shows the pipelines that come with pinyon, show the steps of one, run runs it or a file of your own, and"
        " log shows what was run with its inputs.\n\n"
        "A run is one transaction: when a step fails, or the process is killed, nothing of it is left. With --dry-run"
        " everything is done and undone again, and what would happen is shown. Others wait with their writing until a"
        " run is over.",
        (
            "pinyon pipeline list",
            "pinyon pipeline show transfer",
            "pinyon pipeline run transfer --set to=archive --set tag=bees --dry-run",
            "pinyon pipeline run purification",
            "pinyon pipeline run tidy.toml --set k=20 --json",
            "pinyon pipeline log --limit 5",
        ),
        (
            Parameter("task", "What to do: list, show, run or log", "choice", "argument", shown="TASK",
                      is_required=True, choices=("list", "show", "run", "log")),
            Parameter("what", "Name of a pipeline, or a file that ends in .toml", "text", "argument", shown="NAME"),
            Parameter("values", "What it is to work with; give it again for more", "pair", "option", ("--set",),
                      "NAME=VALUE", is_many=True),
            Parameter("dry_run", "Only say what would happen", "flag", "option", ("--dry-run",)),
            Parameter("limit", "For log: most runs", "integer", "option", ("--limit",), "N", 20, least=1, most=200),
        ),
        ("pinyon.pipelining:at_desk", "pinyon.memory:Memory.pipeline", "pinyon.memory:Memory.pipeline_runs"),
        _pipeline,
    ),
)  # fmt: skip
"""Pipeline."""
