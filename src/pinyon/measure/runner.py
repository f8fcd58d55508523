"""Run measures on subjects, each pair in a process of its own that may crash or hang without harm to the others."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Thread
from typing import IO, Any, cast

from .. import __version__
from ..core.payload import Json
from ..errors import BadInput
from .base import Report
from .data import DataSet
from .registry import NO_CHOICE, NOWHERE, Choices, Places, check, data_of, origin_of
from .session import ItemLog, MeasureBudget, forget_failures, last_words

__all__ = ["read_reports", "run"]

_STARTS = 4  # of one pair; each crash or hang costs one
_PASSAGES = 100  # that may be added in the time of one item
_START_SECONDS = 120.0  # a process may say nothing before its first item: libraries, models, data
_SUFFIX = ".report.json"
_ELSEWHERE = "give another --out, or delete these files"


@dataclass(frozen=True, slots=True)
class _Pair:
    """One measure on one subject.

    Args:
        measure: Its name.
        subject: Its name.
        folder: Of the results.
        origin: What its figures are made of: version, data, files, models.
    """

    measure: str
    subject: str
    folder: Path
    origin: Mapping[str, Json]

    @property
    def stem(self) -> str:
        """Name of its files, without their endings; two files of one name in two folders are told apart."""
        return "--".join(map(_word, (self.measure, self.subject)))

    @property
    def report(self) -> Path:
        """Where its report is written."""
        return self.folder / (self.stem + _SUFFIX)

    @property
    def log(self) -> Path:
        """Where its items are noted."""
        return self.folder / (self.stem + ".items.jsonl")

    def check_origin(self) -> None:
        """Note what the figures are made of, or refuse to mix them with others.

        Raises:
            BadInput: The folder holds figures of this pair that were made of something else.
        """
        file = self.folder / (self.stem + ".origin.json")
        if not file.exists():
            if self.report.exists() or self.log.exists():
                raise BadInput(f"what {self._named} are made of is not recorded", hint=_ELSEWHERE)
            _write(file, self.origin)
            return
        known: Mapping[str, Json] = json.loads(file.read_text(encoding="utf-8"))
        for what in sorted({*known, *self.origin}):
            if known.get(what) != self.origin.get(what):
                was, now = (_short(origin.get(what)) for origin in (known, self.origin))
                raise BadInput(f"{self._named} are of another {what}: {was}, not {now}", hint=_ELSEWHERE)

    @property
    def _named(self) -> str:
        return f"the figures of {self.measure} on {self.subject} in {str(self.folder)!r}"


@dataclass(frozen=True, slots=True)
class _Setting:
    """What is the same for every pair.

    Args:
        budget: For each.
        places: Where data and rivals lie.
        choices: Readers, judges, sizes.
        progress: Told of each item.
        live: Processes that run now, so that they end with this one.
    """

    budget: MeasureBudget
    places: Places
    choices: Choices
    progress: Callable[[str, int, int], object] | None
    live: set[subprocess.Popen[str]]


class _Died(Exception):
    """A process has ended without a report.

    Args:
        why: Its last words.
        key: The item it was at, or None.
    """

    def __init__(self, why: str, key: str | None) -> None:
        super().__init__(why)
        self.why = why
        self.key = key


def run(
    measures: Sequence[str],
    subjects: Sequence[str],
    budget: MeasureBudget,
    folder: Path,
    *,
    places: Places = NOWHERE,
    choices: Choices = NO_CHOICE,
    command: str = "",
    processes: int = 1,
    progress: Callable[[str, int, int], object] | None = None,
) -> tuple[Report, ...]:
    """Put every measure to every subject and keep a report of each pair; what the folder holds already stays.

    A subject that crashes or takes too long at an item fails at that item and begins anew behind it; after the fourth
    start it is recorded as failed, with its last words and the figures of what it did. Run the same again, and what
    failed or was left over is asked again, and nothing else.

    Args:
        measures: Names as `registry.MEASURES` has them.
        subjects: Names as `registry.SUBJECTS` has them, descriptions of servers, or files of one's own.
        budget: For each pair.
        folder: Where items and reports are kept; made when it is not there.
        places: Where data and rivals lie.
        choices: Readers, judges, the model of a rival, sizes.
        command: What prints it again, for the reports.
        processes: Pairs at once; more than one falsifies the times.
        progress: Told the pair, items done and items in all.

    Returns:
        Reports in the order measure by measure; those of failed pairs have an `error`.

    Raises:
        BadInput: The folder holds results of another budget, data, version or subject file; or data are missing.
        NotFound: There is no measure or subject of that name.
    """
    check(tuple(measures), tuple(subjects), places, choices)
    data = {measure: data_of(measure, places) for measure in measures}
    hashes = {measure: "" if found is None else found.hash for measure, found in data.items()}
    folder.mkdir(parents=True, exist_ok=True)
    _same_budget(folder, budget)
    setting = _Setting(budget, places, choices, progress, set())

    def one(pair: _Pair) -> Report:
        known = _reports(pair.report)[0] if pair.report.exists() else None
        if known is not None and not (known.error or known.failed or known.left_over):
            return known
        forget_failures(pair.log)
        report = _gone_on(known, _measured(pair, setting))
        report = _named(report, pair, data[pair.measure], hashes[pair.measure], command)
        _write(pair.report, report.to_json())
        return report

    pairs = [
        _Pair(measure, subject, folder, _origin(measure, subject, hashes[measure], choices))
        for measure in dict.fromkeys(measures)
        for subject in dict.fromkeys(subjects)
    ]
    for pair in pairs:
        pair.check_origin()
    if processes <= 1:
        return tuple(one(pair) for pair in pairs)
    pool = ThreadPoolExecutor(processes)
    try:
        return tuple(pool.map(one, pairs))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in tuple(setting.live):  # only when it was interrupted
            _end(process)


def read_reports(places: Sequence[Path]) -> tuple[Report, ...]:
    """Return the reports of folders and files, sorted by measure.

    Raises:
        BadInput: One of them holds none.
    """
    out: list[Report] = []
    for place in places:
        files = sorted(place.glob("*" + _SUFFIX)) if place.is_dir() else [place]
        if not files:
            raise BadInput(
                f"{str(place)!r} holds no reports", hint="give a folder that `pinyon measure run` has filled"
            )
        for file in files:
            out.extend(_reports(file))
    return tuple(out)


def _reports(file: Path) -> list[Report]:
    """Return what one file holds: a report, or several under "reports"."""
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
        several = read["reports"] if isinstance(read, dict) and "reports" in read else [read]
        return [Report.from_json(one) for one in several]
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"{file.name!r} holds no report: {error}", hint="give a file that measure wrote") from error


def _same_budget(folder: Path, budget: MeasureBudget) -> None:
    """Refuse to mix results of two samples in one folder."""
    asked = {"items": budget.items, "small": budget.small, "seed": budget.seed}
    file = folder / "budget.json"
    if not file.exists():
        _write(file, asked)
    elif (known := json.loads(file.read_text(encoding="utf-8"))) != asked:
        raise BadInput(f"{str(folder)!r} holds results of {known}, not of {asked}", hint=_ELSEWHERE)


def _origin(measure: str, subject: str, data: str, choices: Choices) -> Mapping[str, Json]:
    """Return all that decides about the figures of a pair, beside the budget."""
    return {"version of pinyon": __version__, "data": data, **origin_of(measure, subject, choices)}


def _gone_on(before: Report | None, report: Report) -> Report:
    """Return a report that also counts what an earlier run took, of which this one did only the rest."""
    if before is None:
        return report
    return replace(
        report,
        seconds=before.seconds + report.seconds,
        cubes=max(before.cubes, report.cubes),
        add_ms=report.add_ms or before.add_ms,
        memory_bytes=max(before.memory_bytes, report.memory_bytes),
        disk_bytes=max(before.disk_bytes, report.disk_bytes),
    )


def _named(report: Report, pair: _Pair, data: DataSet | None, data_hash: str, command: str) -> Report:
    """Return a report that says what was measured with what."""
    notes = report.notes
    if data is not None and data.others:
        others = f"{', '.join(data.others)} {'is' if len(data.others) == 1 else 'are'} there too"
        notes = (*notes, f"{pair.measure} read {data.path.name}; {others}: --data names a file.")
    said = "" if data is None else f"{data.path.name}, sha256 {data_hash}"
    return replace(report, command=command, subject=Path(pair.subject).name, data=said, notes=notes)


def _word(name: str) -> str:
    """Return what files are named after a measure or subject, with a mark of its folder when it is a file itself."""
    word = re.sub(r"[^\w.-]+", "_", Path(name).name)
    if ".py:" not in name and not name.endswith(".toml"):
        return word
    return f"{word}-{hashlib.sha256(str(Path(name).resolve().parent).encode()).hexdigest()[:8]}"


def _short(value: Json) -> str:
    said = str(value or "none")
    return f"{said[:12]}…" if re.fullmatch(r"[0-9a-f]{64}", said) else said


def _measured(pair: _Pair, setting: _Setting) -> Report:
    """Start it until it gives a report, at most four times; then score what is there."""
    begun = time.monotonic()
    why = ""
    for _ in range(_STARTS):
        spent = time.monotonic() - begun
        if spent >= setting.budget.seconds:
            break
        try:
            return _Watched(pair, setting).result(spent, is_over=False)
        except _Died as died:
            why = died.why
            if died.key is None:  # not at an item: it would happen again
                break
            with ItemLog(pair.log) as log:
                log.fail(died.key, died.why)
    return _closing(pair, setting, why, time.monotonic() - begun)


def _closing(pair: _Pair, setting: _Setting, why: str, spent: float) -> Report:
    """Return the report of a pair that failed: what can be scored, or nothing but its last words."""
    try:
        report = _Watched(pair, setting).result(spent, is_over=True)
        return replace(report, error=why or report.error)
    except _Died:
        measure, subject = (Path(name).name for name in (pair.measure, pair.subject))
        return Report(measure, subject, (), 0, spent, seed=setting.budget.seed, error=why)


class _Watched:
    """A process that measures, and whoever ends it when it takes too long."""

    def __init__(self, pair: _Pair, setting: _Setting) -> None:
        self._pair = pair
        self._setting = setting
        self._budget = setting.budget
        self._at: str | None = None
        self._until = time.monotonic() + _START_SECONDS + setting.budget.seconds_per_item
        self._done = 0
        self._expected = 0

    def result(self, spent: float, *, is_over: bool) -> Report:
        """Return its report.

        Raises:
            _Died: It crashed, or was ended.
        """
        with tempfile.TemporaryFile() as errors, tempfile.TemporaryDirectory(prefix="pinyon-measure-") as scratch:
            process = subprocess.Popen(
                [sys.executable, "-m", "pinyon.measure._child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                encoding="utf-8",
                start_new_session=sys.platform != "win32",  # so that what it starts ends with it
            )
            self._setting.live.add(process)
            try:
                return self._listen(process, self._job(spent, is_over, scratch), spent)
            except _Died as died:
                if died.why:
                    raise
                process.wait()
                errors.seek(0)
                lines = errors.read().decode("utf-8", "replace").strip().splitlines()
                said = [line for line in lines if not line.startswith("hint: ")]
                why = said[-1] if said else f"it ended with exit code {process.returncode}"
                raise _Died(last_words(why), died.key) from None
            finally:
                self._setting.live.discard(process)
                _end(process)

    def _job(self, spent: float, is_over: bool, scratch: str) -> Mapping[str, Any]:
        places = self._setting.places
        return {
            "measure": self._pair.measure,
            "subject": self._pair.subject,
            "log": str(self._pair.log),
            "data": None if places.data is None else str(places.data),
            "rivals": None if places.rivals is None else str(places.rivals),
            "budget": asdict(self._budget),
            "choices": self._setting.choices.to_json(),
            "seconds_left": max(0.0, self._budget.seconds - spent),
            "seconds_before": spent,
            "is_over": is_over,
            "scratch": scratch,
        }

    def _listen(self, process: subprocess.Popen[str], job: Mapping[str, Any], spent: float) -> Report:
        lines: queue.Queue[str] = queue.Queue()
        stdout, stdin = cast("IO[str]", process.stdout), cast("IO[str]", process.stdin)  # pipes, as it was started
        Thread(target=_read, args=(stdout, lines), daemon=True).start()
        with suppress(OSError):  # it died at once: the end of its output says so below
            stdin.write(json.dumps(job) + "\n")
            stdin.close()
        left = max(0.0, self._budget.seconds - spent)
        last = time.monotonic() + left + _START_SECONDS + self._budget.seconds_per_item
        while True:
            try:
                line = lines.get(timeout=max(0.0, min(self._until, last) - time.monotonic()))
            except queue.Empty:
                raise self._too_long(last) from None
            if not line:
                raise _Died("", self._item)
            try:
                message = json.loads(line)
            except ValueError:
                continue  # half a line of a process that was ended
            if "report" in message:
                return Report.from_json(message["report"])
            self._heard(message)

    @property
    def _item(self) -> str | None:
        return None if self._at is None or self._at.startswith("add ") else self._at

    def _heard(self, message: Mapping[str, str]) -> None:
        limit = self._budget.seconds_per_item
        for what, key in message.items():
            if what == "begin":
                self._at = key
                number = key.removeprefix("add ") if key.startswith("add ") else ""
                self._until = time.monotonic() + limit * (1 + int(number) / _PASSAGES if number.isdigit() else 1)
            elif what == "end":
                self._done += not key.startswith("add ")
                self._at = None
                self._until = time.monotonic() + _START_SECONDS + limit
            elif what == "expect":
                self._expected = int(key)
        if self._setting.progress is not None:
            self._setting.progress(f"{self._pair.measure}: {self._pair.subject}", self._done, self._expected)

    def _too_long(self, last: float) -> _Died:
        if time.monotonic() >= last:
            return _Died(f"it was not done after {self._budget.seconds:g} s", self._item)
        at = "between two items" if self._at is None else f"at {self._at!r}"
        return _Died(f"it was ended {at}, where it took more than {self._budget.seconds_per_item:g} s", self._item)


def _read(stream: IO[str], lines: queue.Queue[str]) -> None:
    """Pass lines on; an empty one at the end."""
    with suppress(OSError, ValueError):
        for line in stream:
            lines.put(line)
    lines.put("")


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and everything it started."""
    if sys.platform != "win32":
        import signal

        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.close()


def _write(file: Path, data: Mapping[str, Any]) -> None:
    """Write aside and put in place, so that a file is whole or not there."""
    aside = file.with_name(file.name + ".new")
    aside.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    aside.replace(file)
