"""How often callers may read and write: counted in the store itself, so that every process counts the same.

Source: MemOS §6 (rate limits, last of the conditions). The window and what is done about clocks is ours.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

from ..core.access import Access, Limit, RateAction
from ..core.clock import from_micros, micros
from ..core.payload import Json, canonical
from ..errors import Denied
from ..store import Engine

__all__ = ["Rates"]

_PARTS = 60  # of a window: what is counted together runs out together, late by at most this part of it
_SECOND = 1_000_000
_Counted = list[tuple[int, int]]


class Rates:
    """Calls of each caller under each limit that concerns it.

    In any stretch of time as long as the window no more calls pass than the limit says. A clock that jumps back by
    less than a window stands still until it has caught up; by more, what was counted moves along with it: nobody waits
    longer than a window, and nothing is counted anew.

    Args:
        engine: Where the counts rest; one small setting for each caller and limit.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def count(self, access: Access, action: RateAction, space: str, now: datetime) -> None:
        """Count one call of a caller.

        Args:
            access: What it holds.
            action: Whether it reads or writes.
            space: Where.
            now: When, by the clock of the memory.

        Raises:
            Denied: It has called as often as it may; this call is not counted. Or nothing can be counted here.
        """
        limits = [limit for limit in access.policy.limits if limit.concerns(access, action, space)]
        if not limits:
            return
        if self._engine.is_read_only:
            raise Denied("calls are limited here, and cannot be counted in a memory that is only read", rule="rate")
        moment, refused = micros(now), list[Denied]()
        with self._engine.transaction() as tx:
            fresh: dict[str, tuple[Limit, int, _Counted]] = {}
            for limit in limits:
                key = _key(access, limit)
                at, counted = _running(tx.setting(key), moment, limit.per_s * _SECOND)
                fresh[key] = limit, at, counted
                if sum(number for _, number in counted) >= limit.calls:
                    refused.append(_too_often(limit, moment, at, counted))
            for key, (limit, at, counted) in fresh.items():  # of a refused call, too: the clock may have jumped
                window = limit.per_s * _SECOND
                tx.set_setting(key, json.dumps([at, counted]) if refused else _with_one(at, counted, window))
        if refused:
            raise refused[0]


def _key(access: Access, limit: Limit) -> str:
    who = access.scope
    said: list[Json] = [who.tenant, who.user, who.agent, limit.principal, limit.action, limit.per_s, limit.space]
    return f"rate:{hashlib.sha256(canonical(said).encode()).hexdigest()[:32]}"


def _running(text: str | None, moment: int, window: int) -> tuple[int, _Counted]:
    """Return the time to count at, and what was counted within a window of it: begin and number, oldest first."""
    if text is None:
        return moment, []
    last, counted = json.loads(text)
    if moment < last - window:
        counted = [(begin + moment - last, number) for begin, number in counted]
        last = moment
    at = max(moment, last)
    return at, [(begin, number) for begin, number in counted if begin + window + window // _PARTS > at]


def _with_one(at: int, counted: _Counted, window: int) -> str:
    if counted and at - counted[-1][0] < window // _PARTS:
        counted = [*counted[:-1], (counted[-1][0], counted[-1][1] + 1)]
    else:
        counted = [*counted, (at, 1)]
    return json.dumps([at, counted])


def _too_often(limit: Limit, moment: int, at: int, counted: _Counted) -> Denied:
    window = limit.per_s * _SECOND
    left, again = sum(number for _, number in counted), at
    for begin, number in counted:
        if left < limit.calls:
            break
        left, again = left - number, begin + window + window // _PARTS
    seconds = max(1, -(-(again - moment) // _SECOND))
    shown = from_micros(moment + seconds * _SECOND).isoformat(timespec="seconds")
    where = "" if limit.space is None else f" in the space {limit.space!r}"
    return Denied(
        f"{limit.principal} may {limit.action} {limit.calls} times in {limit.per_s} seconds{where}, and this caller"
        f" has; it may be tried again at {shown}, in {seconds} seconds",
        rule="rate",
    )
