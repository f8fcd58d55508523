"""Embed and generate with any model of the Hugging Face hub or a local folder, by torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, ModelError
from ..extras import require
from ._bundled import sampled_digest
from ._hub import check_hub
from ._rows import as_texts, as_unicode, by_length, checked_rows
from .base import Message, Vectors

__all__ = ["HuggingFaceEmbedder", "LocalGenerator"]

_BATCH = 16
_MAX_TOKENS = 512  # what most encoders were trained on; a model's smaller limit wins
_CHARACTERS_PER_TOKEN = 32  # no usual text has more; keeps the tokenizer off a whole book


class HuggingFaceEmbedder:
    """Embed with any encoder that transformers can load.

    For users who have a model or a graphics card. Safe to share among threads: calls run one after the other.

    Args:
        model: Hub id such as "BAAI/bge-small-en-v1.5", or a folder.
        pooling: "mean" over the tokens of a text, or its first token, "cls". The model's card says which.
        query_prefix: Put before questions, for models trained so.
        passage_prefix: Put before texts.
        device: As torch names it: "cpu", "cuda", "mps".
        max_tokens: Tokens of a text that count, >= 1; the model's own limit wins when it is smaller.

    Raises:
        BadInput: An argument cannot be used.
        MissingExtra: transformers or torch is not installed.
    """

    def __init__(
        self,
        model: str,
        pooling: Literal["mean", "cls"] = "mean",
        query_prefix: str = "",
        passage_prefix: str = "",
        device: str = "cpu",
        *,
        max_tokens: int = _MAX_TOKENS,
    ) -> None:
        if pooling not in ("mean", "cls"):
            raise BadInput(f"pooling must be 'mean' or 'cls', got {pooling!r}")
        if max_tokens < 1:
            raise BadInput(f"max_tokens must be >= 1, got {max_tokens!r}")
        self._source = _Source(model)
        self._pooling = pooling
        self._query_prefix = query_prefix
        self._passage_prefix = passage_prefix
        self._device = device
        self._max_tokens = max_tokens
        self._lock = Lock()
        self._loaded: tuple[Any, Any] | None = None

    @property
    def fingerprint(self) -> str:
        """Name of the weights, pooling, prefixes and limit.

        Raises:
            ModelError: The model cannot be found.
        """
        prefixes = f"{self._query_prefix!r},{self._passage_prefix!r}"
        return f"hf:{self._source.version()}:{self._pooling}:{self._max_tokens}:{prefixes}"

    @property
    def dimensions(self) -> int:
        """Width E of a row.

        Raises:
            ModelError: The model cannot be found or is no text encoder.
        """
        width = getattr(self._source.config(), "hidden_size", None)
        if not isinstance(width, int):
            raise ModelError(f"the model {self._source.model!r} states no hidden_size, so it is no text encoder")
        return width

    @property
    def is_instant(self) -> bool:
        """False: a background job embeds."""
        return False

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return unit rows of passages, float32 (N, E); a blank text gives a zero row.

        Raises:
            ModelError: The model cannot be loaded or failed.
        """
        return self._embed(as_texts(texts), self._passage_prefix)

    def embed_query(self, question: str) -> NDArray[np.float32]:
        """Return the unit row of a question, float32 (E,).

        Raises:
            ModelError: The model cannot be loaded or failed.
        """
        row: NDArray[np.float32] = self._embed(as_texts([question]), self._query_prefix)[0]
        return row

    def _embed(self, texts: list[str], prefix: str) -> Vectors:
        rows = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        order = by_length(texts)
        limit = self._max_tokens * _CHARACTERS_PER_TOKEN
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            with self._lock:
                raw = self._pooled([prefix + as_unicode(texts[i][:limit]) for i in batch])
            rows[batch] = checked_rows(
                raw, count=len(batch), dimensions=rows.shape[1], source=f"the model {self._source.model!r}"
            )
        return rows

    def _pooled(self, texts: list[str]) -> NDArray[np.float32]:
        tokenizer, network = self._loaded or self._load()
        torch = self._source.torch
        limit = min(self._max_tokens, int(tokenizer.model_max_length))
        try:
            inputs = tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
            with torch.inference_mode():
                hidden = network(**inputs.to(self._device)).last_hidden_state.float()  # (B, T, E)
        except (RuntimeError, ValueError, IndexError) as error:
            raise ModelError(f"the model {self._source.model!r} failed on device {self._device!r}: {error}") from error
        if self._pooling == "cls":
            pooled = hidden[:, 0]
        else:
            mask = inputs["attention_mask"].to(hidden.dtype)[:, :, None]  # (B, T, 1)
            pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        rows: NDArray[np.float32] = pooled.cpu().numpy()
        return rows

    def _load(self) -> tuple[Any, Any]:
        tokenizer = self._source.load("AutoTokenizer")
        if tokenizer.pad_token is None:  # a language model used as an encoder; the mask hides what stands there
            tokenizer.pad_token = tokenizer.eos_token
        self._loaded = (tokenizer, self._source.load("AutoModel", device=self._device))
        return self._loaded


class LocalGenerator:
    """Generate with any causal language model that transformers can load, always taking the likeliest token.

    For answers without a network. Safe to share among threads: calls run one after the other.

    Args:
        model: Hub id, or a folder.
        gguf_file: Name of a GGUF file in it; its weights are widened when they are loaded.
        device: As torch names it: "cpu", "cuda", "mps".

    Raises:
        MissingExtra: transformers or torch is not installed.
    """

    def __init__(self, model: str, gguf_file: str | None = None, device: str = "cpu") -> None:
        self._source = _Source(model, gguf_file=gguf_file)
        self._device = device
        self._lock = Lock()
        self._loaded: tuple[Any, Any] | None = None

    @property
    def name(self) -> str:
        """The hub id or folder."""
        return f"hf:{self._source.model}"

    def generate(self, messages: Sequence[Message], *, max_tokens: int = 512) -> str:
        """Return the continuation of a conversation.

        A model without a chat template is given the turns as lines "role: text".

        Raises:
            BadInput: There is no message, or `max_tokens` is below 1.
            ModelError: The model cannot be loaded or failed, or the conversation is longer than it can read.
        """
        if not messages:
            raise BadInput("generate needs at least one message")
        if max_tokens < 1:
            raise BadInput(f"max_tokens must be >= 1, got {max_tokens!r}")
        with self._lock:
            tokenizer, network = self._loaded or self._load()
            try:
                return self._continue(tokenizer, network, _as_prompt(tokenizer, messages), max_tokens)
            except (RuntimeError, ValueError, IndexError) as error:
                if isinstance(error, ModelError):
                    raise
                raise ModelError(
                    f"the model {self._source.model!r} failed on device {self._device!r}: {error}"
                ) from error

    def _continue(self, tokenizer: Any, network: Any, prompt: str, max_tokens: int) -> str:
        # A chat template writes the special tokens itself.
        inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=tokenizer.chat_template is None)
        given = int(inputs["input_ids"].shape[1])
        limit = getattr(network.config, "max_position_embeddings", None)
        if isinstance(limit, int) and given >= limit:
            raise ModelError(
                f"the conversation has {given} tokens and the model {self._source.model!r} reads at most {limit}",
                hint="give fewer or shorter messages",
            )
        room = max_tokens if not isinstance(limit, int) else min(max_tokens, limit - given)
        end = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        with self._source.torch.inference_mode():
            output = network.generate(
                input_ids=inputs["input_ids"].to(self._device),
                attention_mask=inputs["attention_mask"].to(self._device),
                do_sample=False,
                max_new_tokens=room,
                pad_token_id=end,
            )
        return str(tokenizer.decode(output[0, given:], skip_special_tokens=True))

    def _load(self) -> tuple[Any, Any]:
        check_hub(self._source.model)
        network = self._source.load("AutoModelForCausalLM", device=self._device)
        self._loaded = (self._source.load("AutoTokenizer"), network)
        return self._loaded


class _Source:
    """Where a model comes from, and the modules that read it."""

    def __init__(self, model: str, *, gguf_file: str | None = None) -> None:
        if not model.strip():
            raise BadInput(f"model must be a hub id or a folder, got {model!r}")
        self.model = model
        self.torch: ModuleType = require("torch", "run a Hugging Face model")
        self._transformers = require("transformers", "run a Hugging Face model")
        self._options = {} if gguf_file is None else {"gguf_file": gguf_file}
        self._config: Any = None

    def load(self, kind: str, *, device: str | None = None) -> Any:
        """Return what one of transformers' ``Auto…`` classes makes of the model; a network goes to its device."""
        try:
            loaded = getattr(self._transformers, kind).from_pretrained(self.model, **self._options)
            return loaded if device is None else loaded.to(device).eval()
        # torch without CUDA answers a device it does not know with an AssertionError.
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, AssertionError) as error:
            first_line = str(error).strip().partition("\n")[0]
            raise ModelError(
                f"the model {self.model!r} cannot be loaded by {kind}: {first_line}",
                hint="give a folder with config.json, or an id of the Hugging Face hub and a connection to it",
            ) from error

    def config(self) -> Any:
        if self._config is None:
            check_hub(self.model)
            self._config = self.load("AutoConfig")
        return self._config

    def version(self) -> str:
        """Return the hub id and its commit, or the folder's name and a digest of the files in it."""
        commit = getattr(self.config(), "_commit_hash", None)
        folder = Path(self.model)
        if commit is None and folder.is_dir():
            kinds = {".json", ".safetensors", ".bin", ".gguf", ".txt", ".model"}
            files = sorted(file for file in folder.iterdir() if file.suffix in kinds and file.is_file())
            return f"{folder.resolve().name}@{sampled_digest(*files)}"
        return f"{self.model}@{commit}"


def _as_prompt(tokenizer: Any, messages: Sequence[Message]) -> str:
    turns = [{"role": message.role, "content": as_unicode(message.content)} for message in messages]
    if tokenizer.chat_template is not None:
        return str(tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))
    return "\n".join([*(f"{turn['role']}: {turn['content']}" for turn in turns), "assistant:"])
