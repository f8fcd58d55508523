"""Archives that were cut, changed or made by somebody who means harm: each is named, and nothing is written."""

from __future__ import annotations

import hashlib
import json
import random
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pinyon.core.access import Access
from pinyon.core.cube import Draft
from pinyon.core.header import Header
from pinyon.core.payload import State, Text, canonical
from pinyon.core.scope import Scope
from pinyon.core.where import View
from pinyon.errors import BadInput, Damaged, PinyonError, TooNew
from pinyon.store import (
    ArchiveLimits,
    Extras,
    MemoryEngine,
    Store,
    check_archive,
    export_all,
    export_cubes,
    import_archive,
    restore_archive,
)

NOW = datetime(2024, 5, 1, tzinfo=UTC)
ANN = Scope(user="ann")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return made(tmp_path / "a.pinyon")


def world() -> MemoryEngine:
    engine = MemoryEngine()
    store = Store(engine)
    blob = engine.blobs.put(b"tensors" * 100)
    drafts = [Draft(Text(f"Ann told Bob about mill {n}."), Header(metadata={"n": n})) for n in range(20)]
    placed = store.put([*drafts, Draft(State((blob,), {"model": "m"}))], owner=ANN, space="main", now=NOW)
    for p in placed[:5]:
        store.update(p.cube.id, lambda c: replace(c, payload=Text("new")), view=View(ANN), actor=ANN, now=NOW)
    return engine


def made(path: Path) -> Path:
    engine = world()
    cubes = engine.find(View(ANN), newest_first=False, limit=99, after=None)
    export_cubes(engine, cubes, path, created=NOW, extras=Extras(rules={"policy": "{}"}))
    return path


def refused(path: Path, *, limits: ArchiveLimits | None = None) -> PinyonError:
    """Return what is said of an archive, and see that it changed nothing."""
    engine = MemoryEngine()
    before = path.read_bytes()
    with pytest.raises((Damaged, BadInput, TooNew)) as caught:
        import_archive(engine, path, access=Access.of(ANN), now=NOW, limits=limits)
    assert engine.head().seq == 0
    assert path.read_bytes() == before
    assert "\n" not in caught.value.message
    assert path.name in caught.value.message
    return caught.value


@pytest.mark.parametrize("part", range(20))
def test_a_cut_archive_is_named(archive: Path, part: int) -> None:
    data = archive.read_bytes()
    archive.write_bytes(data[: len(data) * part // 20])
    assert isinstance(refused(archive), Damaged)


def test_one_byte_less_or_more_is_named(archive: Path) -> None:
    data = archive.read_bytes()
    for wrong in (data[:-1], data + b"x", b"x" + data):
        archive.write_bytes(wrong)
        assert isinstance(refused(archive), Damaged)


MEMBERS = ("cubes.jsonl", "journal.jsonl", "policy.json", "manifest.json", "blobs/")


@pytest.mark.parametrize("member", MEMBERS)
def test_a_changed_byte_is_named_with_its_member(archive: Path, member: str) -> None:
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as file:
        info = next(i for i in file.infolist() if i.filename.startswith(member))
    start = info.header_offset + 50 + len(info.filename)
    size = info.compress_size - 1  # the last bits of a packed member may belong to nothing
    for place in random.Random(3).sample(range(start, start + size), min(12, size)):
        wrong = bytearray(data)
        wrong[place] ^= 0x41
        archive.write_bytes(wrong)
        assert member in refused(archive).message


@pytest.mark.parametrize("member", MEMBERS)
def test_a_changed_head_of_a_member_is_named(archive: Path, member: str) -> None:
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as file:
        info = next(i for i in file.infolist() if i.filename.startswith(member))
    for place in range(info.header_offset, info.header_offset + 50 + len(info.filename)):
        wrong = bytearray(data)
        wrong[place] ^= 0xFF
        archive.write_bytes(wrong)
        refused(archive)


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None], *, is_sealed: bool = True) -> None:
    """Write the members anew after a change; sealed, the manifest names them as they are now."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    change(members)
    manifest = json.loads(members.pop("manifest.json"))
    if is_sealed:
        manifest["members"] = {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in members.items()
        }
    pack(path, [*members.items(), ("manifest.json", canonical(manifest).encode())])


def pack(path: Path, members: list[tuple[str, bytes]], mode: int = 0o100600) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as file:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, data in members:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, mode << 16
            info.compress_type = zipfile.ZIP_STORED if name.startswith("blobs/") else zipfile.ZIP_DEFLATED
            with file.open(info, "w", force_zip64=True) as stream:
                stream.write(data)


def test_the_tests_write_archives_as_pinyon_does(archive: Path) -> None:
    before = archive.read_bytes()
    rewritten(archive, lambda _: None)
    assert archive.read_bytes() == before


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/x", "C:\\x", "blobs/../x", "blobs/" + "A" * 64, "x", "cubes.jsonl/", "BLOBS/" + "a" * 64]
)
def test_a_name_that_no_archive_holds_is_named(archive: Path, name: str) -> None:
    rewritten(archive, lambda members: members.update({name: b"x"}))
    said = refused(archive)
    assert isinstance(said, BadInput)
    assert repr(name) in said.message
    assert not list(archive.parent.rglob("x"))


def test_a_member_that_is_there_twice_is_named(archive: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = [(name, file.read(name)) for name in file.namelist()]
    pack(archive, [members[0], *members])
    assert "'cubes.jsonl' twice" in refused(archive).message


def test_a_symbolic_link_is_named(archive: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = [(name, file.read(name)) for name in file.namelist()]
    pack(archive, members, mode=stat.S_IFLNK | 0o777)
    assert "'cubes.jsonl'" in refused(archive).message


def test_a_bomb_is_refused_before_it_is_unpacked(archive: Path) -> None:
    rewritten(archive, lambda members: members.update({"cubes.jsonl": b" " * (20 * 2**20)}))
    said = refused(archive)
    assert isinstance(said, BadInput)
    assert "zip bomb" in said.message
    assert "'cubes.jsonl'" in said.message


def test_a_bomb_that_lies_about_its_size_is_refused(archive: Path) -> None:
    rewritten(archive, lambda members: members.update({"cubes.jsonl": b" " * (20 * 2**20)}))
    data = bytearray(archive.read_bytes())
    size = struct.pack("<I", 20 * 2**20)
    place = data.rindex(size)
    data[place : place + 4] = struct.pack("<I", 1000)
    archive.write_bytes(data)
    assert "cubes.jsonl" in refused(archive).message


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (ArchiveLimits(max_bytes=100), "100 bytes"),
        (ArchiveLimits(max_members=2), "5 members"),
        (ArchiveLimits(max_line_bytes=50), "line of over 50"),
        (ArchiveLimits(max_manifest_bytes=50), "manifest.json"),
    ],
)
def test_limits_hold(archive: Path, limits: ArchiveLimits, what: str) -> None:
    assert what in refused(archive, limits=limits).message


def test_a_limit_below_one_is_bad_input() -> None:
    with pytest.raises(BadInput, match="max_bytes"):
        ArchiveLimits(max_bytes=0)


@pytest.mark.parametrize("member", ["cubes.jsonl", "journal.jsonl", "blobs/"])
def test_a_member_that_is_lacking_is_named(archive: Path, member: str) -> None:
    def drop(members: dict[str, bytes]) -> None:
        del members[next(name for name in members if name.startswith(member))]

    rewritten(archive, drop, is_sealed=False)
    assert member in refused(archive).message
    rewritten(archive, lambda _: None)
    refused(archive)


def put(member: str, change: Callable[[bytes], bytes]) -> Callable[[dict[str, bytes]], None]:
    return lambda members: members.update({member: change(members[member])})


@pytest.mark.parametrize(
    "change",
    [
        put("cubes.jsonl", lambda data: data.replace(b"mill 3", b"mill 4")),
        put("cubes.jsonl", lambda data: data.replace(b'"space":"main"', b'"space":""')),
        put("cubes.jsonl", lambda data: data.replace(b'"version":2', b'"version":3')),
        put("cubes.jsonl", lambda data: data.replace(b'"id":"', b'"ix":"', 1)),
        put("cubes.jsonl", lambda data: data.replace(b'{"created"', b'{"also":1,"created"', 1)),
        put("cubes.jsonl", lambda data: data + data.splitlines(keepends=True)[0]),
        put("cubes.jsonl", lambda data: b"".join(data.splitlines(keepends=True)[1:])),
        put("cubes.jsonl", lambda data: data[:-1]),
        put("cubes.jsonl", lambda _: b"[" * 100_000 + b"\n"),
        put("cubes.jsonl", lambda _: b'{"versions":[]}\n'),
        put("cubes.jsonl", lambda _: b"\xff\n"),
        put("journal.jsonl", lambda data: data.replace(b'"op":"create"', b'"op":"conjure"', 1)),
        put("journal.jsonl", lambda data: data.replace(b'"op":"create"', b'"op":"policy"', 1)),
        put("journal.jsonl", lambda data: data.replace(b'"op":"overwrite"', b'"op":"forget"', 1)),
        put("journal.jsonl", lambda data: data.replace(b'"hash":"', b'"hash":"00', 1)),
        put("journal.jsonl", lambda data: data + data),
        put("journal.jsonl", lambda _: b""),
        put("policy.json", lambda _: b"[]"),
        put("manifest.json", lambda data: data.replace(b'"cubes":21', b'"cubes":22')),
        put("manifest.json", lambda data: data.replace(b'"version":2', b'"version":3')),
        put("manifest.json", lambda data: data.replace(b'"format"', b'"fermat"')),
        put("manifest.json", lambda data: data.replace(b'"counts"', b'"contus"')),
        put("manifest.json", lambda data: data.replace(b'"part"', b'"half"')),
    ],
)
def test_what_is_wrong_inside_is_named_even_when_its_digests_are_right(
    archive: Path, change: Callable[[dict[str, bytes]], None]
) -> None:
    rewritten(archive, change)
    refused(archive)


@pytest.mark.parametrize(
    "change",
    [
        put("journal.jsonl", lambda data: data.replace(b'"op":"create"', b'"op":"convert"', 1)),
        put("journal.jsonl", lambda data: b"".join(data.splitlines(keepends=True)[:-1])),
        put("journal.jsonl", lambda data: b"".join(data.splitlines(keepends=True)[1:])),
        put("cubes.jsonl", lambda data: b"".join(data.splitlines(keepends=True)[1:])),
        put("manifest.json", lambda data: data.replace(b'"seq":26', b'"seq":25')),
    ],
)
def test_a_journal_that_does_not_follow_is_not_restored(
    tmp_path: Path, change: Callable[[dict[str, bytes]], None]
) -> None:
    path = tmp_path / "a.pinyon"
    export_all(world(), path, created=NOW)
    rewritten(path, change)
    engine = MemoryEngine()
    with pytest.raises(Damaged) as caught:
        restore_archive(engine, path)
    assert path.name in caught.value.message
    assert engine.head().seq == 0


def test_a_later_version_is_too_new(archive: Path) -> None:
    rewritten(archive, put("manifest.json", lambda data: data.replace(b'"schema":2', b'"schema":3')))
    assert isinstance(refused(archive), TooNew)


def test_a_zip_file_of_somebody_else_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("notes.txt", "mine")
    with pytest.raises(BadInput, match=r"notes\.txt"):
        check_archive(path)
