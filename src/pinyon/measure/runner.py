"""Run measures on subjects, each pair in a process of its own that may crash or hang without harm to the others."""

from __future__ import annotations

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

from ..errors import BadInput
from .base import Report
from .registry import NOWHERE, Places, check
from .session import ItemLog, MeasureBudget, last_words

__all__ = ["read_reports", "run"]

_STARTS = 4  # of one pair; each crash or hang costs one
_PASSAGES = 100  # that may be added in the time of one item
_START_SECONDS = 120.0  # a process may say nothing before its first item: libraries, models, data
_SUFFIX = ".report.json"


@dataclass(frozen=True, slots=True)
class _Pair:
    """One measure on one subject.

    Args:
        measure: Its name.
        subject: Its name.
        folder: Of the results.
    """

    measure: str
    subject: str
    folder: Path

    @property
    def stem(self) -> str:
        """Name of its files, without their endings."""
        return "--".join(re.sub(r"[^\w.-]+", "_", Path(name).name) for name in (self.measure, self.subject))

    @property
    def report(self) -> Path:
        """Where its report is written."""
        return self.folder / (self.stem + _SUFFIX)

    @property
    def log(self) -> Path:
        """Where its items are noted."""
        return self.folder / (self.stem + ".items.jsonl")


@dataclass(frozen=True, slots=True)
class _Setting:
    """What is the same for every pair.

    Args:
        budget: For each.
        places: Where data and rivals lie.
        progress: Told of each item.
        live: Processes that run now, so that they end with this one.
    """

    budget: MeasureBudget
    places: Places
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
    command: str = "",
    processes: int = 1,
    progress: Callable[[str, int, int], object] | None = None,
) -> tuple[Report, ...]:
    """Put every measure to every subject and keep a report of each pair; what the folder holds already stays.

    A subject that crashes or takes too long at an item fails at that item and begins anew behind it; after the fourth
    start it is recorded as failed, with its last words and the figures of what it did. Run the same again, and only
    failed pairs are tried again.

    Args:
        measures: Names as `registry.MEASURES` has them.
        subjects: Names as `registry.SUBJECTS` has them, descriptions of servers, or files of one's own.
        budget: For each pair.
        folder: Where items and reports are kept; made when it is not there.
        places: Where data and rivals lie.
        command: What prints it again, for the reports.
        processes: Pairs at once; more than one falsifies the times.
        progress: Told the pair, items done and items in all.

    Returns:
        Reports in the order measure by measure; those of failed pairs have an `error`.

    Raises:
        BadInput: The folder holds results of another budget, or data are missing.
        NotFound: There is no measure or subject of that name.
    """
    check(tuple(measures), tuple(subjects), places)
    folder.mkdir(parents=True, exist_ok=True)
    _same_budget(folder, budget)
    setting = _Setting(budget, places, progress, set())

    def one(pair: _Pair) -> Report:
        if pair.report.exists() and not (known := _reports(pair.report)[0]).error:
            return known
        report = replace(_measured(pair, setting), command=command)
        _write(pair.report, report.to_json())
        return report

    pairs = [_Pair(measure, subject, folder) for measure in measures for subject in subjects]
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
        raise BadInput(f"{str(folder)!r} holds results of {known}, not of {asked}", hint="give another --out")


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
        return replace(report, error=why)
    except _Died:
        return Report(pair.measure, pair.subject, (), 0, spent, seed=setting.budget.seed, error=why)


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
