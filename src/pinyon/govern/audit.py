"""Who asked for what, and what was decided: lines that are only ever appended, and reports over them.

Source: MemOS §6 (audit rows with allow and deny, caller, cube, operation, rule; LogQuery by time, caller and
operation; permission-revision report). Which lines are written, and that no question is, is ours.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from ..core.clock import Clock
from ..core.events import Event
from ..core.payload import Json, canonical
from ..core.scope import DEFAULT_SPACE, Scope
from ..errors import BadInput
from ..store.side import AuditEntry, AuditLine, AuditTable

__all__ = [
    "READS",
    "AuditFilter",
    "Auditor",
    "Level",
    "PolicyChange",
    "audit_csv",
    "audit_json_lines",
    "policy_changes",
]

Level = Literal["denials", "changes", "all"]
"""What is written: denials alone; with everything that is no read; or everything."""

READS = frozenset({"search", "recall", "ask", "get", "list", "history", "spaces", "stats"})
"""Actions that change nothing; whatever is not among them counts as a change."""

_ID = re.compile(r"[0-9a-f]{1,32}")
_LONGEST_DETAIL = 128  # characters; a longer text in a detail is content by mistake, and only its hash is kept
_PAGE = 500  # entries a read
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_COLUMNS = ("seq", "time", "tenant", "user", "agent", "session", "action", "allowed", "rule", "space", "cube", "detail")


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which lines of a tenant; everything given must hold.

    Args:
        since: Earliest time, inclusive.
        until: Latest time, exclusive.
        user: Who asked.
        agent: Which program asked.
        session: In which session.
        actions: Verbs, any of them.
        space: Where.
        cube: Id of the cube.
        allowed: What was decided.
    """

    since: datetime | None = None
    until: datetime | None = None
    user: str | None = None
    agent: str | None = None
    session: str | None = None
    actions: tuple[str, ...] = ()
    space: str | None = None
    cube: str | None = None
    allowed: bool | None = None

    def matches(self, line: AuditLine) -> bool:
        """Return whether a line meets the whole filter."""
        wanted = (
            (self.user, line.actor.user),
            (self.agent, line.actor.agent),
            (self.session, line.actor.session),
            (self.space, line.space),
            (self.cube, line.cube),
            (self.allowed, line.allowed),
        )
        return (
            all(value is None or value == found for value, found in wanted)
            and (not self.actions or line.action in self.actions)
            and (self.since is None or line.time >= self.since)
            and (self.until is None or line.time < self.until)
        )


class Auditor:
    """Writes what was asked for and decided, never what was said.

    A question becomes a keyed hash, so that equal questions are recognised and none can be read. The key lies in the
    store: who holds the whole database can test a guess. Lines are written outside of any transaction of the store,
    after a verb was done or refused.

    Args:
        table: Where the lines rest.
        clock: Where their time comes from.
        key: Secret of the store, at least 16 bytes.
        level: What is written.
        kept: Says what level was kept for all processes, asked for each line; None, or no level, leaves it.

    Raises:
        BadInput: Another level, or a key that is too short.
    """

    def __init__(
        self,
        table: AuditTable,
        clock: Clock,
        *,
        key: bytes,
        level: Level = "changes",
        kept: Callable[[], str | None] | None = None,
    ) -> None:
        if level not in get_args(Level):
            raise BadInput(f"unknown level of the audit {level!r}", hint=f"use one of {', '.join(get_args(Level))}")
        if len(key) < 16:
            raise BadInput(f"the key of an audit has at least 16 bytes, got {len(key)}")
        self._table = table
        self._clock = clock
        self._key = key
        self._level: Level = level
        self._kept = kept

    def beside(self, table: AuditTable) -> Auditor:
        """Return what writes to another table by the same key, clock and level."""
        return Auditor(table, self._clock, key=self._key, level=self._level, kept=self._kept)

    @property
    def level(self) -> Level:
        """What is written now; another process may have said so since."""
        said = None if self._kept is None else self._kept()
        if said in get_args(Level):
            self._level = said  # type: ignore[assignment]  # just checked
        return self._level

    def writes(self, action: str, *, allowed: bool) -> bool:
        """Return whether such a line would be written."""
        if not allowed:
            return True
        level = self.level
        return level == "all" or (level == "changes" and action not in READS)

    def allowed(
        self,
        actor: Scope,
        action: str,
        *,
        rule: str,
        space: str = DEFAULT_SPACE,
        cube: str = "",
        detail: Mapping[str, Json] | None = None,
    ) -> None:
        """Note that something was allowed.

        Args:
            actor: Who asked.
            action: Verb of the memory.
            rule: Which rule decided, as `Decision.rule` names it.
            space: Where.
            cube: Id of the cube, or a beginning of one; anything else is kept as a hash.
            detail: Numbers and short names; a text of over 128 characters is kept as a hash.
        """
        self._write(actor, action, True, rule, space, (cube,), detail)

    def denied(
        self,
        actor: Scope,
        action: str,
        *,
        rule: str,
        space: str = DEFAULT_SPACE,
        cube: str = "",
        detail: Mapping[str, Json] | None = None,
    ) -> None:
        """Note that something was denied; the arguments are those of `allowed`."""
        self._write(actor, action, False, rule, space, (cube,), detail)

    def changed(
        self,
        actor: Scope,
        action: str,
        cubes: Iterable[str],
        *,
        rule: str,
        space: str = DEFAULT_SPACE,
        detail: Mapping[str, Json] | None = None,
    ) -> None:
        """Note one allowed line for each cube that a verb touched, all in one transaction."""
        self._write(actor, action, True, rule, space, tuple(cubes), detail)

    def reached(
        self,
        actor: Scope,
        action: str,
        cubes: Sequence[str],
        *,
        space: str = DEFAULT_SPACE,
        detail: Mapping[str, Json] | None = None,
    ) -> None:
        """Note that an administrator reached what its own rights do not give it; written at every level."""
        said = self._said(detail)
        now = self._clock.now()
        self._table.append(
            [AuditLine(now, actor, action, True, "admin", space, self._cube(cube), said) for cube in (cubes or ("",))]
        )

    def searched(
        self,
        actor: Scope,
        action: str,
        question: str,
        *,
        space: str = DEFAULT_SPACE,
        k: int,
        hits: int,
        considered: int,
        rule: str = "",
    ) -> None:
        """Note a search, recall or ask: how much was asked for, looked at and found, and the hash of the question."""
        if self.writes(action, allowed=True):
            detail: dict[str, Json] = {
                "question": self.fingerprint(question),
                "k": k,
                "hits": hits,
                "considered": considered,
            }
            self._write(actor, action, True, rule, space, ("",), detail)

    def fingerprint(self, text: str) -> str:
        """Return the keyed hash of a text, equal for texts that differ in case and spaces alone; 32 hexadecimals."""
        plain = " ".join(text.casefold().split()).encode("utf-8", "replace")
        return hmac.new(self._key, plain, hashlib.sha256).hexdigest()[:32]

    def report(self, tenant: str | None, wanted: AuditFilter | None = None) -> Iterator[AuditEntry]:
        """Yield the entries of a tenant that a filter asks for, oldest first."""
        wanted = wanted or AuditFilter()
        after = 0
        while page := self._table.read(after, _PAGE, tenant=tenant, allowed=wanted.allowed, cube=wanted.cube):
            yield from (entry for entry in page if wanted.matches(entry.line))
            after = page[-1].seq

    def problems(self) -> list[str]:
        """Return where the chain of lines breaks."""
        return self._table.problems()

    def _write(
        self,
        actor: Scope,
        action: str,
        allowed: bool,
        rule: str,
        space: str,
        cubes: tuple[str, ...],
        detail: Mapping[str, Json] | None,
    ) -> None:
        if not self.writes(action, allowed=allowed):
            return
        now = self._clock.now()
        said = self._said(detail)
        self._table.append(
            [AuditLine(now, actor, action, allowed, rule, space, self._cube(cube), said) for cube in cubes]
        )

    def _said(self, detail: Mapping[str, Json] | None) -> dict[str, Json]:
        return {key: self._plain(value) for key, value in (detail or {}).items()}

    def _cube(self, cube: str) -> str:
        return cube if not cube or _ID.fullmatch(cube) else f"#{self.fingerprint(cube)}"

    def _plain(self, value: Json) -> Json:
        """Return a detail that cannot hold a passage of somebody's words."""
        text = value if isinstance(value, str) else canonical(value)
        return value if len(text) <= _LONGEST_DETAIL else f"#{self.fingerprint(text)}"


def audit_json_lines(entries: Iterable[AuditEntry]) -> Iterator[str]:
    """Yield entries as lines of JSON, each with its chain value: kept elsewhere, they witness against a rewrite."""
    for entry in entries:
        yield canonical({**_flat(entry), "detail": dict(entry.line.detail), "chain": entry.chain}) + "\n"


def audit_csv(entries: Iterable[AuditEntry]) -> Iterator[str]:
    """Yield entries as lines of CSV (RFC 4180) under a line of names.

    A cell that a spreadsheet would run as a formula begins with an apostrophe.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow((*_COLUMNS, "chain"))
    yield _emptied(buffer)
    for entry in entries:
        cells = _flat(entry)
        writer.writerow([_safe(cells[name]) for name in _COLUMNS] + [entry.chain])
        yield _emptied(buffer)


def _flat(entry: AuditEntry) -> dict[str, Json]:
    line, who = entry.line, entry.line.actor
    return {
        "seq": entry.seq,
        "time": line.time.isoformat(),
        "tenant": who.tenant,
        "user": who.user,
        "agent": who.agent,
        "session": who.session,
        "action": line.action,
        "allowed": line.allowed,
        "rule": line.rule,
        "space": line.space,
        "cube": line.cube,
        "detail": canonical(dict(line.detail)) if line.detail else "",
    }


def _safe(value: Json) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _emptied(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """One revision of what is permitted.

    Args:
        seq: Number of the journal's entry.
        time: When.
        actor: Who did it.
        space: Where; empty when it concerns the whole tenant.
        cube: Id of the cube whose rights it concerns, or an empty text.
        what: What was changed, as the journal says it.
    """

    seq: int
    time: datetime
    actor: Scope
    space: str
    cube: str
    what: Mapping[str, Json]

    def __str__(self) -> str:
        who = "/".join(name for name in (self.actor.tenant, self.actor.user, self.actor.agent) if name) or "somebody"
        said = ", ".join(f"{key} {value if isinstance(value, str) else canonical(value)}" for key, value in self._said)
        return f"{self.time.isoformat()} {who}: {said or 'rules changed'}"

    @property
    def _said(self) -> list[tuple[str, Json]]:
        named: list[tuple[str, Json]] = [("cube", self.cube)] if self.cube else []
        return named + sorted(self.what.items())


def policy_changes(events: Iterable[Event], tenant: str | None) -> Iterator[PolicyChange]:
    """Yield the permission revisions of a tenant: changes of rules, and of the rights of single cubes."""
    for event in events:
        if event.actor.tenant == tenant and (event.op == "policy" or "rights" in event.detail):
            yield PolicyChange(event.seq, event.time, event.actor, event.space, event.cube, event.detail)
