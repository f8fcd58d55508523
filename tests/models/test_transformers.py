"""Hugging Face models, with tiny ones of random weights made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from pinyon.errors import BadInput, ModelError
from pinyon.models import (
    Embedder,
    Generator,
    HuggingFaceEmbedder,
    LocalGenerator,
    Message,
    embedder_from,
    generator_from,
)

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("default")]

WORDS = "[PAD] [UNK] [EOS] user assistant system : the fox ate a berry query passage".split()
TEXTS = ["the fox", "", "a fox ate the berry", "berry"]
TEMPLATE = "{% for m in messages %}{{ m.role }} : {{ m.content }} {% endfor %}assistant :"


def save_tokenizer(folder: Path, template: str | None = None) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]", model_max_length=32
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    BertModel(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def causal(folder: Path, template: str | None) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=24,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    save_tokenizer(folder, template)
    return folder


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return causal(tmp_path_factory.mktemp("decoder"), TEMPLATE)


def hidden_states(folder: Path, text: str) -> np.ndarray:
    import torch
    from transformers import AutoModel, AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        states: np.ndarray = AutoModel.from_pretrained(folder).eval()(**inputs).last_hidden_state[0].numpy()
    return states


def unit(row: np.ndarray) -> np.ndarray:
    return row / np.linalg.norm(row)


def test_mean_pooling_is_the_mean_of_the_last_states(encoder: Path) -> None:
    embedder = embedder_from(f"hf:{encoder}")
    assert isinstance(embedder, Embedder)
    assert (embedder.dimensions, embedder.is_instant) == (8, False)
    rows = embedder.embed(TEXTS)
    assert not rows[1].any()
    for text, row in zip(TEXTS, rows, strict=True):
        if text:
            np.testing.assert_allclose(row, unit(hidden_states(encoder, text).mean(axis=0)), atol=1e-5)


def test_cls_pooling_is_the_first_of_the_last_states(encoder: Path) -> None:
    rows = HuggingFaceEmbedder(str(encoder), "cls").embed(TEXTS)
    np.testing.assert_allclose(rows[2], unit(hidden_states(encoder, TEXTS[2])[0]), atol=1e-5)


def test_prefixes_stand_before_questions_and_texts(encoder: Path) -> None:
    plain = HuggingFaceEmbedder(str(encoder))
    prefixed = HuggingFaceEmbedder(str(encoder), query_prefix="query : ", passage_prefix="passage : ")
    np.testing.assert_allclose(prefixed.embed_query("fox"), plain.embed_query("query : fox"), atol=1e-6)
    np.testing.assert_allclose(prefixed.embed(["fox"]), plain.embed(["passage : fox"]), atol=1e-6)


def test_a_batch_equals_its_texts_one_by_one(encoder: Path) -> None:
    embedder = HuggingFaceEmbedder(str(encoder))
    one_by_one = np.array([embedder.embed([text])[0] for text in TEXTS])
    np.testing.assert_allclose(embedder.embed(TEXTS), one_by_one, atol=1e-5)


def test_longer_texts_are_cut_at_the_limit(encoder: Path) -> None:
    embedder = HuggingFaceEmbedder(str(encoder), max_tokens=2)
    np.testing.assert_allclose(embedder.embed_query("the fox ate"), embedder.embed_query("the fox"), atol=1e-6)
    assert np.isfinite(HuggingFaceEmbedder(str(encoder)).embed_query("fox " * 5_000)).all()


def test_the_fingerprint_tells_pooling_prefix_and_weights_apart(encoder: Path, decoder: Path) -> None:
    made = [
        HuggingFaceEmbedder(str(encoder)),
        HuggingFaceEmbedder(str(encoder), "cls"),
        HuggingFaceEmbedder(str(encoder), query_prefix="query : "),
        HuggingFaceEmbedder(str(encoder), passage_prefix="query : "),
        HuggingFaceEmbedder(str(decoder)),
    ]
    assert len({embedder.fingerprint for embedder in made}) == len(made)
    assert HuggingFaceEmbedder(str(encoder)).fingerprint == made[0].fingerprint


def test_generation_continues_the_template_with_the_likeliest_tokens(decoder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    generator = generator_from(f"hf:{decoder}", api_key=None)
    assert isinstance(generator, Generator)
    answer = generator.generate([Message("user", "the fox ate a")], max_tokens=4)

    tokenizer = AutoTokenizer.from_pretrained(decoder)
    network = AutoModelForCausalLM.from_pretrained(decoder).eval()
    ids = tokenizer("user : the fox ate a assistant :")["input_ids"]
    given = len(ids)
    for _ in range(4):
        with torch.inference_mode():
            ids.append(int(network(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == 2:
            break
    assert answer == tokenizer.decode(ids[given:], skip_special_tokens=True)


def test_a_model_without_a_template_is_given_lines(tmp_path: Path) -> None:
    generator = LocalGenerator(str(causal(tmp_path, None)))
    assert isinstance(generator.generate([Message("user", "the fox")], max_tokens=2), str)


def test_a_conversation_longer_than_the_model_reads_is_refused(decoder: Path) -> None:
    with pytest.raises(ModelError, match="reads at most 24"):
        LocalGenerator(str(decoder)).generate([Message("user", "fox " * 30)])


def test_a_missing_model_is_said_so(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        HuggingFaceEmbedder(missing).embed(["a"])
    assert "config.json" in caught.value.hint
    with pytest.raises(ModelError, match="cannot be loaded"):
        LocalGenerator(missing).generate([Message("user", "a")])


def test_a_device_that_is_not_there_is_said_so(encoder: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        HuggingFaceEmbedder(str(encoder), device="nowhere").embed(["a"])


def test_arguments_that_cannot_be_used_are_refused(decoder: Path) -> None:
    with pytest.raises(BadInput, match="pooling"):
        HuggingFaceEmbedder("m", "max")  # type: ignore[arg-type]  # what the check is for
    with pytest.raises(BadInput, match="max_tokens"):
        HuggingFaceEmbedder("m", max_tokens=0)
    with pytest.raises(BadInput, match="hub id"):
        LocalGenerator("")
    with pytest.raises(BadInput, match="message"):
        LocalGenerator(str(decoder)).generate([])
    with pytest.raises(BadInput, match="max_tokens"):
        LocalGenerator(str(decoder)).generate([Message("user", "a")], max_tokens=0)
