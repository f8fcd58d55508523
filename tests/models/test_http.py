"""Endpoints that speak as OpenAI's or Anthropic's do, and the ways they fail."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("httpx")

from pinyon.errors import BadInput, ModelError
from pinyon.models import AnthropicGenerator, Message, OpenAIEmbedder, OpenAIGenerator
from pinyon.models.http import Patience

KEY = "sk-very-secret-0123456789"
HELLO = [Message("user", "hello")]


@pytest.fixture
def Answer(answer_type: Any) -> Any:
    return answer_type


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def patience(pauses: list[float]) -> Patience:
    return Patience(timeout_s=5.0, sleep=pauses.append)


@pytest.fixture
def embedder(endpoint: Any, patience: Patience) -> Callable[..., OpenAIEmbedder]:
    return lambda dimensions=2: OpenAIEmbedder("m", endpoint.url + "/v1/", KEY, dimensions, patience=patience)


@pytest.fixture
def generator(endpoint: Any, patience: Patience) -> OpenAIGenerator:
    return OpenAIGenerator("m", endpoint.url + "/v1", KEY, patience=patience)


@pytest.fixture
def claude(endpoint: Any, patience: Patience) -> AnthropicGenerator:
    return AnthropicGenerator("m", KEY, endpoint.url, patience=patience)


def rows(*vectors: object) -> dict[str, object]:
    return {"data": [{"index": i, "embedding": vector} for i, vector in enumerate(vectors)]}


def said(text: object) -> dict[str, object]:
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}


# Embeddings


def test_vectors_come_back_with_length_one(endpoint: Any, embedder: Any, Answer: Any) -> None:
    endpoint.answer(Answer(body=rows([3, 4], [0, 2])))
    assert embedder().embed(["a", "b"]).tolist() == [[np.float32(0.6), np.float32(0.8)], [0, 1]]


def test_the_request_names_model_texts_width_and_key(endpoint: Any, embedder: Any, Answer: Any) -> None:
    endpoint.answer(Answer(body=rows([1, 0])))
    embedder().embed_query("what?")
    (asked,) = endpoint.asked
    assert asked.path == "/v1/embeddings"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body == {"model": "m", "input": ["what?"], "encoding_format": "float", "dimensions": 2}


def test_without_a_key_no_authorization_is_sent(endpoint: Any, patience: Patience, Answer: Any) -> None:
    endpoint.answer(Answer(body=rows([1, 0])))
    OpenAIEmbedder("m", endpoint.url, None, 2, patience=patience).embed(["a"])
    assert "authorization" not in endpoint.asked[0].headers


def test_rows_are_placed_by_their_index(endpoint: Any, embedder: Any, Answer: Any) -> None:
    data = [{"index": 1, "embedding": [0, 1]}, {"index": 0, "embedding": [1, 0]}]
    endpoint.answer(Answer(body={"data": data}))
    assert embedder().embed(["a", "b"]).tolist() == [[1, 0], [0, 1]]


def test_blank_texts_are_not_sent_and_give_zero_rows(endpoint: Any, embedder: Any, Answer: Any) -> None:
    endpoint.answer(Answer(body=rows([1, 0])))
    assert embedder().embed(["", "a", " \n"]).tolist() == [[0, 0], [1, 0], [0, 0]]
    assert endpoint.asked[0].body["input"] == ["a"]


def test_no_texts_ask_nothing(endpoint: Any, embedder: Any) -> None:
    assert embedder().embed([]).shape == (0, 2)
    assert endpoint.asked == []


def test_many_texts_go_in_several_requests(endpoint: Any, embedder: Any, Answer: Any) -> None:
    endpoint.answer(Answer(body=rows(*[[1, 0]] * 128)), Answer(body=rows(*[[0, 1]] * 2)))
    out = embedder().embed([f"text {i}" for i in range(130)])
    assert [len(asked.body["input"]) for asked in endpoint.asked] == [128, 2]
    assert out[127].tolist() == [1, 0]
    assert out[128].tolist() == [0, 1]


def test_long_texts_share_no_request(endpoint: Any, embedder: Any, Answer: Any) -> None:
    endpoint.answer(Answer(body=rows([1, 0])))
    embedder().embed(["x" * 150_000, "y" * 150_000])
    assert [len(asked.body["input"]) for asked in endpoint.asked] == [1, 1]


def test_the_width_is_asked_for_once_when_it_was_not_given(endpoint: Any, embedder: Any, Answer: Any) -> None:
    endpoint.answer(Answer(body=rows([1, 0, 0])))
    unknown = embedder(None)
    assert (unknown.dimensions, unknown.dimensions) == (3, 3)
    assert len(endpoint.asked) == 1
    assert "dimensions" not in endpoint.asked[0].body


def test_the_fingerprint_names_model_endpoint_and_width_but_no_password(patience: Patience) -> None:
    hidden = OpenAIEmbedder("m", "https://anna:secret@host:8443/v1", None, 7, patience=patience)
    assert hidden.fingerprint == "openai:m@https://host:8443/v1:7"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (rows([1, 0]), "returned 1 vectors for 2 texts"),
        (rows([1, 0], [1, 0], [1, 0]), "returned 3 vectors for 2 texts"),
        (rows([1, 0, 0], [1, 0, 0]), r"returned shape \(2, 3\)"),
        (rows([1, 0], [1]), "no table of numbers"),
        (rows([1, 0], [1, None]), "where numbers were expected"),
        (rows([1, 0], ["1", "0"]), "where numbers were expected"),
        (rows([1, 0], [1, float("nan")]), "NaN or infinity"),
        (rows([1, 0], [1, float("inf")]), "NaN or infinity"),
        (rows([1, 0], [1, 1e300]), "NaN or infinity"),
        ({"data": [{"index": 0, "embedding": [1, 0]}] * 2}, "indices that do not count"),
        ({"data": [{"index": "0", "embedding": [1, 0]}] * 2}, "the index '0'"),
        ({"data": [{}, {}]}, "has no 'embedding'"),
        ({"data": "none"}, "without a list 'data'"),
        ([], "without a list 'data'"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(
    endpoint: Any, embedder: Any, Answer: Any, body: object, message: str
) -> None:
    endpoint.answer(Answer(body=body))
    with pytest.raises(ModelError, match=message):
        embedder().embed(["a", "b"])


# Failures of the endpoint


def test_after_429_the_endpoint_is_asked_again(endpoint: Any, embedder: Any, pauses: list[float], Answer: Any) -> None:
    endpoint.answer(Answer(429), Answer(body=rows([1, 0])))
    assert embedder().embed(["a"]).tolist() == [[1, 0]]
    assert pauses == [0.5]


def test_pauses_double(endpoint: Any, embedder: Any, pauses: list[float], Answer: Any) -> None:
    endpoint.answer(Answer(500), Answer(502), Answer(503), Answer(body=rows([1, 0])))
    embedder().embed(["a"])
    assert pauses == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "86400"}, 60.0),
        ({"retry-after": "soon"}, 0.5),
        ({"retry-after": "-3"}, 0.5),
    ],
)
def test_the_pause_an_endpoint_asks_for_is_kept_within_bounds(
    endpoint: Any, embedder: Any, pauses: list[float], Answer: Any, headers: dict[str, str], pause: float
) -> None:
    endpoint.answer(Answer(429, headers=headers), Answer(body=rows([1, 0])))
    embedder().embed(["a"])
    assert pauses == [pause]


def test_a_date_to_wait_for_is_compared_with_the_date_of_the_answer(
    endpoint: Any, embedder: Any, pauses: list[float], Answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from http.server import BaseHTTPRequestHandler

    monkeypatch.setattr(BaseHTTPRequestHandler, "date_time_string", lambda *_: "Mon, 01 Jan 2024 00:00:00 GMT")
    later = {"retry-after": "Mon, 01 Jan 2024 00:00:09 GMT"}
    endpoint.answer(Answer(503, headers=later), Answer(body=rows([1, 0])))
    embedder().embed(["a"])
    assert pauses == [9.0]


def test_an_endpoint_that_keeps_failing_is_given_up(
    endpoint: Any, embedder: Any, pauses: list[float], Answer: Any
) -> None:
    endpoint.answer(Answer(500, body={"error": {"message": "out of\nmemory"}}))
    with pytest.raises(ModelError) as caught:
        embedder().embed(["a"])
    assert caught.value.message == f"POST {endpoint.url}/v1/embeddings answered 500 after 4 attempts: out of memory"
    assert len(endpoint.asked) == 4
    assert len(pauses) == 3


def test_a_request_that_is_wrong_is_not_repeated(endpoint: Any, embedder: Any, Answer: Any) -> None:
    endpoint.answer(Answer(404, body={"error": "no model 'm'"}))
    with pytest.raises(ModelError, match=r"answered 404: no model 'm'"):
        embedder().embed(["a"])
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 403])
def test_no_message_shows_the_key(endpoint: Any, embedder: Any, Answer: Any, status: int) -> None:
    endpoint.answer(Answer(status, body={"error": {"message": f"wrong key {KEY}"}}))
    with pytest.raises(ModelError, match=f"answered {status}") as caught:
        embedder().embed(["a"])
    assert KEY not in str(caught.value)


def test_a_redirect_is_not_followed(endpoint: Any, embedder: Any, Answer: Any) -> None:
    endpoint.answer(Answer(307, headers={"location": endpoint.url + "/elsewhere"}))
    with pytest.raises(ModelError, match="answered 307"):
        embedder().embed(["a"])
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize("raw", [b"", b"<html>", b'{"data": [', b"\xff\xfe\x00", b"[" * 100_000])
def test_an_answer_that_is_no_json_is_refused(endpoint: Any, embedder: Any, Answer: Any, raw: bytes) -> None:
    endpoint.answer(Answer(raw=raw))
    with pytest.raises(ModelError, match="no JSON"):
        embedder().embed(["a"])


def test_a_closed_connection_is_tried_again(endpoint: Any, embedder: Any, pauses: list[float], Answer: Any) -> None:
    endpoint.answer(Answer(instead="close"), Answer(body=rows([1, 0])))
    assert embedder().embed(["a"]).tolist() == [[1, 0]]
    assert pauses == [0.5]


def test_connections_that_keep_closing_are_given_up(endpoint: Any, embedder: Any, Answer: Any) -> None:
    endpoint.answer(Answer(instead="close"))
    with pytest.raises(ModelError, match="got no answer after 4 attempts"):
        embedder().embed(["a"])


def test_an_endpoint_that_is_too_slow_is_given_up(endpoint: Any, Answer: Any) -> None:
    endpoint.answer(Answer(instead="hang"))
    hasty = OpenAIEmbedder("m", endpoint.url, KEY, 2, patience=Patience(timeout_s=0.1, attempts=1))
    with pytest.raises(ModelError, match=r"got no answer \(ReadTimeout\)"):
        hasty.embed(["a"])


def test_nobody_listening_is_said_so(patience: Patience) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ModelError, match="got no answer") as caught:
        OpenAIEmbedder("m", f"http://127.0.0.1:{port}", None, 2, patience=patience).embed(["a"])
    assert "running" in caught.value.hint


def test_a_closed_embedder_opens_again(endpoint: Any, embedder: Any, Answer: Any) -> None:
    endpoint.answer(Answer(body=rows([1, 0])))
    reused = embedder()
    reused.embed(["a"])
    reused.close()
    assert reused.embed(["a"]).tolist() == [[1, 0]]


# Arguments


@pytest.mark.parametrize("url", ["", "host/v1", "ftp://host", "http://", "https://host/v1?key=1", "http://host:port"])
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="base_url"):
        OpenAIEmbedder("m", url, None)


@pytest.mark.parametrize("key", ["", "secret\n", "two words", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(BadInput) as caught:
        AnthropicGenerator("m", key)
    assert not key or key not in str(caught.value)


def test_other_arguments_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(BadInput, match="model"):
        OpenAIGenerator(" ", "http://host", None)
    with pytest.raises(BadInput, match="dimensions"):
        OpenAIEmbedder("m", "http://host", None, 0)
    with pytest.raises(BadInput, match="attempts"):
        Patience(attempts=0)
    with pytest.raises(BadInput, match="timeout_s"):
        Patience(timeout_s=0)


# Generation


def test_a_chat_answer_is_returned(endpoint: Any, generator: Any, Answer: Any) -> None:
    endpoint.answer(Answer(body=said("hi")))
    assert generator.generate([Message("system", "be short"), *HELLO], max_tokens=9) == "hi"
    (asked,) = endpoint.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.body == {
        "model": "m",
        "messages": [{"role": "system", "content": "be short"}, {"role": "user", "content": "hello"}],
        "max_tokens": 9,
    }


def test_temperature_and_the_name_of_the_limit_can_be_set(endpoint: Any, patience: Patience, Answer: Any) -> None:
    endpoint.answer(Answer(body=said("hi")))
    OpenAIGenerator(
        "m", endpoint.url, None, temperature=0.0, limit_field="max_completion_tokens", patience=patience
    ).generate(HELLO)
    assert endpoint.asked[0].body["temperature"] == 0.0
    assert endpoint.asked[0].body["max_completion_tokens"] == 512


@pytest.mark.parametrize(
    "body", [{}, [], {"choices": []}, {"choices": [{}]}, {"choices": "x"}, said(None), said(""), said(3)]
)
def test_a_chat_answer_without_text_is_refused(endpoint: Any, generator: Any, Answer: Any, body: object) -> None:
    endpoint.answer(Answer(body=body))
    with pytest.raises(ModelError, match="returned no text"):
        generator.generate(HELLO)


def test_an_anthropic_answer_is_returned(endpoint: Any, claude: Any, Answer: Any) -> None:
    blocks = [{"type": "thinking", "thinking": "…"}, {"type": "text", "text": "hi"}, {"type": "text", "text": "!"}]
    endpoint.answer(Answer(body={"content": blocks}))
    assert claude.generate([Message("system", "be short"), *HELLO], max_tokens=9) == "hi!"
    (asked,) = endpoint.asked
    assert asked.path == "/v1/messages"
    assert asked.headers["x-api-key"] == KEY
    assert asked.headers["anthropic-version"] == "2023-06-01"
    assert asked.body == {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hello"}],
        "system": "be short",
    }


def test_an_overloaded_anthropic_endpoint_is_asked_again(
    endpoint: Any, claude: Any, pauses: list[float], Answer: Any
) -> None:
    endpoint.answer(
        Answer(529, headers={"retry-after": "2"}), Answer(body={"content": [{"type": "text", "text": "a"}]})
    )
    assert claude.generate(HELLO) == "a"
    assert pauses == [2.0]


@pytest.mark.parametrize(
    "body", [{}, [], {"content": None}, {"content": []}, {"content": [{"type": "text"}]}, {"content": ["text"]}]
)
def test_an_anthropic_answer_without_text_is_refused(endpoint: Any, claude: Any, Answer: Any, body: object) -> None:
    endpoint.answer(Answer(body=body))
    with pytest.raises(ModelError, match="returned no text"):
        claude.generate(HELLO)


def test_the_reason_an_endpoint_stopped_is_told(endpoint: Any, claude: Any, Answer: Any) -> None:
    endpoint.answer(Answer(body={"content": [], "stop_reason": "refusal"}))
    with pytest.raises(ModelError, match="stopped for 'refusal'"):
        claude.generate(HELLO)


def test_a_conversation_without_a_turn_is_refused(generator: Any, claude: Any) -> None:
    with pytest.raises(BadInput, match="at least one message"):
        generator.generate([])
    with pytest.raises(BadInput, match="at least one message"):
        claude.generate([Message("system", "be short")])


def test_half_a_character_can_be_sent(endpoint: Any, generator: Any, Answer: Any) -> None:
    endpoint.answer(Answer(body=said("hi")))
    generator.generate([Message("user", "cut \ud83d")])
    assert endpoint.asked[0].body["messages"][0]["content"] == "cut ?"


def test_names_tell_model_and_endpoint(endpoint: Any, generator: Any, claude: Any) -> None:
    assert generator.name == f"openai:m@{endpoint.url}/v1"
    assert claude.name == f"anthropic:m@{endpoint.url}"


# Patience


def test_the_width_is_read_off_the_first_vectors(endpoint: Any, Answer: Any) -> None:
    endpoint.answer(Answer(body=rows([3.0, 4.0, 0.0])))
    embedder = OpenAIEmbedder("m", endpoint.url, None)
    assert embedder.embed(["a"]).shape == (1, 3)
    assert embedder.dimensions == 3
    assert len(endpoint.asked) == 1


def test_a_question_is_asked_twice_at_most(endpoint: Any, Answer: Any, pauses: list[float], patience: Patience) -> None:
    endpoint.answer(Answer(status=503))
    embedder = OpenAIEmbedder("m", endpoint.url, None, 2, patience=patience)
    with pytest.raises(ModelError, match="after 2 attempts"):
        embedder.embed_query("bees")
    assert (len(endpoint.asked), pauses) == (2, [0.1])
    with pytest.raises(ModelError, match="after 4 attempts"):
        embedder.embed(["bees"])


def test_an_interruption_ends_the_pauses(endpoint: Any, Answer: Any) -> None:
    endpoint.answer(Answer(status=503, headers={"retry-after": "50"}))
    embedder = OpenAIEmbedder("m", endpoint.url, None, 2)
    said: list[str] = []

    def embed() -> None:
        try:
            embedder.embed(["bees"])
        except ModelError as error:
            said.append(error.message)

    thread = threading.Thread(target=embed)
    thread.start()
    while thread.is_alive():  # whenever it comes, before a pause or in it
        embedder.interrupt()
        thread.join(0.01)
    assert len(said) == 1
    assert len(endpoint.asked) <= 2
    endpoint.answer(Answer(body=rows([3.0, 4.0])))
    assert embedder.embed(["bees"]).shape == (1, 2)
