"""A view as PostgreSQL: the same answer as `View.admits`, computed by the database.

In the statements ``c`` is a cube as it was and ``t`` the same as it is today; without a time in the past they are one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..core.access import Access
from ..core.clock import micros
from ..core.header import Rights
from ..core.where import Condition, View, Where
from ._pg_rows import VALUE_COLUMNS, digest_of, spell

__all__ = ["selected"]

_Test = tuple[str, tuple[object, ...]]
_SHARED = '(t."user" IS NULL AND t.agent IS NULL)'
_OWNED = '(t."user" IS NOT NULL OR t.agent IS NOT NULL)'
_SEES = '(t."user" IS NULL OR t."user" = %s) AND (t.agent IS NULL OR t.agent = %s)'


def selected(view: View, known: Mapping[int, Rights], *, everywhere: bool = False) -> tuple[str, list[object]]:
    """Return ``FROM … WHERE …`` over the cubes of a view as ``c``, and its values.

    Args:
        view: What may be seen and what is asked for.
        known: All rights that the database keeps, by their number.
        everywhere: Look into every space, not only into those of the view.
    """
    tests = [
        *(_everywhere(view.holds, known) if everywhere else _readable(view.holds, view.spaces, known)),
        *_where(view.where),
        *_unexpired(view),
    ]
    table, before = ("cubes AS t", ()) if view.at is None else _past(view, everywhere)
    sql = " AND ".join(sql for sql, _ in tests)
    if view.at is None:
        table, sql = table.replace("AS t", "AS c"), sql.replace("t.", "c.")
    return f"FROM {table} WHERE {sql}", [*before, *(value for _, values in tests for value in values)]


def _past(view: View, everywhere: bool) -> tuple[str, tuple[object, ...]]:
    """Return the cubes as they were after an entry of the journal, beside themselves as they are."""
    within = "" if everywhere else " AND space = ANY(%s)"
    spaces = () if everywhere else (list(view.spaces),)
    table = (
        f"(SELECT {VALUE_COLUMNS} FROM cubes WHERE seq <= %s{within}"
        f" UNION ALL SELECT {VALUE_COLUMNS} FROM versions WHERE seq <= %s AND ended > %s{within}) AS c"
        " JOIN cubes AS t ON t.space = c.space AND t.row = c.row"
    )
    return table, (view.at, *spaces, view.at, view.at, *spaces)


def _unexpired(view: View) -> Iterator[_Test]:
    if view.moment is not None:
        yield "(c.expires IS NULL OR c.expires > %s OR c.state = 'frozen')", (micros(view.moment),)


def _readable(access: Access, spaces: Iterable[str], known: Mapping[int, Rights]) -> Iterator[_Test]:
    """Yield what `decide` asks of a cube that is to be read, worked out once for all cubes with the same rights."""
    barred, granted, uncleared = _weighed(access, known)
    alike: dict[_Test, list[str]] = {}
    for space in dict.fromkeys(spaces):
        ruled = access.reading(space)
        if not ruled.is_barred:
            way = _way(access, ruled.shared, ruled.reach, ruled.is_cleared, granted, uncleared)
            alike.setdefault(way, []).append(space)
    yield _tenant(access)
    yield _in_spaces([space for named in alike.values() for space in named])
    if barred:
        yield "t.rights <> ALL(%s)", (barred,)
    if len(alike) == 1:
        yield from alike
    elif alike:
        yield _either([(f"(t.space = ANY(%s) AND {sql})", (named, *values)) for (sql, values), named in alike.items()])


def _in_spaces(spaces: Sequence[str]) -> _Test:
    """Return a test on spaces; of one alone as an equality, so that an index on space and time gives its order."""
    return ("t.space = %s", (spaces[0],)) if len(spaces) == 1 else ("t.space = ANY(%s)", (list(spaces),))


def _everywhere(access: Access, known: Mapping[int, Rights]) -> Iterator[_Test]:
    """Yield what `decide` asks of a cube in any space."""
    barred, granted, uncleared = _weighed(access, known)
    yield _tenant(access)
    if barred:
        yield "t.rights <> ALL(%s)", (barred,)
    ways: list[_Test] = []
    ruled = [name for name, _ in access.policy.spaces]
    for space in ruled:
        r = access.reading(space)
        if not r.is_barred:
            sql, values = _way(access, r.shared, r.reach, r.is_cleared, granted, uncleared)
            ways.append((f"(t.space = %s AND {sql})", (space, *values)))
    others = access.reading("")  # a space without rights of its own, as no space has this name
    sql, values = _way(access, others.shared, others.reach, others.is_cleared, granted, uncleared)
    ways.append((f"(t.space <> ALL(%s) AND {sql})", (ruled, *values)))
    yield _either(ways)


def _weighed(access: Access, known: Mapping[int, Rights]) -> tuple[list[int], list[int], list[int]]:
    """Return which rights bar the caller, which name it, and whose labels it is not cleared for."""
    barred = {id for id, rights in known.items() if access.bars(rights)}
    held = {id: rights for id, rights in known.items() if id not in barred}
    granted = [id for id, rights in held.items() if access.grants(rights)]
    return sorted(barred), granted, [id for id, rights in held.items() if not access.is_cleared(rights)]


def _tenant(access: Access) -> _Test:
    tenant = access.scope.tenant
    return ("t.tenant IS NULL", ()) if tenant is None else ("t.tenant = %s", (tenant,))


def _way(
    access: Access, shared: bool, reach: bool, is_cleared: bool, granted: Sequence[int], uncleared: Sequence[int]
) -> _Test:
    """Return what makes cubes readable that are not barred, in spaces where the caller holds the same."""
    sees = (access.scope.user, access.scope.agent)
    gives: list[_Test] = [(f"t.rights IN ({_listed(granted)})", ())] if granted else []
    if shared:
        gives.append((_SHARED, ()))
    if reach:
        gives.append((_OWNED, ()))
    if not gives or not is_cleared:
        return f"({_OWNED} AND {_SEES})", sees
    if shared and not granted and not reach and not uncleared:
        return f"({_SEES})", sees
    given, values = _either(gives)
    if uncleared:
        given = f"({given} AND t.rights NOT IN ({_listed(uncleared)}))"
    return f"(({_OWNED} AND {_SEES}) OR {given})", (*sees, *values)


def _either(ways: Sequence[_Test]) -> _Test:
    return f"({' OR '.join(sql for sql, _ in ways)})", tuple(value for _, values in ways for value in values)


def _listed(ids: Iterable[int]) -> str:
    return ",".join(str(int(id)) for id in ids)


def _where(where: Where) -> Iterator[_Test]:
    if where.since is not None:
        yield "c.time >= %s", (micros(where.since),)
    if where.until is not None:
        yield "c.time < %s", (micros(where.until),)
    if where.valid_at is not None:
        moment = micros(where.valid_at)
        yield "c.time <= %s AND (c.until IS NULL OR c.until > %s)", (moment, moment)
    if where.thread is not None:
        yield "md5(c.thread)::uuid = md5(%s)::uuid AND c.thread = %s", (spell(where.thread),) * 2
    for column, value in (("speaker", where.speaker), ("session", where.session)):
        if value is not None:
            yield f"c.{column} = %s", (spell(value),)
    if where.source is not None:
        end = spell("/" + where.source)
        yield "(c.source = %s OR right(c.source, %s) = %s)", (spell(where.source), len(end), end)
    if where.kinds:
        yield "c.kind = ANY(%s)", ([kind.value for kind in where.kinds],)
    ended = " OR (c.state = 'archived' AND c.until IS NOT NULL)" if where.counts_ended else ""
    yield f"(c.state = ANY(%s){ended})", (list(where.states),)
    for condition in where.conditions:
        yield _condition(condition)


def _condition(condition: Condition) -> _Test:
    spelled = condition.spelled()
    if condition.op in ("eq", "in", "ne"):
        wanted = [digest_of(condition.key, text) for text, _ in spelled]
        if condition.op == "ne":
            return "NOT coalesce(c.facets && %s::uuid[], false)", (wanted,)
        return "c.facets && %s::uuid[]", (wanted,)
    sign = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}[condition.op]
    text, number = spelled[0]
    column, value = ("numbers", number) if number is not None else ("words", spell(json.loads(text)))
    cast, order = ("float8", "") if number is not None else ("text", ' COLLATE "C"')
    return (
        f"EXISTS (SELECT 1 FROM unnest(c.keys, c.{column}) AS f(k, v) WHERE f.k = %s AND f.v {sign} %s::{cast}{order})",
        (digest_of(condition.key), value),
    )
