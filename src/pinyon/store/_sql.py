"""A view as SQL: the same answer as `View.admits`, computed by the database."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ..core.clock import micros
from ..core.where import Condition, View, Where

__all__ = ["clauses", "said"]

_Test = tuple[str, tuple[object, ...]]


def clauses(view: View, *, spaces: bool = True) -> tuple[str, list[object]]:
    """Return a WHERE expression over table ``cubes`` and its values.

    Args:
        view: What may be seen and what is asked for.
        spaces: Narrow to the view's spaces.
    """
    scope = view.scope
    tests: list[_Test] = [
        ("tenant IS ?", (scope.tenant,)),
        ("(user IS NULL OR user = ?)", (scope.user,)),
        ("(agent IS NULL OR agent = ?)", (scope.agent,)),
    ]
    if spaces:
        tests.append((f"space IN ({_marks(len(view.spaces))})", view.spaces))
    tests.extend(_where(view.where))
    return " AND ".join(sql for sql, _ in tests), [value for _, values in tests for value in values]


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
    yield f"state IN ({_marks(len(where.states))})", where.states
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
    return words, (condition.key, json.loads(text))


def said(value: str) -> str | None:
    """Return the text that a JSON text says, or None for any other scalar.

    A function of the database, because SQLite's own JSON functions end a text at its first NUL.
    """
    return json.loads(value) if value.startswith('"') else None


def _marks(number: int) -> str:
    return ",".join("?" * number)
