"""Archives of version 1 open: the code that wrote them is kept here."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pinyon.core.access import Access
from pinyon.core.cube import Cube, Draft
from pinyon.core.header import Header, header_to_json
from pinyon.core.payload import Json, State, Text, canonical, payload_to_json
from pinyon.core.scope import Scope
from pinyon.core.where import View
from pinyon.errors import Damaged, TooNew
from pinyon.store import (
    Archived,
    MemoryEngine,
    SqliteEngine,
    Store,
    check_archive,
    import_archive,
    is_archive,
    read_archive,
)

NOW = datetime(2024, 5, 1, tzinfo=UTC)
ANN = Scope(user="ann")
TENSORS = b"tensors" * 5


def first_archive(things: Iterable[Archived], path: Path) -> None:
    """Write an archive as pinyon 0.1 and 0.2 did."""
    seen = hashlib.sha256()
    number = 0
    with open(path, "wb") as file:

        def put(value: object) -> None:
            line = canonical(value).encode() + b"\n"
            seen.update(line)
            file.write(line)

        put({"format": "pinyon-archive", "version": 1})
        for thing in things:
            line: dict[str, object] = {"cube": first_cube(thing.cube)}
            if thing.versions:
                line["versions"] = [first_cube(cube) for cube in thing.versions]
            if thing.blobs:
                line["blobs"] = [base64.b64encode(data).decode() for data in thing.blobs]
            put(line)
            number += 1
        put({"end": number, "sha256": seen.hexdigest()})


def first_cube(cube: Cube) -> dict[str, Json]:
    owner = {name: getattr(cube.owner, name) for name in ("tenant", "user", "agent", "session")}
    return {
        "id": cube.id,
        "version": cube.version,
        "space": cube.space,
        "owner": {name: value for name, value in owner.items() if value is not None},
        "time": cube.time.isoformat(),
        "created": cube.created.isoformat(),
        "updated": cube.updated.isoformat(),
        "payload": payload_to_json(cube.payload),
        "header": header_to_json(cube.header),
        "hash": cube.hash,
        "parent": cube.parent,
    }


def told(path: Path) -> tuple[MemoryEngine, list[Archived]]:
    """Write an archive of version 1, and return what it was written from."""
    engine = MemoryEngine()
    store = Store(engine)
    blob = engine.blobs.put(TENSORS)
    drafts = [Draft(Text("one"), Header(tags=("t",))), Draft(State((blob,), {"model": "m"})), Draft(Text("two"))]
    placed = store.put(drafts, owner=replace(ANN, session="s"), space="main", now=NOW)
    store.update(placed[0].cube.id, lambda c: replace(c, payload=Text("ONE")), view=View(ANN), actor=ANN, now=NOW)
    cubes = engine.find(View(ANN), newest_first=False, limit=9, after=None)
    things = [
        Archived(c, tuple(engine.versions(c.id)), (TENSORS,) if isinstance(c.payload, State) else ()) for c in cubes
    ]
    first_archive(things, path)
    return engine, things


def test_an_archive_of_version_1_opens(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    engine, things = told(path)
    assert is_archive(path.read_bytes()[:64])
    said = check_archive(path)
    assert (said.version, said.extent, said.cubes) == (1, "part", 3)
    assert list(read_archive(path)) == [
        replace(t, cube=plain(t.cube), versions=tuple(map(plain, t.versions))) for t in things
    ]
    other = SqliteEngine(tmp_path / "there.db")
    assert import_archive(other, path, access=Access.of(ANN), now=NOW).created == 3
    for thing in things:
        there = other.get(thing.cube.id, View(ANN))
        assert there is not None
        assert [c.hash for c in (*other.versions(there.id), there)] == [c.hash for c in thing.chain]
        assert there.owner == thing.cube.owner
    assert other.blobs.get(things[1].cube.payload.blobs[0]) == TENSORS  # type: ignore[union-attr]
    assert Store(other).check() == []
    other.close()
    engine.close()


@pytest.mark.parametrize("part", range(1, 20))
def test_one_that_was_cut_or_changed_is_refused_whole(tmp_path: Path, part: int) -> None:
    path = tmp_path / "old.jsonl"
    told(path)
    data = bytearray(path.read_bytes())
    place = len(data) * part // 20
    changed = bytearray(data)
    changed[place] ^= 1
    for wrong in (data[:place], changed):
        path.write_bytes(wrong)
        other = MemoryEngine()
        with pytest.raises(Damaged, match=r"old\.jsonl"):
            import_archive(other, path, access=Access.of(ANN), now=NOW)
        assert other.head().seq == 0


def plain(cube: Cube) -> Cube:
    return replace(cube, row=0, seq=0)


def test_an_archive_of_a_later_version_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pinyon"
    path.write_bytes(b'{"format":"pinyon-archive","version":99}\n{"end":0,"sha256":""}\n')
    with pytest.raises(TooNew, match="version 99"):
        check_archive(path)
