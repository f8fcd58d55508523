"""Which texts stood in one prompt of a local model together: what the promotion of texts to states goes by.

A prompt begins with one state at most, so that a text is used in it is no reason for a state of that text alone.
Of each prompt the rows of its texts are kept beside the usage, with a rate, and hashes of sessions; never content.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from .core.clock import instant
from .core.payload import canonical, digest
from .errors import PinyonError
from .store.side import Usage

if TYPE_CHECKING:
    from .core.cube import Cube
    from .parts import Caller
    from .schedule.together import Prompted
    from .store import Engine

__all__ = ["digest_of_texts", "forget_prompts", "known_prompts", "note_prompt"]

_LOG = logging.getLogger(__name__)
_PROMPTS = "state_prompts"  # among the settings of a store
_MOST = 64  # prompts that are kept, the most frequent ones; ours
_SESSION_DIGITS = 16


@dataclass(frozen=True, slots=True)
class _Noted:
    """A prompt as it rests; the text of its usage is the digest of its texts."""

    rows: tuple[int, ...]
    usage: Usage


def digest_of_texts(cubes: Sequence[Cube]) -> str:
    """Return what tells a set of texts from any other, and from itself once one of them has changed."""
    return digest("\n".join(f"{cube.row} {digest(cube.text)}" for cube in sorted(cubes, key=lambda cube: cube.row)))


def note_prompt(caller: Caller, cubes: Sequence[Cube]) -> None:
    """Note that texts stood in one prompt; a store that cannot be written loses it, with a warning in the log.

    Args:
        caller: Whose prompt it was.
        cubes: The texts.
    """
    from .configuring import secret_of
    from .schedule.heat import HALF_LIFE, cooled, joined

    engine = caller.parts.store.engine
    if not cubes or caller.at is not None or engine.is_read_only:
        return
    scope, now, key = caller.scope, caller.now(), digest_of_texts(cubes)
    session = (
        caller.parts.desk.process if scope.session is None else canonical([scope.tenant, scope.user, scope.session])
    )
    try:
        hashed = digest(f"{secret_of(engine, _PROMPTS).hex()} {session}")[:_SESSION_DIGITS]
        used = Usage(1, now, math.log(2) * (timedelta(days=1) / HALF_LIFE), key, (hashed,))
        with engine.transaction() as tx:
            known = _read(tx.setting(_PROMPTS))
            before = known[key].usage if key in known else Usage()
            known[key] = _Noted(tuple(sorted(cube.row for cube in cubes)), joined(before, used))
            kept = sorted(known, key=lambda one: (one != key, -cooled(known[one].usage, now)))[:_MOST]
            tx.set_setting(_PROMPTS, _written({one: known[one] for one in kept}))
    except PinyonError as error:
        _LOG.warning("that memories were used together could not be noted: %s", error.message)


def known_prompts(caller: Caller) -> tuple[list[Prompted], dict[int, Cube]]:
    """Return the prompts whose texts are all as they were, with those texts that the caller may use, by row.

    What names a text that has changed or was forgotten is dropped.

    Args:
        caller: Who is to own states of them.
    """
    from .core.payload import Kind
    from .core.where import Where
    from .schedule.heat import cooled
    from .schedule.together import Prompted

    engine, now = caller.parts.store.engine, caller.now()
    known = _read(engine.setting(_PROMPTS))
    cubes = engine.by_rows(sorted({row for noted in known.values() for row in noted.rows}))
    sound = {
        key: noted
        for key, noted in known.items()
        if all(row in cubes for row in noted.rows) and digest_of_texts([cubes[row] for row in noted.rows]) == key
    }
    _drop(engine, known.keys() - sound.keys())
    view = caller.view(Where(kinds=(Kind.TEXT,)))
    seen = {row: cube for row, cube in cubes.items() if view.admits(cube)}
    out = [
        Prompted(rows, cooled(noted.usage, now), frozenset(noted.usage.sessions))
        for noted in sound.values()
        if (rows := frozenset(noted.rows).intersection(seen))
    ]
    return out, {row: seen[row] for one in out for row in one.rows}


def forget_prompts(engine: Engine) -> None:
    """Drop what is known of prompts that held a text which is no more."""
    known = _read(engine.setting(_PROMPTS))
    if known:
        cubes = engine.by_rows(sorted({row for noted in known.values() for row in noted.rows}))
        _drop(engine, {key for key, noted in known.items() if not all(row in cubes for row in noted.rows)})


def _drop(engine: Engine, keys: Set[str]) -> None:
    if keys:
        with engine.transaction() as tx:
            latest = _read(tx.setting(_PROMPTS))
            tx.set_setting(_PROMPTS, _written({key: noted for key, noted in latest.items() if key not in keys}))


def _read(said: str | None) -> dict[str, _Noted]:
    try:
        data = json.loads(said) if said else {}
        return {
            key: _Noted(
                tuple(one["rows"]),
                Usage(one["count"], instant(one["last"]), one["rate"], key, tuple(one["sessions"])),
            )
            for key, one in data.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, PinyonError):
        return {}  # of another version


def _written(known: Mapping[str, _Noted]) -> str:
    return json.dumps(
        {
            key: {
                "rows": noted.rows,
                "count": noted.usage.count,
                "last": noted.usage.last.isoformat() if noted.usage.last else None,
                "rate": noted.usage.rate,
                "sessions": noted.usage.sessions,
            }
            for key, noted in known.items()
        }
    )
