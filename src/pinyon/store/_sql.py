"""A view as SQL: the same answer as `View.admits`, computed by the database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..core.access import Access
from ..core.clock import micros
from ..core.header import Rights
from ..core.where import Condition, View, Where

__all__ = ["clauses", "said", "today"]

_Test = tuple[str, tuple[object, ...]]
_SHARED = "(user IS NULL AND agent IS NULL)"
_OWNED = "(user IS NOT NULL OR agent IS NOT NULL)"
_SEES = "(user IS NULL OR user = ?) AND (agent IS NULL OR agent = ?)"
_LISTED = "IN (SELECT value FROM json_each(?))"


def clauses(view: View, known: Mapping[int, Rights]) -> tuple[str, list[object]]:
    """Return a WHERE expression over table ``cubes`` and its values; at a time, for cubes that are still as they were.

    Args:
        view: What may be seen and what is asked for.
        known: All rights that the database keeps, by their number.
    """
    tests = [*_readable(view.holds, view.spaces, known), *_where(view.where), *_unexpired(view)]
    if view.at is not None:
        tests.append(("seq <= ?", (view.at,)))
    return _joined(tests)


def today(view: View, known: Mapping[int, Rights]) -> tuple[str, list[object]]:
    """Return what a cube must meet today, so that a caller may see what it was, and its values."""
    return _joined(list(_readable(view.holds, view.spaces, known)))


def _joined(tests: Sequence[_Test]) -> tuple[str, list[object]]:
    return " AND ".join(sql for sql, _ in tests), [value for _, values in tests for value in values]


def _unexpired(view: View) -> Iterator[_Test]:
    if view.moment is not None:
        yield "(expires IS NULL OR expires > ? OR state = 'frozen')", (micros(view.moment),)


def _readable(access: Access, spaces: Iterable[str], known: Mapping[int, Rights]) -> Iterator[_Test]:
    """Yield what `decide` asks of a cube that is to be read, worked out once for all cubes with the same rights."""
    barred = {id for id, rights in known.items() if access.bars(rights)}
    held = {id: rights for id, rights in known.items() if id not in barred}
    granted = [id for id, rights in held.items() if access.grants(rights)]
    uncleared = [id for id, rights in held.items() if not access.is_cleared(rights)]
    alike: dict[_Test, list[str]] = {}
    for space in dict.fromkeys(spaces):
        ruled = access.reading(space)
        if not ruled.is_barred:
            way = _way(access, ruled.shared, ruled.reach, ruled.is_cleared, granted, uncleared)
            alike.setdefault(way, []).append(space)
    yield "tenant IS ?", (access.scope.tenant,)
    every = [space for named in alike.values() for space in named]
    yield f"space IN ({_marks(len(every))})", tuple(every)
    if barred:
        yield f"rights NOT {_LISTED}", (_list(barred),)
    if len(alike) == 1:
        yield from alike
    elif alike:
        ways = [
            (f"(space IN ({_marks(len(named))}) AND {sql})", named, values) for (sql, values), named in alike.items()
        ]
        yield (
            f"({' OR '.join(sql for sql, _, _ in ways)})",
            tuple(value for _, named, values in ways for value in (*named, *values)),
        )


def _way(
    access: Access, shared: bool, reach: bool, is_cleared: bool, granted: Sequence[int], uncleared: Sequence[int]
) -> _Test:
    """Return what makes cubes readable that are not barred, in spaces where the caller holds the same."""
    sees = (access.scope.user, access.scope.agent)
    gives: list[_Test] = [(f"rights {_LISTED}", (_list(granted),))] if granted else []
    if shared:
        gives.append((_SHARED, ()))
    if reach:
        gives.append((_OWNED, ()))
    if not gives or not is_cleared:
        return f"({_OWNED} AND {_SEES})", sees
    if not granted and not reach and not uncleared:
        return f"({_SEES})", sees
    given = f"({' OR '.join(sql for sql, _ in gives)})"
    values = tuple(value for _, said in gives for value in said)
    if uncleared:
        given, values = f"({given} AND rights NOT {_LISTED})", (*values, _list(uncleared))
    return f"(({_OWNED} AND {_SEES}) OR {given})", (*sees, *values)


def _list(ids: Iterable[int]) -> str:
    return json.dumps(sorted(ids))


def _where(where: Where) -> Iterator[_Test]:
    if where.since is not None:
        yield "time >= ?", (micros(where.since),)
    if where.until is not None:
        yield "time < ?", (micros(where.until),)
    for column, value in (("speaker", where.speaker), ("session", where.session), ("thread", where.thread)):
        if value is not None:
            yield f"{column} = ?", (value,)
    if where.source is not None:
        end = "/" + where.source
        yield "(source = ? OR substr(source, -length(?)) = ?)", (where.source, end, end)
    if where.kinds:
        yield f"kind IN ({_marks(len(where.kinds))})", tuple(kind.value for kind in where.kinds)
    ended = " OR (state = 'archived' AND until IS NOT NULL)" if where.counts_ended else ""
    yield f"(state IN ({_marks(len(where.states))}){ended})", where.states
    if where.valid_at is not None:
        moment = micros(where.valid_at)
        yield "time <= ? AND (until IS NULL OR until > ?)", (moment, moment)
    for condition in where.conditions:
        yield _condition(condition)


def _condition(condition: Condition) -> _Test:
    spelled = condition.spelled()
    if condition.op in ("eq", "in", "ne"):
        rows = f"SELECT row FROM facets WHERE key = ? AND value IN ({_marks(len(spelled))})"
        texts = tuple(text for text, _ in spelled)
        return f"row {'NOT IN' if condition.op == 'ne' else 'IN'} ({rows})", (condition.key, *texts)
    sign = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}[condition.op]
    text, number = spelled[0]
    if number is not None:
        return f"row IN (SELECT row FROM facets WHERE key = ? AND number {sign} ?)", (condition.key, number)
    words = f"row IN (SELECT row FROM facets WHERE key = ? AND said(value) {sign} ?)"
    return words, (condition.key, said(text))


def said(value: str) -> bytes | None:
    """Return the UTF-8 of the text that a JSON text says, whose order is that of the text; None for any other scalar.

    A function of the database, because SQLite's own JSON functions end a text at its first NUL; bytes, because
    functions given to SQLCipher end a text there too.
    """
    return json.loads(value).encode("utf-8", "surrogatepass") if value.startswith('"') else None


def _marks(number: int) -> str:
    return ",".join("?" * number)
