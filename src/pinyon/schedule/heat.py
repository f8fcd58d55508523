"""How much each cube is used, and in how many sessions: averages and hashes that cost a search no write."""

from __future__ import annotations

import logging
import math
import secrets
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from ..core.clock import Clock
from ..core.payload import canonical, digest
from ..core.scope import Scope
from ..errors import BadInput, PinyonError
from ..store.side import MOST_SESSIONS, Usage, UsageTable

__all__ = ["HALF_LIFE", "Heat", "cooled", "joined", "sessions_of"]

_LOG = logging.getLogger(__name__)
_DAY = timedelta(days=1)
_NOBODY = Scope()
_SESSION_DIGITS = 16  # of a hash, for a few sessions of one text

HALF_LIFE = timedelta(days=7)
"""Ours: a week, the span over which the recency term of the `Value` policy decays."""


def cooled(usage: Usage, now: datetime, half_life: timedelta = HALF_LIFE) -> float:
    """Return the uses a day as of a moment; a moment before the last use gives the rate as of that use."""
    if usage.last is None:
        return 0.0
    elapsed = max(timedelta(0), now - usage.last)
    return usage.rate * math.exp2(-(elapsed / half_life))


def sessions_of(usage: Usage, text: str) -> int:
    """Return in how many sessions a memory was used with the text that has a digest, at most `MOST_SESSIONS`."""
    return len(usage.sessions) if usage.text == text else 0


def joined(one: Usage, other: Usage, half_life: timedelta = HALF_LIFE) -> Usage:
    """Return the usage of two separate sets of uses together; the order of uses does not matter.

    Of two texts the one that was used later stays, with its sessions.
    """
    text, sessions = _said(one, other)
    if one.last is None or other.last is None:
        known = other if one.last is None else one
        return Usage(one.count + other.count, known.last, known.rate, text, sessions)
    last = max(one.last, other.last)
    rate = cooled(one, last, half_life) + cooled(other, last, half_life)
    return Usage(one.count + other.count, last, rate, text, sessions)


def _said(one: Usage, other: Usage) -> tuple[str, tuple[str, ...]]:
    """Return the later of two texts, of one moment the second, and the sessions of both where they are one."""
    if one.text == other.text:
        return one.text, tuple(sorted({*one.sessions, *other.sessions}))[:MOST_SESSIONS]
    later = max(other, one, key=lambda usage: (bool(usage.text), usage.last.timestamp() if usage.last else -math.inf))
    return later.text, later.sessions


def _with_session(used: Usage, row: int, text: str, session: str) -> Usage:
    """Return a use with the session it was made in."""
    return Usage(used.count, used.last, used.rate, text, (digest(f"{row} {text} {session}")[:_SESSION_DIGITS],))


class Heat:
    """Note which cubes are used, and tell how many uses a day that makes.

    With uses at t_1 … t_n and decay λ = ln 2 / half-life (a day), the rate is r(t) = λ · sum_i exp(-λ (t - t_i)): for
    steady use it tends to the uses a day. It is kept as its value at the last use, from which r at any later time, and
    r after one more use, follow exactly, so that no use is kept by itself.

    Uses are gathered here and written many at a time. What was gathered and not yet written is lost when the process is
    killed: heat is a hint, and a lost minute of it moves no memory that a minute of it would not move back.

    A session is kept as a hash that holds the row and the text too, so that what rests neither names it nor says which
    memories it used together. Uses without a session count as those of one, which lasts as long as this object.

    Args:
        table: The usage, ``engine.usage``.
        clock: Tells the moment of a use for which none is given.
        half_life: After this time without a use the rate is half.
        most: Uses that are gathered before they are written, >= 1.
        longest: Written at the next use after so much time.

    Raises:
        BadInput: A duration is not positive, or `most` is below 1.

    Cost: O(1) time a use; one write for `most` of them.
    """

    def __init__(
        self,
        table: UsageTable,
        clock: Clock,
        *,
        half_life: timedelta = HALF_LIFE,
        most: int = 256,  # ours
        longest: timedelta = timedelta(seconds=30),  # ours
    ) -> None:
        if half_life <= timedelta(0) or longest <= timedelta(0):
            raise BadInput(f"durations must be positive, got {half_life!r} and {longest!r}")
        if most < 1:
            raise BadInput(f"most must be >= 1, got {most!r}")
        self._table = table
        self._clock = clock
        self._half_life = half_life
        self._most = most
        self._longest = longest
        self._weight = math.log(2) * (_DAY / half_life)  # λ, a day
        self._process = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._waiting: dict[int, Usage] = {}
        self._number = 0
        self._since: datetime | None = None

    def note(
        self,
        rows: Sequence[int],
        moment: datetime | None = None,
        *,
        texts: Mapping[int, str] | None = None,
        by: Scope = _NOBODY,
        is_used: bool = True,
    ) -> None:
        """Note one use of each row.

        A store that cannot be written now loses these uses, with a warning in the log: a search does not fail for it.

        Args:
            rows: Rows of the cubes that were shown or put into a prompt.
            moment: When, default now.
            texts: Digests of the texts that the rows have, by row; a missing one leaves the sessions as they are.
            by: Who used them, and in which session.
            is_used: Whether they went into a prompt; else they were looked at, which keeps them from being idle and
                counts as no use.
        """
        now = moment or self._clock.now()
        used = Usage(1, now, self._weight) if is_used else Usage(0, now)
        texts = texts if is_used else None
        session = self._process if by.session is None else canonical([by.tenant, by.user, by.session])
        said = texts or {}
        with self._lock:
            for row in rows:
                one = _with_session(used, row, said[row], session) if row in said else used
                self._waiting[row] = joined(self._waiting.get(row, Usage()), one, self._half_life)
            self._number += len(rows)
            self._since = self._since or used.last
            is_due = self._number >= self._most or self._is_old(used.last)
        if is_due:
            try:
                self.flush()
            except PinyonError as error:
                _LOG.warning("the usage of memories could not be noted: %s", error.message)

    def _is_old(self, now: datetime | None) -> bool:
        return now is not None and self._since is not None and now - self._since >= self._longest

    def flush(self) -> None:
        """Write what was gathered.

        Raises:
            StoreError: The store cannot be written; what was gathered is lost.
        """
        waiting = self._taken()
        if waiting:
            self._table.change(
                list(waiting),
                lambda found: {
                    row: joined(found.get(row, Usage()), used, self._half_life) for row, used in waiting.items()
                },
            )

    def _taken(self) -> Mapping[int, Usage]:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            self._number, self._since = 0, None
            return waiting

    def usage(self, rows: Sequence[int]) -> dict[int, Usage]:
        """Return the usage of rows, gathered uses included; rows never used are missing."""
        with self._lock:
            waiting = {row: self._waiting[row] for row in rows if row in self._waiting}
        found = self._table.of(rows)
        for row, used in waiting.items():
            found[row] = joined(found.get(row, Usage()), used, self._half_life)
        return found

    def rates(self, rows: Sequence[int], now: datetime | None = None) -> dict[int, float]:
        """Return the uses a day of each row as of a moment, default now; 0 for one never used."""
        moment, found = now or self._clock.now(), self.usage(rows)
        return {row: cooled(found.get(row, Usage()), moment, self._half_life) for row in rows}

    def rate(self, row: int, now: datetime | None = None) -> float:
        """Return the uses a day of a row as of a moment, default now."""
        return self.rates([row], now)[row]

    def forget(self, rows: Sequence[int]) -> None:
        """Drop what is known of rows whose cubes are forgotten."""
        with self._lock:
            for row in rows:
                self._waiting.pop(row, None)
        self._table.remove(rows)

    def close(self) -> None:
        """Write what was gathered."""
        self.flush()
