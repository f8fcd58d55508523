"""Seals and marks: what was changed after it was sealed is refused, and a copy says for whom it was written."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinyon import Memory
from pinyon.core.payload import canonical
from pinyon.core.scope import Scope
from pinyon.errors import BadInput, Damaged, StoreError, WrongKey
from pinyon.importing import Importer, export, export_everything, import_archive, import_files, restore
from pinyon.sealing import examine
from pinyon.store import OpenArchive, Rescope, Seal, check_archive, marks_in, recipient_of
from pinyon.store._archive_lines import Told
from pinyon.testing import FixedClock

KEY, OTHER = b"k" * 32, b"o" * 32
TEXTS = ("The spare key hangs behind the blue door.", "Bees swarm in May.", "Käse, Brot und ein Glas Milch.")


@pytest.fixture
def ann() -> Iterator[Memory]:
    with Memory.open(":memory:", user="ann", clock=FixedClock("2024-05-01")) as memory:
        for text in TEXTS:
            memory.add(text, tags=["home"])
        yield memory


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def written(path: Path, parts: dict[str, bytes]) -> Path:
    """Write an archive as pinyon does, with digests that fit, as somebody without the key would."""
    from pinyon.store._archive_zip import Packer

    said = json.loads(parts["manifest.json"])
    with open(path, "wb") as file:
        pack = Packer(file)
        for name, data in parts.items():
            if name != "manifest.json":
                with pack.member(name) as put:
                    put(data)
        said.pop("members")
        pack.finish(said)
    return path


def test_an_archive_with_its_seal_is_taken(ann: Memory, tmp_path: Path) -> None:
    path = tmp_path / "a.pinyon"
    export(ann, path, seal=Seal(KEY))
    assert check_archive(path, seal_key=KEY).seal is not None
    with Memory.open(":memory:", user="ann") as other:
        assert import_archive(other, path, seal_key=KEY).created == 3
        assert sorted(cube.text for cube in other.iterate()) == sorted(TEXTS)


@pytest.mark.parametrize(
    ("kind", "error", "says"),
    [
        ("other key", WrongKey, "was sealed with another key"),
        ("none", BadInput, "bears no seal"),
        ("forged", Damaged, "was changed after it was sealed"),
        ("terms", Damaged, "was changed after it was sealed"),
        ("stripped", BadInput, "bears no seal"),
        ("strange", Damaged, "is cut off or was changed"),
    ],
)
def test_what_does_not_bear_the_seal_is_refused_and_nothing_is_imported(
    kind: str, error: type[StoreError], says: str, ann: Memory, tmp_path: Path
) -> None:
    path = tmp_path / "a.pinyon"
    export(ann, path, seal=None if kind == "none" else Seal(OTHER if kind == "other key" else KEY))
    parts = members(path)
    said = json.loads(parts["manifest.json"])
    if kind == "forged":  # a cube goes, and every digest is made to fit
        line = parts["cubes.jsonl"].splitlines(keepends=True)
        journal = parts["journal.jsonl"].splitlines(keepends=True)
        gone = json.loads(line[0])["id"]
        parts["cubes.jsonl"] = b"".join(line[1:])
        parts["journal.jsonl"] = b"".join(each for each in journal if json.loads(each)["cube"] != gone)
        said["counts"] |= {"cubes": 2, "versions": 2, "events": 2}
    elif kind == "terms":
        said["created"] += 1
    elif kind == "stripped":
        del said["seal"]
    elif kind == "strange":
        said["seal"] = ["x"]
    if kind in ("forged", "terms", "stripped", "strange"):
        parts["manifest.json"] = canonical(said).encode()
        written(path, parts)
    if kind == "forged":
        assert check_archive(path).cubes == 2  # whoever asks for no seal does not see it
    with Memory.open(":memory:", user="ann") as other:
        with pytest.raises(error, match=says):
            import_archive(other, path, seal_key=KEY)
        assert other.store.engine.head().seq == 0
        done = import_files(other, [path], importer=Importer(seal_key=KEY))
        assert says in done.skipped[0].reason
        assert other.store.engine.head().seq == 0


@cache
def sealed_bytes() -> bytes:
    with Memory.open(":memory:", user="ann", clock=FixedClock("2024-05-01")) as memory:
        memory.add(TEXTS[0])
        with TemporaryDirectory() as place:
            export(memory, Path(place) / "a", seal=Seal(KEY, "bob"))
            return (Path(place) / "a").read_bytes()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_byte_that_is_read_can_be_changed_or_cut(data: st.DataObject, tmp_path: Path) -> None:
    whole = sealed_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        bad = whole[:place]
    else:
        bad = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    good, path = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(whole)
    path.write_bytes(bad)
    try:
        check_archive(path, seal_key=KEY)
    except (StoreError, BadInput):
        return
    with OpenArchive(good) as one, OpenArchive(path) as two:  # padding that nobody reads
        assert one.manifest == two.manifest
        assert list(one.cubes()) == list(two.cubes())
        assert list(one.all_told()) == list(two.all_told())


def test_everything_is_sealed_too_and_a_replay_asks_for_the_seal(ann: Memory, tmp_path: Path) -> None:
    path = tmp_path / "all.pinyon"
    export_everything(ann, path, seal=Seal(KEY))
    with Memory.open(":memory:") as copy:
        with pytest.raises(WrongKey):
            restore(copy, path, seal_key=OTHER)
        assert copy.store.engine.head().seq == 0
        restore(copy, path, seal_key=KEY)
        assert copy.store.engine.head() == ann.store.engine.head()
    with pytest.raises(BadInput, match="bears no mark"):
        export_everything(ann, path, seal=Seal(KEY, "bob"))


def test_an_archive_of_the_first_version_bears_no_seal(tmp_path: Path) -> None:
    old = tmp_path / "old"
    head = canonical({"format": "pinyon-archive", "version": 1}).encode() + b"\n"
    old.write_bytes(head + canonical({"end": 0, "sha256": sha256(head).hexdigest()}).encode() + b"\n")
    assert check_archive(old).cubes == 0
    with pytest.raises(BadInput, match="bears no seal"):
        check_archive(old, seal_key=KEY)


# --- for whom ----------------------------------------------------------------------------------------------------


def test_a_mark_changes_no_memory_and_the_round_trip_is_identity(ann: Memory, tmp_path: Path) -> None:
    plain, marked, again = (tmp_path / name for name in ("plain", "marked", "again"))
    export(ann, plain)
    export(ann, marked, seal=Seal(KEY, "bob"))
    assert members(plain)["cubes.jsonl"] == members(marked)["cubes.jsonl"]
    with Memory.open(":memory:", user="ann") as other:
        import_archive(other, marked, seal_key=KEY)
        assert [cube.header for cube in other.iterate()] == [cube.header for cube in ann.iterate()]
        assert {cube.text for cube in other.iterate()} == set(TEXTS)
        export(other, again)
    for name in ("cubes.jsonl", "journal.jsonl"):
        assert members(again)[name] == members(marked)[name]


def test_a_copy_says_for_whom_it_was_written(ann: Memory, tmp_path: Path) -> None:
    for name in ("bob", "carol"):
        export(ann, tmp_path / name, seal=Seal(KEY, name))
        found = examine("trace", tmp_path / name, seal_key=KEY)
        assert [(each.recipient, each.cubes, each.is_own) for each in found.marks] == [(name, 3, True)]
        assert not found.trouble
    assert (tmp_path / "bob").read_bytes() != (tmp_path / "carol").read_bytes()


def test_the_mark_is_found_when_the_seal_is_gone_and_after_another_import(ann: Memory, tmp_path: Path) -> None:
    path, again = tmp_path / "a", tmp_path / "again"
    export(ann, path, seal=Seal(KEY, "bob"))
    parts = members(path)
    said = {k: v for k, v in json.loads(parts["manifest.json"]).items() if k not in ("seal", "for", "mark")}
    parts["manifest.json"] = canonical(said).encode()
    stripped = written(tmp_path / "stripped", parts)
    with Memory.open(":memory:", user="eve") as other:
        import_archive(other, stripped, rescope=Rescope(into_space="mine", as_user="eve"))
        export(other, again, space="mine")
    for leaked in (stripped, again):
        found = examine("trace", leaked, seal_key=KEY, recipients=["carol", "bob"])
        assert [(each.recipient, each.cubes) for each in found.marks] == [("bob", 3)]
        assert "bears no seal" in found.trouble
        assert examine("trace", leaked, seal_key=KEY, memory=ann).marks[0].recipient == "bob"  # its audit remembers
        assert examine("trace", leaked, seal_key=KEY, recipients=["carol"]).marks[0].recipient is None
        assert examine("trace", leaked, seal_key=OTHER, recipients=["bob"]).marks[0].recipient is None


def test_a_copy_of_a_copy_bears_both_marks(ann: Memory, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    export(ann, first, seal=Seal(KEY, "bob"))
    with Memory.open(":memory:", user="ann") as bob:
        import_archive(bob, first)
        bob.add("My own.")
        export(bob, second, seal=Seal(OTHER, "carol"))
    by_ann = examine("trace", second, seal_key=KEY, recipients=["bob"])
    assert {(each.recipient, each.cubes) for each in by_ann.marks} == {("bob", 3), (None, 4)}
    by_bob = examine("trace", second, seal_key=OTHER)
    assert by_bob.marks[0].recipient == "carol"
    assert by_bob.marks[0].is_own


def test_what_is_written_for_somebody_is_noted(ann: Memory, tmp_path: Path) -> None:
    export(ann, tmp_path / "a", seal=Seal(KEY))
    export(ann, tmp_path / "b", seal=Seal(KEY, "bob"))
    (entry,) = ann.audit(actions=["export"])
    assert entry.line.detail["for"] == "bob"


@given(
    key=st.binary(min_size=32, max_size=32),
    names=st.lists(st.text(min_size=1, max_size=20).filter(str.strip), min_size=1, max_size=5, unique=True),
    archive=st.text("0123456789abcdef", min_size=16, max_size=16),
)
def test_a_mark_is_one_recipients_alone(key: bytes, names: list[str], archive: str) -> None:
    marks = [Seal(key).mark(name, archive) for name in names]
    assert len(set(marks)) == len(names)
    assert [recipient_of(mark, key, reversed(names)) for mark in marks] == names


def test_strange_marks_are_passed_over() -> None:
    when = datetime(2024, 5, 1, tzinfo=UTC)
    told = [Told("a", 1, "create", when, Scope(), "", {"mark": said}) for said in ("", "\ud800", "x" * 48, 7)]
    assert not marks_in(told)
    assert recipient_of("\ud800" * 48, KEY, ["bob"]) is None


@pytest.mark.parametrize("key", [b"", b"short", "text" * 8])
def test_a_key_of_another_length_is_refused(key: bytes) -> None:
    with pytest.raises(BadInput, match="32 bytes"):
        Seal(key)


@pytest.mark.parametrize("name", ["", "  ", "x" * 121])
def test_a_recipient_has_a_name(name: str) -> None:
    with pytest.raises(BadInput, match="names no recipient"):
        Seal(KEY, name)


def test_a_sealed_archive_says_nothing_of_the_key(ann: Memory, tmp_path: Path) -> None:
    path = tmp_path / "a"
    export(ann, path, seal=Seal(KEY, "bob"))
    assert not any(KEY in data or KEY.hex().encode() in data for data in members(path).values())
    shutil.copy(path, tmp_path / "b")
    with OpenArchive(tmp_path / "b") as archive:
        assert archive.check_seal(KEY).recipient == "bob"
