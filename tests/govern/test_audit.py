"""What is written down about those who ask, and what never is."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinyon.core.events import Event
from pinyon.core.scope import Scope
from pinyon.errors import BadInput
from pinyon.govern.audit import AuditFilter, Auditor, Level, audit_csv, audit_json_lines, policy_changes
from pinyon.store._memory_audit import MemoryAudit
from pinyon.testing import FixedClock

ANN = Scope(tenant="acme", user="ann")
BOB = Scope(tenant="acme", user="bob", agent="bot")
KEY = b"a key of the store"
SECRET = "Where did Ann hide the emerald?"


def auditor(level: Level = "all", clock: FixedClock | None = None) -> Auditor:
    return Auditor(MemoryAudit(), clock or FixedClock(), key=KEY, level=level)


def one_of_each(audit: Auditor) -> None:
    audit.denied(ANN, "get", rule="default", cube="ab12")
    audit.changed(ANN, "update", ["ab12", "cd34"], rule="owner")
    audit.allowed(BOB, "policy", rule="cube", detail={"space": "hr"})
    audit.searched(BOB, "search", SECRET, k=10, hits=3, considered=40)
    audit.allowed(ANN, "get", rule="owner", cube="ab12")


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("denials", ["get"]),
        ("changes", ["get", "update", "update", "policy"]),
        ("all", ["get", "update", "update", "policy", "search", "get"]),
    ],
)
def test_the_level_decides_what_is_written(level: Level, written: list[str]) -> None:
    audit = auditor(level)
    one_of_each(audit)
    assert [entry.line.action for entry in audit.report("acme")] == written
    assert audit.problems() == []


def test_a_verb_nobody_has_heard_of_counts_as_a_change() -> None:
    assert auditor("changes").writes("teleport", allowed=True)


def test_equal_questions_are_recognised_and_none_is_kept() -> None:
    audit = auditor()
    for question in (SECRET, "  where did ann\nhide the EMERALD?", "Where did Bob hide the emerald?"):
        audit.searched(ANN, "search", question, k=10, hits=0, considered=5)
    first, second, third = (entry.line.detail for entry in audit.report("acme"))
    assert first == second
    assert first["question"] != third["question"]
    assert (first["k"], first["hits"], first["considered"]) == (10, 0, 5)
    assert "emerald" not in "".join(audit_json_lines(audit.report("acme"))).lower()


def test_the_hash_of_a_question_needs_the_key_of_the_store() -> None:
    other = Auditor(MemoryAudit(), FixedClock(), key=b"b" * 32)
    assert auditor().fingerprint(SECRET) != other.fingerprint(SECRET)


@given(st.text(min_size=1))
def test_what_a_caller_types_as_an_id_is_kept_only_when_it_is_one(typed: str) -> None:
    audit = auditor()
    audit.denied(ANN, "get", rule="default", cube=typed)
    (entry,) = audit.report("acme")
    is_id = len(typed) <= 32 and set(typed) <= set("0123456789abcdef")
    assert entry.line.cube == (typed if is_id else f"#{audit.fingerprint(typed)}")


def test_a_passage_in_a_detail_becomes_a_hash() -> None:
    audit = auditor()
    audit.allowed(ANN, "add", rule="owner", detail={"cubes": 2, "said": SECRET * 9, "list": [SECRET] * 9})
    (entry,) = audit.report("acme")
    assert entry.line.detail["cubes"] == 2
    assert "emerald" not in str(entry.line)


def test_a_report_filters_by_time_caller_action_space_cube_and_decision() -> None:
    clock = FixedClock("2024-01-01")
    audit = auditor(clock=clock)
    one_of_each(audit)
    later = clock.now() + timedelta(days=1)
    clock.set(later)
    audit.denied(BOB, "forget", rule="frozen", space="hr", cube="ab12")

    def seqs(**wanted: object) -> list[int]:
        return [entry.seq for entry in audit.report("acme", AuditFilter(**wanted))]  # type: ignore[arg-type]

    assert seqs(since=later) == [7]
    assert seqs(until=later) == [1, 2, 3, 4, 5, 6]
    assert seqs(user="bob") == [4, 5, 7]
    assert seqs(agent="bot", allowed=True) == [4, 5]
    assert seqs(actions=("get", "forget")) == [1, 6, 7]
    assert seqs(cube="ab12") == [1, 2, 6, 7]
    assert seqs(space="hr") == [7]
    assert seqs(allowed=False) == [1, 7]
    assert list(audit.report("other")) == []


def test_a_report_goes_on_past_a_page() -> None:
    audit = auditor()
    audit.changed(ANN, "add", ["ab"] * 1203, rule="owner")
    assert [entry.seq for entry in audit.report("acme")] == list(range(1, 1204))


def test_json_lines_and_csv_say_the_same() -> None:
    audit = auditor()
    one_of_each(audit)
    lines = [json.loads(line) for line in audit_json_lines(audit.report("acme"))]
    rows = list(csv.DictReader(io.StringIO("".join(audit_csv(audit.report("acme"))))))
    assert len(lines) == len(rows) == 6
    for line, row in zip(lines, rows, strict=True):
        assert (str(line["seq"]), line["chain"], line["action"]) == (row["seq"], row["chain"], row["action"])
        assert (line["user"], line["cube"]) == (row["user"], row["cube"])
        assert line["detail"] == (json.loads(row["detail"]) if row["detail"] else {})
        assert row["allowed"] == json.dumps(line["allowed"])


def test_no_cell_of_the_csv_is_a_formula() -> None:
    audit = auditor()
    audit.denied(Scope(tenant="acme", user='=HYPERLINK("x")'), "get", rule="default")
    (row,) = csv.DictReader(io.StringIO("".join(audit_csv(audit.report("acme")))))
    assert row["user"] == '\'=HYPERLINK("x")'


def test_the_history_of_permissions_names_who_changed_what() -> None:
    now = FixedClock().now()

    def event(seq: int, op: str, actor: Scope, detail: dict[str, object], cube: str = "") -> Event:
        return Event(seq, now, op, actor, "hr", cube, 0, 0, "", detail, "")  # type: ignore[arg-type]

    events = [
        event(1, "create", ANN, {}, "ab12"),
        event(2, "policy", ANN, {"space": "hr", "read": ["group:sales"]}),
        event(3, "overwrite", BOB, {"rights": {"deny": ["user:eve"]}}, "ab12"),
        event(4, "policy", Scope(tenant="other"), {"closed": True}),
    ]
    found = list(policy_changes(events, "acme"))
    assert [change.seq for change in found] == [2, 3]
    assert str(found[0]) == '2024-01-01T00:00:00+00:00 acme/ann: read ["group:sales"], space hr'
    assert str(found[1]) == '2024-01-01T00:00:00+00:00 acme/bob/bot: cube ab12, rights {"deny":["user:eve"]}'


def test_a_level_or_key_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(BadInput, match="unknown level"):
        Auditor(MemoryAudit(), FixedClock(), key=KEY, level="some")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="16 bytes"):
        Auditor(MemoryAudit(), FixedClock(), key=b"short")
