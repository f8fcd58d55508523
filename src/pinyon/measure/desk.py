"""`pinyon measure`: list what can be measured, run it, compare two results, print a folder; needles in a model."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from ..core.payload import Json
from ..errors import BadInput, MissingExtra
from .base import Report
from .charts import bars_png
from .html import charts_of, page
from .registry import MEASURES, SUBJECTS, Places, has_data
from .report import by_measure, compared, summary
from .runner import read_reports, run
from .session import MeasureBudget

__all__ = ["Measured", "Task", "measured", "write_report"]

Task = Literal["list", "run", "compare", "report", "needle"]
SUBJECTS_RUN = "pinyon,bm25,dense,hybrid,random"


@dataclass(frozen=True, slots=True)
class Measured:
    """What one call found.

    Args:
        text: For people, in Markdown.
        data: The same as JSON, without the questions.
        is_good: Whether every subject came to its end.
    """

    text: str
    data: Json
    is_good: bool = True


def measured(
    task: Task,
    names: Sequence[str] = (),
    *,
    subjects: str = SUBJECTS_RUN,
    small: bool = False,
    data: str | None = None,
    rivals: str | None = None,
    out: str = "measured",
    items: int | None = None,
    seed: int = 0,
    seconds_per_item: int = 60,
    seconds: int = 3600,
    processes: int = 1,
    model: str = "smollm2",
    policy: str = "none",
    ratio: str = "0.5",
    question: Literal["unseen", "seen"] = "unseen",
    lengths: str = "400,700,1000",
    depths: str = "0,0.25,0.5,0.75,1",
    profile: str | None = None,
    facts: str | None = None,
    png: str | None = None,
    progress: Callable[[object], object] | None = None,
) -> Measured:
    """Do one task of the measuring room.

    Args:
        task: ``list`` what there is, ``run`` measures, ``compare`` two results, ``report`` on folders of results, or
            ``needle``: ask a local model for needles, its cache cut by a policy.
        names: Measures to run, or files and folders.
        subjects: Names divided by commas.
        small: A sample of each measure, for a first impression.
        data: Folder of the question sets.
        rivals: Folder of the rivals' environments.
        out: Folder for results; a run that was interrupted goes on there.
        items: Most items of a measure, drawn at random; None takes what the measure has.
        seed: Of every random choice.
        seconds_per_item: Longest time of one item.
        seconds: Longest time of one measure on one subject.
        processes: Subjects at once; more than one falsifies the times.
        model: For needle, as `Backbone.load` takes it.
        policy: For needle, names divided by commas.
        ratio: For needle, the share of the entries that goes.
        question: For needle, whether the cache is cut before the question is read or after.
        lengths: For needle, tokens of the prompts, divided by commas.
        depths: For needle, where the needles lie, 0 to 1, divided by commas.
        profile: For needle, the file of the head profile.
        facts: For needle, a file of facts to hide.
        png: For needle, the file for a picture.
        progress: Told 1 after each item.

    Raises:
        BadInput: Something is missing, or cannot be read.
        NotFound: There is no measure or subject of a name.
        MissingExtra: The environment of a rival has not been made.
    """
    places = Places(_folder(data), _folder(rivals))
    match task:
        case "list":
            return _listed(places)
        case "run":
            if not names:
                raise BadInput("nothing says what to measure", hint="`pinyon measure list` shows the names")
            budget = MeasureBudget(seconds_per_item, seconds, items, small, seed)
            chosen = tuple(name.strip() for name in subjects.split(",") if name.strip())
            command = _command(names, chosen, small=small, items=items, seed=seed)
            reports = run(
                names, chosen, budget, Path(out).expanduser(), places=places, command=command, processes=processes,
                progress=_counted(progress),
            )  # fmt: skip
            return _shown(reports)
        case "compare":
            if len(names) != 2:
                raise BadInput(f"{len(names)} results cannot be compared", hint="give two files or folders")
            first, second = (read_reports([Path(name).expanduser()]) for name in names)
            both = [_plain(report) for report in (*first, *second)]
            return Measured(compared(first, second), both)
        case "report":
            folders = [Path(name).expanduser() for name in names] or [Path(out).expanduser()]
            reports = read_reports(folders)
            written = write_report(reports, folders[0] if folders[0].is_dir() else folders[0].parent)
            found = _shown(reports)
            said = "".join(f"\nwritten: {file}" for file in written)
            return Measured(found.text + said + "\n", found.data, found.is_good)
        case "needle":
            from .heads import needle

            looked = needle(
                model=model, policy=policy, ratio=ratio, question=question, lengths=lengths, depths=depths,
                profile=profile, facts=facts, items=items, seed=seed, out=out, png=png, progress=progress,
            )  # fmt: skip
            return Measured(looked.text, looked.data)
        case _:
            assert_never(task)


def write_report(reports: Sequence[Report], folder: Path) -> tuple[Path, ...]:
    """Write the reports as report.md, report.html and, with matplotlib, report.png; return the files.

    Args:
        reports: Of any measures.
        folder: Where to.
    """
    markdown, html, picture = (folder / f"report.{kind}" for kind in ("md", "html", "png"))
    markdown.write_text(summary(reports), encoding="utf-8")
    html.write_text(page("What was measured", reports), encoding="utf-8")
    charts = [
        (f"{name}: {title}", bars)
        for name, several in by_measure(reports).items()
        for title, bars in charts_of(several)
    ]
    try:
        if charts:
            bars_png(picture, charts)
            return markdown, html, picture
    except MissingExtra:  # a page with the same charts is there already
        pass
    return markdown, html


def _listed(places: Places) -> Measured:
    lines = ["measures:"]
    for known in MEASURES:
        lack = "" if has_data(known, places) else f"  (needs {known.data} below --data)"
        lines.append(f"  {known.name:<14} {known.help}{lack}")
    lines.append("subjects:")
    lines.extend(f"  {known.name:<14} {known.help}" for known in SUBJECTS)
    lines.append("  server.toml    A server that a file describes; your-file.py:Name is a subject of your own")
    data: dict[str, Json] = {
        "measures": [{"name": k.name, "help": k.help, "is_ready": has_data(k, places)} for k in MEASURES],
        "subjects": [{"name": k.name, "help": k.help} for k in SUBJECTS],
    }
    return Measured("\n".join(lines), data)


def _shown(reports: Sequence[Report]) -> Measured:
    is_good = not any(report.error for report in reports)
    return Measured(summary(reports), [_plain(report) for report in reports], is_good)


def _plain(report: Report) -> Json:
    return report.without_items().to_json()


def _folder(name: str | None) -> Path | None:
    return None if name is None else Path(name).expanduser()


def _command(names: Sequence[str], subjects: Sequence[str], *, small: bool, items: int | None, seed: int) -> str:
    words = ["pinyon", "measure", "run", *names, "--subjects", ",".join(subjects)]
    words += ["--small"] if small else []
    words += ["--items", str(items)] if items is not None else []
    words += ["--seed", str(seed)] if seed else []
    return shlex.join(words)


def _counted(progress: Callable[[object], object] | None) -> Callable[[str, int, int], object] | None:
    """Return what tells a counter of single steps how far each pair is."""
    if progress is None:
        return None
    known: dict[str, int] = {}

    def told(pair: str, done: int, _: int) -> None:
        if done > known.get(pair, 0):
            progress(done - known.get(pair, 0))
            known[pair] = done

    return told
