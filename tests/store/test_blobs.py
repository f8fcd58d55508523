"""Bytes named by their SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pinyon.core.payload import Blob
from pinyon.errors import Damaged, NotFound, StoreError
from pinyon.store import Blobs, FileBlobs, MemoryBlobs


@pytest.fixture(params=["files", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return FileBlobs(tmp_path / "blobs") if request.param == "files" else MemoryBlobs()


def file_of(folder: Path, blob: Blob) -> Path:
    (path,) = (path for path in folder.rglob(blob.sha256) if path.is_file())
    return path


@pytest.mark.parametrize("data", [b"", b"\x00", b"tensors" * 10_000])
def test_bytes_come_back_as_they_were(blobs: Blobs, data: bytes) -> None:
    assert blobs.get(blobs.put(data)) == data


def test_a_blob_is_named_by_its_digest(blobs: Blobs) -> None:
    blob = blobs.put(b"abc", role="keys")
    assert (blob.sha256, blob.bytes, blob.role) == (hashlib.sha256(b"abc").hexdigest(), 3, "keys")


def test_the_same_bytes_are_kept_once(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    blobs.put(b"abc")
    blobs.put(b"abc")
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_a_removed_blob_is_not_found(blobs: Blobs) -> None:
    blob = blobs.put(b"abc")
    blobs.remove(blob)
    blobs.remove(blob)
    with pytest.raises(NotFound):
        blobs.get(blob)


@pytest.mark.parametrize("content", [b"", b"abd", b"abcd"])
def test_damage_is_noticed(tmp_path: Path, content: bytes) -> None:
    blobs = FileBlobs(tmp_path)
    blob = blobs.put(b"abc")
    file_of(tmp_path, blob).write_bytes(content)
    with pytest.raises(Damaged, match=blob.sha256):
        blobs.get(blob)


def test_putting_the_bytes_again_mends_a_damaged_blob(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    blob = blobs.put(b"abc")
    file_of(tmp_path, blob).write_bytes(b"abd")
    blobs.put(b"abc")
    assert blobs.get(blob) == b"abc"


def test_a_folder_that_cannot_be_made_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="3 bytes could not be written"):
        FileBlobs(tmp_path / "file").put(b"abc")


def test_a_digest_cannot_be_a_path() -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        Blob("../" * 21 + "x", 3)


def test_a_view_is_the_bytes_and_writing_into_it_changes_nothing(blobs: Blobs) -> None:
    blob = blobs.put(b"tensors" * 1000)
    view = blobs.view(blob)
    assert bytes(view) == blobs.get(blob)
    if not view.readonly:
        view[0] = 0
    assert blobs.get(blob) == b"tensors" * 1000
    blobs.remove(blob)
    assert bytes(view[7:14]) == b"tensors"  # what was taken before stays readable
    with pytest.raises(NotFound):
        blobs.view(blob)


def test_a_view_of_nothing_is_empty(blobs: Blobs) -> None:
    assert bytes(blobs.view(blobs.put(b""))) == b""


@pytest.mark.parametrize("content", [b"", b"abd", b"abcd"])
def test_damage_is_noticed_in_a_view(tmp_path: Path, content: bytes) -> None:
    blobs = FileBlobs(tmp_path)
    blob = blobs.put(b"abc")
    file_of(tmp_path, blob).write_bytes(content)
    with pytest.raises(Damaged, match=blob.sha256):
        blobs.view(blob)
