"""Bytes that only a key opens: sealed files, blobs and snapshots."""

from __future__ import annotations

import hashlib
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinyon.errors import Damaged, NotFound
from pinyon.index.snapshot import Manifest, Snapshots
from pinyon.store import FileBlobs
from pinyon.store._cipher import Cipher, Keys

pytest.importorskip("cryptography")

CHUNK = 1 << 20
KEY = bytes(range(32))


@given(st.binary(max_size=200), st.text(max_size=5))
def test_what_is_sealed_opens_for_its_purpose_only(data: bytes, purpose: str) -> None:
    cipher = Cipher(KEY)
    sealed = cipher.seal(data, purpose)
    assert cipher.open(sealed, purpose) == data
    with pytest.raises(Damaged):
        cipher.open(sealed, purpose + "x")
    with pytest.raises(Damaged, match="another key"):
        Cipher(bytes(32)).open(sealed, purpose)


@given(st.data())
def test_any_changed_bit_or_cut_is_noticed(data: st.DataObject) -> None:
    sealed = bytearray(Cipher(KEY).seal(b"x" * 300, "p"))
    if data.draw(st.booleans()):
        sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del sealed[data.draw(st.integers(0, len(sealed) - 1)) :]
    with pytest.raises(Damaged):
        Cipher(KEY).open(bytes(sealed), "p")


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_chunks_cannot_be_cut_doubled_or_swapped(size: int) -> None:
    cipher = Cipher(KEY)
    data = random.Random(size).randbytes(size)
    sealed = cipher.seal(data, "p")
    assert cipher.open(sealed, "p") == data
    head, body = sealed[:49], sealed[49:]
    chunks = [body[start : start + CHUNK + 16] for start in range(0, len(body), CHUNK + 16)]
    wrong = [chunks[:-1], [*chunks, chunks[-1]]] + ([chunks[::-1]] if len(chunks) > 1 else [])
    for order in wrong:
        with pytest.raises(Damaged):
            cipher.open(head + b"".join(order), "p")


def test_a_file_sealed_in_pieces_is_the_same_as_in_one(tmp_path: Path) -> None:
    cipher, data = Cipher(KEY), random.Random(1).randbytes(2 * CHUNK + 77)
    with open(tmp_path / "x", "wb") as file:
        sealing = cipher.sealing(file, "p")
        for start in range(0, len(data), 300_001):
            sealing.write(data[start : start + 300_001])
        sealing.finish()
    assert cipher.open((tmp_path / "x").read_bytes(), "p") == data


def test_the_same_bytes_never_look_the_same_twice() -> None:
    assert Cipher(KEY).seal(b"x" * 100, "p")[9:] != Cipher(KEY).seal(b"x" * 100, "p")[9:]


def test_keys_of_one_master_differ_and_repeat() -> None:
    one, two = Keys(KEY), Keys(KEY)
    assert one.database == two.database
    assert len({one.database[:32], one.blobs.mark, one.index.mark, Keys(bytes(32)).database[:32]}) == 4


def test_blobs_are_kept_once_found_again_and_nameless(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path / "b", Keys(KEY))
    blob = blobs.put(b"blobcontent")
    assert blobs.put(b"blobcontent") == blob
    assert blobs.get(blob) == b"blobcontent"
    files = [file for file in (tmp_path / "b").rglob("*") if file.is_file()]
    assert len(files) == 1
    assert blob.sha256 not in files[0].name
    assert blob.sha256 == hashlib.sha256(b"blobcontent").hexdigest()
    blobs.remove(blob)
    with pytest.raises(NotFound):
        blobs.get(blob)


def test_a_blob_in_the_place_of_another_is_noticed(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path / "b", Keys(KEY))
    one, two = blobs.put(b"one"), blobs.put(b"two")
    first, second = (blobs._path(blob) for blob in (one, two))
    shutil.copyfile(first, second)
    with pytest.raises(Damaged, match=two.sha256):
        blobs.get(two)


def test_a_sealed_snapshot_gives_its_arrays_rows_and_graph_back(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, Keys(KEY).index)
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    manifest = Manifest("id", 3, "chain", "analyzer", "embedder")
    written = snapshots.save(
        manifest, {"n": np.arange(5)}, [rows[:1], rows[1:]], rows.shape, lambda path: bytearray(b"graph")
    )
    for loaded in (written, snapshots.load(manifest)):
        assert loaded is not None
        assert np.array_equal(loaded.vectors, rows)
        assert loaded.graph == b"graph"
    assert np.array_equal(snapshots.load(manifest).arrays["n"], np.arange(5))
    assert snapshots.problems() == []
    assert Snapshots(tmp_path, Keys(bytes(32)).index).load(manifest) is None
    assert Snapshots(tmp_path).load(manifest) is None


def test_a_changed_byte_of_a_sealed_snapshot_is_named_and_not_used(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, Keys(KEY).index)
    manifest = Manifest("id", 3, "chain", "analyzer", "embedder")
    for name in ("arrays", "vectors", "graph", "CURRENT"):
        rows = np.ones((3, 4), dtype=np.float32)
        snapshots.save(manifest, {"n": np.arange(5)}, [rows], rows.shape, lambda path: bytearray(b"graph"))
        (file,) = [f for f in tmp_path.iterdir() if name in f.name]
        flip(file, 60)
        loaded = snapshots.load(manifest)
        assert loaded is None or (name == "graph" and loaded.graph is None)
        assert any(file.name in problem for problem in snapshots.problems())


def flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 4
    file.write_bytes(data)
