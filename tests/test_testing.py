"""The public doubles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pinyon import Memory
from pinyon.errors import BadInput, ModelError
from pinyon.models import Embedder, Generator, Message, TokenCounter
from pinyon.testing import FixedClock, HashEmbedder, ScriptedModel, WordCounter, small_model


def test_each_double_fulfils_its_protocol() -> None:
    assert isinstance(HashEmbedder(), Embedder)
    assert isinstance(ScriptedModel([]), Generator)
    assert isinstance(WordCounter(), TokenCounter)


def test_a_fixed_clock_stands_still() -> None:
    clock = FixedClock("2024-05-01")
    assert clock.now() == clock.now()


def test_a_fixed_clock_can_be_moved_back() -> None:
    clock = FixedClock("2024-05-01")
    clock.advance(-86400)
    assert clock.now().isoformat() == "2024-04-30T00:00:00+00:00"


def test_a_fixed_clock_can_be_set() -> None:
    clock = FixedClock()
    clock.set(0)
    assert clock.now().year == 1970


def test_rows_of_the_hash_embedder_have_length_one() -> None:
    rows = HashEmbedder(7).embed(["red boats", "the sea", "ein Wort"])
    assert rows.shape == (3, 7)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_the_hash_embedder_gives_the_same_row_alone_and_among_others() -> None:
    embedder = HashEmbedder()
    np.testing.assert_array_equal(embedder.embed(["a", "b c"])[1], embedder.embed_query("b c"))


def test_the_hash_embedder_refuses_a_width_of_zero() -> None:
    with pytest.raises(BadInput, match="dimensions"):
        HashEmbedder(0)


def test_a_scripted_model_says_when_its_script_ends() -> None:
    model = ScriptedModel(["yes"])
    model.generate([Message("user", "?")])
    with pytest.raises(ModelError, match="1 answers"):
        model.generate([Message("user", "?")])


def test_a_memory_runs_on_doubles_alone() -> None:
    model = ScriptedModel(["Behind the mill. [1]"])
    clock = FixedClock("2024-05-01")
    with Memory.open(":memory:", embedder=HashEmbedder(), tokens=WordCounter(), clock=clock) as memory:
        memory.add("Ann keeps bees behind the old mill.")
        answer = memory.ask("Where are the bees?", generator=model)
    assert answer.citations[0].hit.cube.created.isoformat() == "2024-05-01T00:00:00+00:00"
    assert "bees behind the old mill" in model.asked[0][-1].content


def test_the_small_model_rests_where_the_settings_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loading = pytest.importorskip("pinyon.models._loading")
    monkeypatch.setattr(loading, "small_model_file", lambda: Path("small.gguf"))
    monkeypatch.setattr(loading, "converted", lambda file, folder: folder / file.stem)
    monkeypatch.setenv("PINYON_MODEL_CACHE", str(tmp_path / "kept"))
    assert small_model() == tmp_path / "kept" / "small"
    assert small_model(tmp_path) == tmp_path / "small"
