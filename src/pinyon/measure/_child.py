"""One measure on one subject, in a process of its own; started by `runner.py`, told on standard input what to do."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO, cast

from ..core.payload import Json
from ..errors import PinyonError
from .base import Report, surroundings
from .registry import Choices, Places, measure_called, subject_called
from .resident import resident_bytes
from .session import ItemLog, MeasureBudget
from .stats import median, percentile
from .subject import Held, Subject
from .timed import Ended, Timed

__all__ = ["main"]


def main() -> None:
    """Measure, and say on standard output when an item begins and ends."""
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a subject prints goes where errors go
    job: Mapping[str, Any] = json.loads(sys.stdin.readline())

    def note(what: str, key: str) -> None:
        _say(said, {what: key})

    places = Places(*(None if place is None else Path(place) for place in (job["data"], job["rivals"])))
    choices = Choices.from_json(job["choices"])
    budget = MeasureBudget(**job["budget"])
    start = perf_counter()
    measure = measure_called(job["measure"], places, choices)
    seconds = 0.0 if job["is_over"] else job["seconds_left"]
    with tempfile.TemporaryDirectory(prefix="pinyon-measure-", dir=job["scratch"]) as scratch:
        before = resident_bytes()
        subject: Subject = (
            Ended(job["subject"]) if job["is_over"] else subject_called(job["subject"], Path(scratch), places, choices)
        )
        timed = Timed(subject, resident_bytes() - before, note)
        try:
            with ItemLog(Path(job["log"]), seconds=seconds, note=note, cost=timed.taken) as log:
                report = measure.run(timed, budget, log)
                report = _complete(report, timed, timed.footprint(), log, budget)
        finally:
            timed.close()
    report = replace(report, seconds=job["seconds_before"] + perf_counter() - start)
    _say(said, {"report": report.to_json()})


def _complete(report: Report, timed: Timed, held: Held, log: ItemLog, budget: MeasureBudget) -> Report:
    """Fill in what is the same for every measure."""
    machine, versions = surroundings()
    if version := getattr(timed.subject, "version", ""):
        versions = {**versions, timed.name: version}
    searches, recalled = _noted(log, "search_ms"), _noted(log, "tokens")
    return replace(
        report,
        system=timed.name,
        machine=machine,
        versions=versions,
        when=datetime.now(UTC).date().isoformat(),
        seed=budget.seed,
        add_ms=timed.add_ms,
        search_ms=median(searches),
        search_p95_ms=percentile(searches, 95),
        cubes=report.cubes or timed.passages,
        tokens=report.tokens or (sum(recalled) / len(recalled) if recalled else 0.0),
        memory_bytes=held.memory_bytes,
        disk_bytes=held.disk_bytes,
        failed=log.count("failed"),
        skipped=log.count("skipped"),
        left_over=log.left_over,
        reason=log.reason,
        error=_nothing_done(log),
    )


def _nothing_done(log: ItemLog) -> str:
    """Return why there are no figures although the subject came to its end; empty when there are some."""
    failed = log.count("failed")
    if log.count("done") or not (failed or log.left_over):
        return ""
    return f"all {failed} items failed: {log.reason}" if failed else "no item was asked before the time was over"


def _noted(log: ItemLog, name: str) -> list[float]:
    """Return everything of a name that was noted with the items, those of earlier runs included."""
    return [float(cast("float", one)) for item in log.items for one in cast("list[Json]", item.cost.get(name, []))]


def _say(said: TextIO, message: Mapping[str, Json]) -> None:
    said.write(json.dumps(message) + "\n")
    said.flush()


if __name__ == "__main__":
    try:
        main()
    except PinyonError as error:
        sys.exit(error.message)
