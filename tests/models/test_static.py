"""The offline embedder and token counter."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pinyon.errors import BadInput, MissingExtra, ModelError
from pinyon.models import Embedder, StaticEmbedder, StaticTokenCounter, TokenCounter

WEIGHTS = Path("weights", "l2_supercat_256.safetensors")
TOKENIZER = Path("tokenizers", "l2_supercat_tokenizer_config.json")

TEXTS = [
    "Where did Anna go last summer?",
    "Naïve café, 東京 and 🦊!",
    "two  spaces\tand\n\nlines ",
    " leading",
    "</s> and <s>x <unk>",
    "a",
    "word " * 700,
]

# Pieces that could break the cutting of long texts: runs of spaces, the tokenizer's own sign, special tokens.
BITS = st.sampled_from([" ", "  ", "▁", "a", "dog", "</s>", "<s>", ">", "\n", "ß", "🦊", "0x1F", "."])


@pytest.fixture(scope="module")
def folder() -> Path:
    spec = find_spec("wordllama")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


@pytest.fixture(scope="module")
def embedder() -> StaticEmbedder:
    return StaticEmbedder()


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / TOKENIZER))


@pytest.fixture(scope="module")
def table(folder: Path) -> np.ndarray:
    content = (folder / WEIGHTS).read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    return np.frombuffer(content, dtype=np.float16, offset=start).reshape(32_000, 256).astype(np.float64)


def test_it_fulfils_the_contract(embedder: StaticEmbedder) -> None:
    assert isinstance(embedder, Embedder)
    assert (embedder.dimensions, embedder.is_instant) == (256, True)


def test_a_row_is_the_mean_of_token_vectors_scaled_to_length_one(
    embedder: StaticEmbedder, tokenizer: Tokenizer, table: np.ndarray
) -> None:
    for text, row in zip(TEXTS, embedder.embed(TEXTS), strict=True):
        mean = np.mean([table[token] for token in tokenizer.encode(text, add_special_tokens=False).ids], axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)


def test_rows_equal_those_of_wordllama(embedder: StaticEmbedder, folder: Path) -> None:
    script = (
        "import json, sys; from pathlib import Path; from wordllama import WordLlama;"
        "model = WordLlama.load(cache_dir=Path(sys.argv[1]), disable_download=True);"
        "print(json.dumps(model.embed(json.loads(sys.stdin.read()), norm=True).tolist()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        input=json.dumps(TEXTS),
        capture_output=True,
        text=True,
        check=True,
    )
    np.testing.assert_allclose(embedder.embed(TEXTS), json.loads(run.stdout), atol=1e-5)


@given(st.lists(st.text(), max_size=5))
def test_any_text_gives_a_finite_row_of_length_one_or_zero(embedder: StaticEmbedder, texts: list[str]) -> None:
    rows = embedder.embed(texts)
    assert rows.shape == (len(texts), 256)
    assert rows.dtype == np.float32
    lengths = np.linalg.norm(rows, axis=1)
    assert np.all((np.abs(lengths - 1) < 1e-5) | (lengths == 0))


@given(st.lists(st.text(), max_size=5))
def test_a_batch_equals_its_texts_one_by_one(embedder: StaticEmbedder, texts: list[str]) -> None:
    for text, row in zip(texts, embedder.embed(texts), strict=True):
        assert np.array_equal(row, embedder.embed_query(text))


def test_an_empty_text_gives_a_zero_row(embedder: StaticEmbedder) -> None:
    assert not embedder.embed(["", "a"])[0].any()
    assert embedder.embed([]).shape == (0, 256)


def test_half_a_surrogate_pair_counts_as_a_question_mark(embedder: StaticEmbedder) -> None:
    assert np.array_equal(embedder.embed(["cut \ud83d", "b"])[0], embedder.embed_query("cut ?"))


def test_one_text_instead_of_a_sequence_is_refused(embedder: StaticEmbedder) -> None:
    with pytest.raises(BadInput, match="sequence of texts"):
        embedder.embed("text")
    with pytest.raises(BadInput, match="text 1 must be a str, got int"):
        embedder.embed(["a", 1])  # type: ignore[list-item]  # what the check is for


def test_the_fingerprint_is_stable_and_follows_the_weights(embedder: StaticEmbedder, copied: Path) -> None:
    prefix, _, digest = embedder.fingerprint.rpartition(":")
    assert prefix == "static:wordllama-l2_supercat-256"
    assert len(digest) == 16
    assert StaticEmbedder(folder=copied).fingerprint == embedder.fingerprint
    with (copied / WEIGHTS).open("r+b") as stream:
        stream.seek(-2, 2)
        stream.write(b"\x12\x34")
    assert StaticEmbedder(folder=copied).fingerprint != embedder.fingerprint


def test_threads_that_share_an_embedder_get_the_same_rows(folder: Path) -> None:
    texts = [f"turn {i} about {('bread', 'tax', 'fox')[i % 3]}" for i in range(600)]
    expected = StaticEmbedder().embed(texts)
    shared = StaticEmbedder()
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(shared.embed(texts))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(np.array_equal(rows, expected) for rows in results)


# Long texts


@given(st.lists(BITS, min_size=4, max_size=40), st.integers(min_value=0, max_value=60))
def test_cutting_a_long_text_changes_no_token(
    embedder: StaticEmbedder, tokenizer: Tokenizer, bits: list[str], shift: int
) -> None:
    # Every cycle ends with a place where a cut changes nothing.
    cycle = "".join(bits) + "ab cd"
    text = "x" * shift + cycle * (20_000 // len(cycle))
    assert embedder.counter.count(text) == len(tokenizer.encode(text, add_special_tokens=False).ids)


def test_a_long_text_without_a_space_gains_one_token_a_cut(embedder: StaticEmbedder, tokenizer: Tokenizer) -> None:
    text = "漢字" * 10_000
    whole = len(tokenizer.encode(text, add_special_tokens=False).ids)
    assert whole <= embedder.counter.count(text) <= whole + 2 * (len(text) // 8192)


def test_a_long_text_embeds_as_the_mean_of_the_whole(
    embedder: StaticEmbedder, tokenizer: Tokenizer, table: np.ndarray
) -> None:
    text = " ".join(f"The {i}th fox ate {i * 7} berries." for i in range(5_000))
    mean = table[tokenizer.encode(text, add_special_tokens=False).ids].mean(axis=0)
    np.testing.assert_allclose(embedder.embed_query(text), mean / np.linalg.norm(mean), atol=1e-5)


@pytest.mark.parametrize("text", [" " * 20_000, "\n" * 20_000, "<s>" * 7_000, "▁ " * 10_000])
def test_long_texts_of_one_sign_embed(embedder: StaticEmbedder, text: str) -> None:
    assert np.linalg.norm(embedder.embed_query(text)) == pytest.approx(1, abs=1e-5)


# Counting


def test_tokens_are_counted_without_special_ones(embedder: StaticEmbedder, tokenizer: Tokenizer) -> None:
    counter = StaticTokenCounter()
    assert isinstance(counter, TokenCounter)
    expected = [len(tokenizer.encode(text, add_special_tokens=False).ids) for text in TEXTS]
    assert counter.count_many(TEXTS) == expected
    assert embedder.counter.count_many(TEXTS) == expected
    assert counter.count("") == 0
    assert counter.count_many([]) == []


# Files


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    for name in (WEIGHTS, TOKENIZER):
        (tmp_path / name).parent.mkdir()
        shutil.copy(folder / name, tmp_path / name)
    return tmp_path


def test_missing_files_are_said_so(copied: Path) -> None:
    (copied / TOKENIZER).unlink()
    with pytest.raises(ModelError, match=r"tokenizer .* cannot be read"):
        StaticEmbedder(folder=copied).embed(["a"])
    (copied / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=r"weights .* cannot be read"):
        StaticEmbedder(folder=copied)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 100,
        b"\x02\0\0\0\0\0\0\0{}",
        b"\x02\0\0\0\0\0\0\0[]",
        (lambda header: len(header).to_bytes(8, "little") + header)(
            b'{"embedding.weight":{"dtype":"F16","shape":[9,9],"data_offsets":[0,162]}}'
        ),
    ],
)
def test_weights_that_are_no_safetensors_file_are_refused(copied: Path, content: bytes) -> None:
    (copied / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelError, match="no safetensors file"):
        StaticEmbedder(folder=copied)


def test_weights_of_another_type_are_refused(copied: Path) -> None:
    header = b'{"embedding.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}'
    (copied / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(ModelError, match="'F32' where 'F16'"):
        StaticEmbedder(folder=copied)


def test_a_vocabulary_larger_than_the_weights_is_refused(copied: Path) -> None:
    header = b'{"embedding.weight":{"dtype":"F16","shape":[10,256],"data_offsets":[0,5120]}}'
    (copied / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 5120)
    with pytest.raises(ModelError, match=r"32000 tokens .* 10 vectors"):
        StaticEmbedder(folder=copied).embed(["a"])


def test_a_tokenizer_that_is_none_is_refused(copied: Path) -> None:
    (copied / TOKENIZER).write_bytes(b"{}")
    with pytest.raises(ModelError, match="no tokenizer file"):
        StaticEmbedder(folder=copied).embed(["a"])


def test_without_wordllama_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinyon.models._bundled.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="pip install 'wordllama"):
        StaticEmbedder()
