"""The log of decisions: the latest are kept in the store, and decided again from their inputs alone."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from pinyon import Memory, Where
from pinyon.core.payload import Json
from pinyon.errors import Damaged, Denied
from pinyon.govern import Rule
from pinyon.schedule import DecisionLog, LifecycleConfig
from pinyon.serve.cli import main
from pinyon.store import MemoryEngine
from pinyon.testing import FixedClock

DAY = 86_400


def record(number: int) -> dict[str, Json]:
    return {"rule": "moves", "inputs": {}, "outcome": {"moves": [[str(number), "idle", ""]]}}


def test_the_latest_are_kept_and_older_ones_make_room() -> None:
    engine, clock = MemoryEngine(), FixedClock("2024-01-01")
    log = DecisionLog(engine, clock, most=3)
    assert log.latest() == ()
    for number in range(5):
        log.note(record(number))
    assert [noted.number for noted in log.latest()] == [2, 3, 4]
    assert [dict(noted.record) for noted in log.latest()] == [record(number) for number in (2, 3, 4)]
    assert [noted.time for noted in DecisionLog(engine, clock, most=3).latest()] == [clock.now()] * 3
    engine.set_setting("decision:0", "nonsense")
    with pytest.raises(Damaged):
        log.latest()


def test_a_sweep_can_be_followed_from_what_went_into_it(tmp_path: Path) -> None:
    clock = FixedClock("2024-01-01")
    with Memory.open(tmp_path / "m.db", clock=clock) as memory:
        ids = [memory.add(text, **extra).cubes[0].id for text, extra in (
            ("idle", {}), ("short", {"expires": "2024-01-05"}), ("log", {"tags": ["log"]}), ("pinned", {}),
            ("used", {"tags": ["u"]}),
        )]  # fmt: skip
        memory.pin(ids[3])
        memory.retain([Rule("logs", where=Where(tags=("log",)), max_age=timedelta(days=2), action="expire")])
        clock.advance(40 * DAY)
        memory.recall("used", where=Where(tags=("u",)))
        assert memory.sweep(dry_run=True).moves
        assert memory.decisions() == ()
        moved = memory.sweep().moves
        (noted,) = memory.decisions()
        assert noted.rule == "moves"
        assert [entry[0] for entry in noted.outcome] == [move.id for move in moved]  # type: ignore[index]
        assert {move.trigger for move in moved} == {entry[1] for entry in noted.outcome}  # type: ignore[index]
        assert {"idle", "ttl", "rule_expire"} <= {move.trigger for move in moved}
        assert noted.is_replayed()
    done = CliRunner().invoke(main, ["-p", str(tmp_path / "m.db"), "jobs", "--decisions", "--json"])
    (shown,) = json.loads(done.stdout)
    assert (shown["is_replayed"], len(shown["inputs"]["seen"])) == (True, len(moved))
    assert (
        "decided the same again"
        in CliRunner().invoke(main, ["-p", str(tmp_path / "m.db"), "jobs", "--decisions"]).stdout
    )


def test_what_the_rules_would_decide_otherwise_is_told() -> None:
    clock = FixedClock("2024-01-01")
    with Memory.open(":memory:", clock=clock, lifecycle=LifecycleConfig(archive_after=timedelta(days=1))) as memory:
        memory.add("idle")
        clock.advance(5 * DAY)
        memory.sweep()
        (noted,) = memory.decisions()
        changed = json.loads(json.dumps(dict(noted.record)))
        changed["inputs"]["seen"][0]["with"]["pinned"] = True
        changed_again = type(noted)(noted.number, noted.time, changed)
        assert (noted.is_replayed(), changed_again.is_replayed()) == (True, False)
        assert not type(noted)(0, noted.time, {**changed, "rule": "unknown"}).is_replayed()


def test_administrators_alone_see_what_was_decided() -> None:
    with Memory.open(":memory:") as memory:
        memory.rights.role("admin", add=["user:root"])
        with pytest.raises(Denied):
            memory.decisions(user="eve")
        assert memory.decisions(user="root") == ()
