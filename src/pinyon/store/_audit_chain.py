"""How the lines of the audit are chained, the same for every engine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from ..core.clock import micros
from ..core.events import GENESIS
from ..core.payload import canonical
from .side import AuditEntry, AuditLine

__all__ = ["MOST_PROBLEMS", "Raw", "chain_after", "chained", "problems_of", "raw_of"]

Raw = tuple[int, str | None, str | None, str | None, str | None, str, int, str, str, str, str]
"""A line as it rests: microseconds, tenant, user, agent, session, action, allowed, rule, space, cube, detail text."""

MOST_PROBLEMS = 20  # named one by one; the rest is counted


def raw_of(line: AuditLine) -> Raw:
    """Return a line as it rests."""
    who = line.actor
    detail = canonical(dict(line.detail)) if line.detail else ""
    return (
        micros(line.time),
        who.tenant,
        who.user,
        who.agent,
        who.session,
        line.action,
        int(line.allowed),
        line.rule,
        line.space,
        line.cube,
        detail,
    )


def chain_after(previous: str, seq: int, raw: Sequence[object]) -> str:
    """Return the chain value of a line: SHA-256 over the value before, its number and the line as it rests."""
    return hashlib.sha256(f"{previous}\n{canonical([seq, *raw])}".encode()).hexdigest()


def chained(lines: Sequence[AuditLine], seq: int, chain: str) -> Iterator[AuditEntry]:
    """Yield lines as entries that follow the one of a number and chain value."""
    for line in lines:
        seq += 1
        chain = chain_after(chain, seq, raw_of(line))
        yield AuditEntry(seq, line, chain)


def problems_of(rows: Iterable[tuple[int, Sequence[object], str]], head: tuple[int, str] | None) -> list[str]:
    """Return where rows (number, line as it rests, chain value), ascending, break their chain.

    Args:
        rows: All of them.
        head: Number and chain value of the last line as they are kept apart from the rows; None when they are not.
    """
    found: list[str] = []
    left = 0
    seq, chain = 0, GENESIS
    for number, raw, value in rows:
        said = _broken(seq, number, chain_after(chain, number, raw) == value)
        seq, chain = number, value
        if said and len(found) < MOST_PROBLEMS:
            found.append(said)
        else:
            left += bool(said)
    if left:
        found.append(f"{left} more lines of the audit do not follow the line before them")
    if head is None and seq:
        found.append("the audit has lost the mark of its last line: lines at its end may be missing")
    elif head is not None and seq < head[0]:
        found.append(f"lines {seq + 1} to {head[0]} at the end of the audit are missing")
    elif head is not None and head != (seq, chain):
        found.append(f"the last line of the audit is not line {head[0]} as it was written")
    return found


def _broken(before: int, number: int, follows: bool) -> str:
    if number < 1:
        return f"line {number} of the audit was not written by pinyon"
    if number != before + 1:
        return f"lines {before + 1} to {number - 1} of the audit are missing"
    if not follows:
        return f"line {number} of the audit was changed, put in, or follows a line that was"
    return ""
