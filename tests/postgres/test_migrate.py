"""A whole store from one engine into another, in every direction, cut off and gone on with, and verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pg_server import WHY_NOT, wiped

from pinyon.core.cube import Cube, Draft
from pinyon.core.header import Header, Lineage, Parent, Provenance, Rights
from pinyon.core.payload import State, Text
from pinyon.core.scope import Scope
from pinyon.core.where import EVERY_STATE, View, Where
from pinyon.errors import BadInput, Conflict, Damaged
from pinyon.store import Engine, MemoryEngine, SourceMark, SqliteEngine, Store
from pinyon.store.migrate import Migrated, migrate
from pinyon.store.side import AuditLine, Job, Usage
from pinyon.testing import HashEmbedder

NOW = datetime(2024, 5, 1, tzinfo=UTC)
ANN = Scope("t", "ann", None, "s1")
EMBEDDER = HashEmbedder(8)
needs_postgres = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
KINDS = [
    "memory",
    "sqlite",
    pytest.param("postgres", marks=[pytest.mark.postgres, needs_postgres]),
]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str, str], Engine]]:
    made: list[Engine] = []

    def make(kind: str, name: str) -> Engine:
        engine: Engine
        if kind == "sqlite":
            engine = SqliteEngine(tmp_path / f"{name}.db", durability="normal")
        else:
            engine = MemoryEngine() if kind == "memory" else wiped(f"migrate_{name}")
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


def embed(cubes: object) -> tuple[str, np.ndarray]:
    return EMBEDDER.fingerprint, EMBEDDER.embed([cube.text for cube in cubes]).astype(np.float16)  # type: ignore[attr-defined]


def fill(engine: Engine, number: int = 40) -> None:
    """Write something of every sort."""
    store = Store(engine)
    blob = engine.blobs.put(b"tensors\x00" * 99)
    here = Header(Provenance(thread="f", source="f\x00"), Rights(read=("user:bob",)), tags=("red",), metadata={"k": 1})
    for start in range(0, number, 10):
        made = [Draft(Text(f"text {n}\x00 蜜蜂"), here) for n in range(start, start + 10)]
        store.put(made, owner=ANN, space=f"s{start}", now=NOW + timedelta(days=start), embed=embed,
                  source=SourceMark(f"f{start}\x01", "d" * 64, 10))  # fmt: skip
    store.put([Draft(State((blob,), {"model": "m"}))], owner=Scope(), space="main", now=NOW)
    mine = View(ANN, tuple(f"s{start}" for start in range(0, number, 10)))
    cubes = engine.find(mine, newest_first=False, limit=12, after=None)
    for cube in cubes[:5]:
        child = replace(cube.header, lineage=Lineage((Parent(cubes[9].id, 1),)))
        for text in ("second", "third"):
            store.update(cube.id, lambda old, text=text, child=child: replace(old, payload=Text(text), header=child),  # type: ignore[misc]
                         view=mine, actor=ANN, now=NOW, embed=embed)  # fmt: skip
    store.remove([cube.id for cube in cubes[3:8]], view=mine, actor=ANN, now=NOW)
    engine.set_setting("embedder", "hash\x00")
    engine.usage.change([1, 2], lambda _: {1: Usage(3, NOW, 0.5), 2: Usage()})
    lines = [AuditLine(NOW, Scope(tenant), "search", n % 2 == 0, "deny", "main", "", {"n": n})
             for n in range(9) for tenant in (None, "t")]  # fmt: skip
    engine.audit.append(lines)
    for n in range(4):
        engine.jobs.add([Job(0, "embed", {"n": n}, NOW, NOW, NOW, key=f"k{n}")])
    engine.jobs.remove([2])
    engine.jobs.lease("w", ["embed"], NOW, NOW + timedelta(minutes=1), 1)


def everything(engine: Engine) -> tuple[object, ...]:
    """Return all that can be asked of a store."""
    head = engine.head()
    rows = range(1, head.seq + 1)
    cubes = engine.by_rows(rows)
    vectors = engine.vectors(EMBEDDER.fingerprint, rows)
    bob = View(Scope("t", "bob"), ("s0", "s10"), Where(states=EVERY_STATE))
    return (
        head, engine.journal(0, 9999), cubes, engine.past(rows), engine.children([c.id for c in cubes.values()]),
        {row: engine.by_rows([row], at) for row in rows for at in (5, head.seq - 3)},
        vectors.rows.tolist(), vectors.versions.tolist(), vectors.data.tolist(), engine.fingerprints(),
        engine.find(bob, newest_first=True, limit=99, after=None), engine.setting("embedder"),
        engine.source("s10", ANN, "f10\x01"), engine.usage.every(0, 99), engine.jobs.find(), engine.jobs.counts(),
        engine.audit.read(0, 99, tenant=None), engine.audit.read(0, 99, tenant="t"), engine.audit.problems(),
    )  # fmt: skip


def blobs_of(engine: Engine) -> list[bytes]:
    cubes: list[Cube] = list(engine.by_rows(range(1, engine.head().seq + 1)).values())
    return [engine.blobs.get(blob) for cube in cubes if isinstance(cube.payload, State) for blob in cube.payload.blobs]


@pytest.mark.parametrize("one", KINDS)
@pytest.mark.parametrize("two", KINDS)
def test_a_copy_answers_everything_as_the_source_does(make: Callable[[str, str], Engine], one: str, two: str) -> None:
    source, target = make(one, "a"), make(two, "b")
    fill(source)
    before = everything(source)
    seen: list[tuple[int, int]] = []
    done = migrate(source, target, progress=lambda at, total: seen.append((at, total)))
    assert everything(target) == before == everything(source)
    assert blobs_of(target) == [b"tensors\x00" * 99]
    assert done == Migrated(source.head().seq, 36, 6, 35, 18, 3, source.head().chain)
    assert seen[-1] == (done.entries, done.entries)
    (placed,) = Store(target).put([Draft(Text("after"))], owner=ANN, space="s0", now=NOW)
    assert placed.cube.row == done.entries + 1
    assert target.jobs.add([Job(0, "other", {}, NOW, NOW, NOW)])[0].id == 5
    assert Store(target).check() == []


@pytest.mark.parametrize("two", KINDS)
def test_one_that_was_cut_off_goes_on_and_takes_what_came_meanwhile(
    make: Callable[[str, str], Engine], two: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pinyon.store.migrate._BATCH", 7)
    source, target = make("sqlite", "a"), make(two, "b")
    fill(source)

    def fail(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        migrate(source, target, progress=fail)
    assert 0 < target.head().seq < source.head().seq
    first = source.by_rows([12])[12]
    view = View(ANN, (first.space,))
    store = Store(source)
    store.update(first.id, lambda old: replace(old, payload=Text("later")), view=view, actor=ANN, now=NOW, embed=embed)
    store.remove([source.by_rows([13])[13].id], view=view, actor=ANN, now=NOW)
    begun: list[int] = []
    migrate(source, target, progress=lambda done, total: begun.append(done))
    assert begun[0] > 7
    assert everything(target) == everything(source)


def test_vectors_made_after_the_copy_and_dropped_ones_follow(make: Callable[[str, str], Engine]) -> None:
    source, target = make("sqlite", "a"), make("memory", "b")
    fill(source)
    migrate(source, target)
    rows = source.vectors(EMBEDDER.fingerprint, range(100))
    with source.transaction() as tx:
        tx.put_vectors("another", rows)
    source.drop_vectors(EMBEDDER.fingerprint)
    migrate(source, target)
    assert target.fingerprints() == source.fingerprints() == {"another": 35}


def test_a_target_that_holds_something_else_is_refused(make: Callable[[str, str], Engine]) -> None:
    source, target = make("memory", "a"), make("memory", "b")
    fill(source)
    Store(target).put([Draft(Text("other"))], owner=ANN, space="main", now=NOW)
    before = everything(target)
    with pytest.raises(Conflict, match="are not those"):
        migrate(source, target)
    assert everything(target) == before
    with pytest.raises(BadInput, match="into itself"):
        migrate(source, source)


def test_a_copy_that_differs_is_not_called_done(make: Callable[[str, str], Engine]) -> None:
    source, target = make("memory", "a"), make("memory", "b")
    fill(source)
    migrate(source, target)
    with target.transaction() as tx:
        tx.set_setting("only here", "x")
    with pytest.raises(Damaged, match=r"differs .* in settings"):
        migrate(source, target)
