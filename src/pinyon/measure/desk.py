"""`pinyon measure`: list what can be measured, run it, compare two results, print a folder; needles in a model."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never, cast

from ..core.payload import Json
from ..errors import BadInput, MissingExtra
from ..settings import load_settings
from .base import Report
from .charts import bars_png
from .comparison import compared, differences, pairs_of
from .html import charts_of, page
from .registry import MEASURES, SUBJECTS, Choices, Places, has_data
from .report import by_measure, summary
from .runner import read_reports, run
from .session import MeasureBudget

__all__ = ["Measured", "Task", "measured", "write_report"]

Task = Literal["list", "run", "compare", "report", "needle"]
SUBJECTS_RUN = "pinyon,bm25,dense,hybrid,random"
_SECONDS_PER_ITEM = 60
_SECONDS = 3600


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


@dataclass(frozen=True, slots=True)
class _Run:
    """What a run is told; the fields are those of `measured`."""

    subjects: tuple[str, ...]
    small: bool
    data: str | None
    rivals: str | None
    out: str
    items: int | None
    sizes: str | None
    seed: int
    seconds_per_item: int
    seconds: int
    processes: int
    reader: str | None
    judge: str | None
    writer: str | None

    @property
    def budget(self) -> MeasureBudget:
        """How much is asked, and how long."""
        return MeasureBudget(self.seconds_per_item, self.seconds, self.items, self.small, self.seed)

    @property
    def choices(self) -> Choices:
        """Models and sizes."""
        return Choices(self.reader, self.judge, self.writer, None if self.sizes is None else _sizes(self.sizes))

    @property
    def places(self) -> Places:
        """Where things lie: as given, else as the settings say."""
        return _places(self.data, self.rivals)

    def command(self, names: Sequence[str]) -> str:
        """Return what prints it again, without the folders of this machine."""
        words = ["pinyon", "measure", "run", *map(_here, names), "--subjects", ",".join(map(_here, self.subjects))]
        words += ["--small"] if self.small else []
        for flag, value, usual in (
            ("--items", self.items, None), ("--sizes", self.sizes, None), ("--seed", self.seed, 0),
            ("--reader", self.reader, None), ("--judge", self.judge, None), ("--writer", self.writer, None),
            ("--seconds-per-item", self.seconds_per_item, _SECONDS_PER_ITEM), ("--seconds", self.seconds, _SECONDS),
            ("--processes", self.processes, 1), ("--data", self.data, None), ("--rivals", self.rivals, None),
            ("--out", self.out, "measured"),
        ):  # fmt: skip
            words += [] if value == usual else [flag, _here(str(value))]
        return shlex.join(words)


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
    sizes: str | None = None,
    seed: int = 0,
    seconds_per_item: int = _SECONDS_PER_ITEM,
    seconds: int = _SECONDS,
    processes: int = 1,
    reader: str | None = None,
    judge: str | None = None,
    writer: str | None = None,
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
        data: Folder of the question sets, or one of their files; the setting `data` when None.
        rivals: Folder of the rivals' environments; the setting `bench_cache` when None.
        out: Folder for results; a run that was interrupted goes on there.
        items: Most items of a measure, drawn at random; None takes what the measure has.
        sizes: Of histories or haystacks, divided by commas; None takes those of the measure.
        seed: Of every random choice.
        seconds_per_item: Longest time of one item.
        seconds: Longest time of one measure on one subject.
        processes: Subjects at once; more than one falsifies the times.
        reader: Model that answers from what each subject recalls.
        judge: Model that says whether an answer is right.
        writer: Model with which a rival writes its memories.
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
    chosen = tuple(name.strip() for name in subjects.split(",") if name.strip())
    match task:
        case "list":
            return _listed(_places(data, rivals))
        case "run":
            told = _Run(chosen, small, data, rivals, out, items, sizes, seed, seconds_per_item, seconds, processes,
                        reader, judge, writer)  # fmt: skip
            return _ran(names, told, progress)
        case "compare":
            return _compared(names, chosen)
        case "report":
            return _reported([Path(name).expanduser() for name in names] or [Path(out).expanduser()])
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
        is_there = has_data(known, places)
        lack = "" if is_there else f"  (needs {known.data} below --data)"
        lack = f"  (uses {known.data} below --data when it is there)" if known.is_optional and not is_there else lack
        lines.append(f"  {known.name:<14} {known.help}{lack}")
    lines.append("subjects:")
    lines.extend(f"  {known.name:<14} {known.help}" for known in SUBJECTS)
    lines.append("  server.toml    A server that a file describes; your-file.py:Name is a subject of your own")
    data: dict[str, Json] = {
        "measures": [
            {"name": k.name, "help": k.help, "is_ready": k.is_optional or has_data(k, places)} for k in MEASURES
        ],
        "subjects": [{"name": k.name, "help": k.help} for k in SUBJECTS],
    }
    return Measured("\n".join(lines), data)


def _ran(names: Sequence[str], told: _Run, progress: Callable[[object], object] | None) -> Measured:
    if not names:
        raise BadInput("nothing says what to measure", hint="`pinyon measure list` shows the names")
    if not told.subjects:
        raise BadInput("no subject is named", hint="`pinyon measure list` shows the names")
    reports = run(
        names, told.subjects, told.budget, Path(told.out).expanduser(), places=told.places, choices=told.choices,
        command=told.command(names), processes=told.processes, progress=_counted(progress),
    )  # fmt: skip
    return _shown(reports)


def _compared(names: Sequence[str], subjects: Sequence[str]) -> Measured:
    if len(names) not in (1, 2):
        raise BadInput(
            f"{len(names)} results cannot be compared", hint="give two files or folders, or one folder and --subjects"
        )
    first, *second = (read_reports([Path(name).expanduser()]) for name in names)
    pairs = pairs_of(first, second[0] if second else None, subjects)
    found = differences(pairs)
    reports = {id(report): report for pair in pairs for report in pair}.values()
    data = {"reports": [_plain(report) for report in reports], "differences": [one.to_json() for one in found]}
    return Measured(compared(found), cast("Json", data))


def _reported(folders: Sequence[Path]) -> Measured:
    reports = read_reports(folders)
    written = write_report(reports, folders[0] if folders[0].is_dir() else folders[0].parent)
    found = _shown(reports)
    said = "".join(f"\nwritten: {file}" for file in written)
    return Measured(found.text + said + "\n", found.data, found.is_good)


def _shown(reports: Sequence[Report]) -> Measured:
    is_good = not any(report.error for report in reports)
    return Measured(summary(reports), [_plain(report) for report in reports], is_good)


def _plain(report: Report) -> Json:
    return report.without_items().to_json()


def _places(data: str | None, rivals: str | None) -> Places:
    settings = load_settings()
    return Places(_folder(data or settings.data), _folder(rivals or settings.bench_cache))


def _folder(name: str | None) -> Path | None:
    return None if name is None else Path(name).expanduser()


def _sizes(text: str) -> tuple[int, ...]:
    """Return numbers divided by commas.

    Raises:
        BadInput: They are none, or below 1.
    """
    try:
        found = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise BadInput(f"--sizes takes numbers from 1 on, divided by commas, got {text!r}")
    return found


def _here(word: str) -> str:
    """Return an argument without the folders in which it lies on this machine."""
    is_elsewhere = (
        word.startswith(("~", "..")) or Path(word.partition(":")[0]).is_absolute() or Path(word).is_absolute()
    )
    return Path(word).name if is_elsewhere else word


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
