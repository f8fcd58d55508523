"""Embed and generate over HTTP, with endpoints that speak as OpenAI's or Anthropic's do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, ModelError
from ._endpoint import Endpoint, Patience, checked_key
from ._rows import as_texts, as_unicode, checked_rows
from .base import Message, Vectors

__all__ = ["AnthropicGenerator", "OpenAIEmbedder", "OpenAIGenerator", "Patience"]

_BATCH_TEXTS = 128
_BATCH_CHARACTERS = 200_000  # OpenAI takes 300,000 tokens a request; a character is at most a few tokens
_QUESTION_ATTEMPTS = 2  # the first may meet a connection that the endpoint has closed meanwhile
_QUESTION_S, _QUESTION_PAUSE_S = 10.0, 0.1  # somebody waits for the answer, and there are words to find it by
_ANTHROPIC_VERSION = "2023-06-01"  # the header every version of the Messages API asks for


class OpenAIEmbedder:
    """Embed with any endpoint that answers ``POST <base_url>/embeddings`` as OpenAI's does.

    Also llama.cpp, vLLM, Ollama, text-embeddings-inference. Safe to share among threads.

    Args:
        model: Name the endpoint knows.
        base_url: Such as "http://127.0.0.1:11434/v1".
        api_key: Sent as bearer token; None sends none.
        dimensions: Asked of the endpoint, for models that can shorten their vectors; None takes the model's own,
            which costs one request the first time `dimensions` is read before anything was embedded.
        patience: Timeouts and retries; default `Patience()`.

    Raises:
        BadInput: The model, URL or key cannot be used.
        MissingExtra: httpx is not installed.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        api_key: str | None,
        dimensions: int | None = None,
        *,
        patience: Patience | None = None,
    ) -> None:
        if dimensions is not None and dimensions < 1:
            raise BadInput(f"dimensions must be >= 1, got {dimensions!r}")
        self._model = _checked_model(model)
        self._endpoint = _openai_endpoint(base_url, api_key, patience)
        self._asked = dimensions
        self._found = dimensions
        given = self._endpoint.patience
        self._soon = replace(
            given,
            timeout_s=min(given.timeout_s, _QUESTION_S),
            attempts=min(given.attempts, _QUESTION_ATTEMPTS),
            first_delay_s=min(given.first_delay_s, _QUESTION_PAUSE_S),
            longest_delay_s=min(given.longest_delay_s, _QUESTION_PAUSE_S),
        )

    @property
    def fingerprint(self) -> str:
        """Name of the endpoint, the model and the width asked for; weights behind an endpoint cannot be told apart."""
        return f"openai:{self._model}@{self._endpoint.shown_url}:{self._asked or 'own'}"

    @property
    def dimensions(self) -> int:
        """Width E of a row.

        Raises:
            ModelError: It had to be asked for and the endpoint failed.
        """
        if self._found is None:
            self._found = int(self._request(["width"], self._soon).shape[1])
        return self._found

    @property
    def is_instant(self) -> bool:
        """False: a background job embeds."""
        return False

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return unit rows, float32 (N, E); a blank text gives a zero row and is not sent.

        Raises:
            ModelError: The endpoint failed, or returned rows of another count or width, NaN or infinity.
        """
        return self._rows(texts, self._endpoint.patience)

    def embed_query(self, question: str) -> NDArray[np.float32]:
        """Return the unit row of a question, float32 (E,); the endpoint is asked twice at most, for ten seconds each.

        Raises:
            ModelError: As for `embed`.
        """
        row: NDArray[np.float32] = self._rows([question], self._soon)[0]
        return row

    def interrupt(self) -> None:
        """Let every request that waits to be sent again be sent for the last time now."""
        self._endpoint.interrupt()

    def close(self) -> None:
        """Close open connections; a later request opens others."""
        self._endpoint.close()

    def _rows(self, texts: Sequence[str], patience: Patience) -> Vectors:
        checked = [as_unicode(text) for text in as_texts(texts)]
        made = {tuple(batch): self._request([checked[i] for i in batch], patience) for batch in _batches(checked)}
        rows = np.zeros((len(checked), self.dimensions), dtype=np.float32)
        for batch, found in made.items():
            rows[list(batch)] = found
        return rows

    def _request(self, texts: list[str], patience: Patience) -> Vectors:
        body: dict[str, object] = {"model": self._model, "input": texts, "encoding_format": "float"}
        if self._asked is not None:
            body["dimensions"] = self._asked
        source = f"POST {self._endpoint.shown_url}/embeddings"
        raw = _embeddings(self._endpoint.post("/embeddings", body, patience), source)
        if len(raw) != len(texts):
            raise ModelError(f"{source} returned {len(raw)} vectors for {len(texts)} texts")
        rows = checked_rows(raw, count=len(texts), dimensions=self._found, source=source)
        self._found = int(rows.shape[1])
        return rows


class OpenAIGenerator:
    """Generate with any endpoint that answers ``POST <base_url>/chat/completions`` as OpenAI's does.

    Safe to share among threads.

    Args:
        model: Name the endpoint knows.
        base_url: Such as "http://127.0.0.1:8080/v1".
        api_key: Sent as bearer token; None sends none.
        temperature: None leaves it to the endpoint, for some models refuse the field.
        limit_field: Field that carries the limit of tokens; OpenAI's reasoning models know only the longer name, most
            other servers only the shorter.
        patience: Timeouts and retries; default `Patience()`.

    Raises:
        BadInput: The model, URL or key cannot be used.
        MissingExtra: httpx is not installed.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        api_key: str | None,
        *,
        temperature: float | None = None,
        limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens",
        patience: Patience | None = None,
    ) -> None:
        self._model = _checked_model(model)
        self._endpoint = _openai_endpoint(base_url, api_key, patience)
        self._temperature = temperature
        self._limit_field = limit_field

    @property
    def name(self) -> str:
        """Model and endpoint."""
        return f"openai:{self._model}@{self._endpoint.shown_url}"

    def generate(self, messages: Sequence[Message], *, max_tokens: int = 512) -> str:
        """Return the continuation of a conversation.

        Raises:
            BadInput: There is no message.
            ModelError: The endpoint failed or returned no text.
        """
        body: dict[str, object] = {
            "model": self._model,
            "messages": [_as_field(message) for message in _checked_messages(messages)],
            self._limit_field: max_tokens,
        }
        if self._temperature is not None:
            body["temperature"] = self._temperature
        match self._endpoint.post("/chat/completions", body):
            case {"choices": [{"message": {"content": str(text)}}, *_]} if text:
                return text
            case {"choices": [{"finish_reason": str(reason)}, *_]}:
                ending = f" (it stopped for {reason!r})"
            case _:
                ending = ""
        raise ModelError(f"POST {self._endpoint.shown_url}/chat/completions returned no text{ending}")

    def close(self) -> None:
        """Close open connections; a later request opens others."""
        self._endpoint.close()


class AnthropicGenerator:
    """Generate with Anthropic's Messages API.

    Safe to share among threads. System messages are joined and sent as the system prompt.

    Args:
        model: Name the endpoint knows.
        api_key: Sent as ``x-api-key``.
        base_url: Without "/v1/messages"; default Anthropic's own.
        patience: Timeouts and retries; default `Patience()`.

    Raises:
        BadInput: The model, URL or key cannot be used.
        MissingExtra: httpx is not installed.
    """

    def __init__(
        self,
        model: str,
        api_key: str,
        base_url: str = "https://api.anthropic.com",
        *,
        patience: Patience | None = None,
    ) -> None:
        self._model = _checked_model(model)
        headers = {"x-api-key": checked_key(api_key), "anthropic-version": _ANTHROPIC_VERSION}
        self._endpoint = Endpoint(base_url, headers, api_key, patience or Patience())

    @property
    def name(self) -> str:
        """Model and endpoint."""
        return f"anthropic:{self._model}@{self._endpoint.shown_url}"

    def generate(self, messages: Sequence[Message], *, max_tokens: int = 512) -> str:
        """Return the continuation of a conversation.

        Raises:
            BadInput: There is no message besides system messages.
            ModelError: The endpoint failed or returned no text.
        """
        turns = [message for message in messages if message.role != "system"]
        body: dict[str, object] = {
            "model": self._model,
            "max_tokens": max_tokens,
            "messages": [_as_field(message) for message in _checked_messages(turns)],
        }
        system = "\n\n".join(as_unicode(message.content) for message in messages if message.role == "system")
        if system:
            body["system"] = system
        answer = self._endpoint.post("/v1/messages", body)
        ending = ""
        if isinstance(answer, dict):
            blocks = answer.get("content")
            text = "".join(_texts_of(blocks)) if isinstance(blocks, list) else ""
            if text:
                return text
            reason = answer.get("stop_reason")
            ending = f" (it stopped for {reason!r})" if isinstance(reason, str) else ""
        raise ModelError(f"POST {self._endpoint.shown_url}/v1/messages returned no text{ending}")

    def close(self) -> None:
        """Close open connections; a later request opens others."""
        self._endpoint.close()


def _openai_endpoint(base_url: str, api_key: str | None, patience: Patience | None) -> Endpoint:
    headers = {} if api_key is None else {"authorization": f"Bearer {checked_key(api_key)}"}
    return Endpoint(base_url, headers, api_key, patience or Patience())


def _checked_model(model: str) -> str:
    if not model.strip():
        raise BadInput(f"model must be a name, got {model!r}")
    return model


def _checked_messages(messages: Sequence[Message]) -> Sequence[Message]:
    if not messages:
        raise BadInput("generate needs at least one message of the user or the assistant")
    return messages


def _as_field(message: Message) -> dict[str, str]:
    return {"role": message.role, "content": as_unicode(message.content)}


def _texts_of(blocks: list[object]) -> Iterator[str]:
    for block in blocks:
        match block:
            case {"type": "text", "text": str(text)}:
                yield text


def _embeddings(answer: object, source: str) -> list[object]:
    """Return the vectors of an answer in the order of the texts."""
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        raise ModelError(f"{source} answered without a list 'data'")
    placed: list[tuple[int, object]] = []
    for position, item in enumerate(data):
        if not isinstance(item, dict) or "embedding" not in item:
            raise ModelError(f"{source} answered with an item that has no 'embedding'")
        index = item.get("index", position)
        if not isinstance(index, int):
            raise ModelError(f"{source} answered with the index {index!r} where a number was expected")
        placed.append((index, item["embedding"]))
    if sorted(index for index, _ in placed) != list(range(len(placed))):
        raise ModelError(f"{source} answered with indices that do not count from 0 to {len(placed) - 1}")
    placed.sort(key=lambda pair: pair[0])
    return [row for _, row in placed]


def _batches(texts: Sequence[str]) -> Iterator[list[int]]:
    """Yield positions of texts that are not blank, as many as one request may carry."""
    batch: list[int] = []
    characters = 0
    for position, text in enumerate(texts):
        if not text.strip():
            continue
        if batch and (len(batch) == _BATCH_TEXTS or characters + len(text) > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(position)
        characters += len(text)
    if batch:
        yield batch
