from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from pinyon.index.snapshot import Loaded, Manifest, Snapshots

MANIFEST = Manifest("store", 7, "ab", "words", "vectors", (3, 5))
ARRAYS = {"a": np.arange(1000, dtype=np.int32), "b": np.zeros(0, dtype=np.uint8), "c": np.ones((3, 2), np.float32)}
VECTORS = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)


def _save(folder: Path, **more: object) -> Loaded | None:
    return Snapshots(folder).save(MANIFEST, ARRAYS, [VECTORS[:100], VECTORS[100:]], VECTORS.shape, **more)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    saved = _save(tmp_path / "new")
    np.testing.assert_array_equal(saved.vectors, VECTORS)
    found = Snapshots(tmp_path / "new").load(MANIFEST)
    assert found.manifest == MANIFEST
    assert set(found.arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype
    np.testing.assert_array_equal(found.vectors, VECTORS)
    assert found.graph is None


def test_writing_to_loaded_vectors_leaves_the_file_alone(tmp_path: Path) -> None:
    _save(tmp_path)
    Snapshots(tmp_path).load(MANIFEST).vectors[0] = 9
    np.testing.assert_array_equal(Snapshots(tmp_path).load(MANIFEST).vectors, VECTORS)


@pytest.mark.parametrize("other", [{"identity": "x"}, {"analyzer": "x"}, {"embedder": "x"}])
def test_a_snapshot_of_something_else_is_not_taken(tmp_path: Path, other: dict[str, str]) -> None:
    _save(tmp_path)
    wanted = {"identity": "store", "analyzer": "words", "embedder": "vectors", **other}
    assert Snapshots(tmp_path).load(Manifest(seq=0, chain="", **wanted)) is None


@pytest.mark.parametrize("kind", ["arrays", "vectors", "CURRENT"])
@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "empty"])
def test_a_damaged_snapshot_is_not_taken(tmp_path: Path, kind: str, damage: str) -> None:
    _save(tmp_path)
    file = tmp_path / "CURRENT" if kind == "CURRENT" else next(iter(tmp_path.glob(f"*.{kind}")))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x80
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes({"changed": data, "cut": data[:-9], "empty": b""}[damage])
    assert Snapshots(tmp_path).load(MANIFEST) is None
    assert Snapshots(tmp_path).problems() or (kind, damage) == ("CURRENT", "gone")


def test_a_sound_snapshot_has_no_problems(tmp_path: Path) -> None:
    assert Snapshots(tmp_path).problems() == []
    _save(tmp_path)
    assert Snapshots(tmp_path).problems() == []


def test_a_damaged_graph_leaves_the_rest_of_the_snapshot(tmp_path: Path) -> None:
    _save(tmp_path, write_graph=lambda path: path.write_bytes(b"graph" * 1000))
    assert Snapshots(tmp_path).load(MANIFEST).graph is not None
    file = next(iter(tmp_path.glob("*.graph")))
    file.write_bytes(b"graph" * 999 + b"grapf")
    found = Snapshots(tmp_path).load(MANIFEST)
    assert found is not None
    assert found.graph is None


def test_a_new_snapshot_replaces_the_files_of_the_old(tmp_path: Path) -> None:
    _save(tmp_path)
    _save(tmp_path)
    assert len(list(tmp_path.glob("*.vectors"))) == 1
    assert Snapshots(tmp_path).load(MANIFEST) is not None


def test_a_write_that_fails_keeps_the_old_snapshot(tmp_path: Path) -> None:
    _save(tmp_path)

    def full(path: Path) -> None:
        path.write_bytes(b"half of a gra")
        raise OSError("no space left")

    assert _save(tmp_path, write_graph=full) is None
    assert Snapshots(tmp_path).load(MANIFEST) is not None
    assert not list(tmp_path.glob("*.graph"))


def test_only_one_process_writes(tmp_path: Path) -> None:
    tmp_path.mkdir(exist_ok=True)
    with FileLock(tmp_path / "lock"):
        assert _save(tmp_path) is None


def test_a_removed_snapshot_leaves_no_file(tmp_path: Path) -> None:
    _save(tmp_path)
    Snapshots(tmp_path).remove()
    assert [file.name for file in tmp_path.iterdir() if file.name != "lock"] == []
    Snapshots(tmp_path / "absent").remove()
