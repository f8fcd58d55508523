"""Embedders and generators by the words of a configuration."""

from __future__ import annotations

import pytest

from pinyon.errors import BadInput
from pinyon.models import (
    AnthropicGenerator,
    Generator,
    OpenAIEmbedder,
    OpenAIGenerator,
    StaticEmbedder,
    embedder_from,
    generator_from,
)


def test_static_is_the_offline_embedder() -> None:
    assert isinstance(embedder_from("static"), StaticEmbedder)


def test_an_endpoint_is_given_as_model_at_url() -> None:
    pytest.importorskip("httpx")
    embedder = embedder_from("openai:org/m@2024:v1@http://localhost:1/v1", api_key="key")
    assert isinstance(embedder, OpenAIEmbedder)
    assert embedder.fingerprint == "openai:org/m@2024:v1@http://localhost:1/v1:own"
    generator = generator_from("openai:m@https://host/v1", api_key=None)
    assert isinstance(generator, OpenAIGenerator)
    assert isinstance(generator, Generator)
    assert generator.name == "openai:m@https://host/v1"


def test_anthropic_needs_a_key() -> None:
    pytest.importorskip("httpx")
    generator = generator_from("anthropic:m", api_key="key")
    assert isinstance(generator, AnthropicGenerator)
    assert generator.name == "anthropic:m@https://api.anthropic.com"
    with pytest.raises(BadInput, match="needs an API key"):
        generator_from("anthropic:m", api_key=None)


@pytest.mark.parametrize("spec", ["", "Static", "static:x", "e5:x", "hf:", "openai:m", "openai:@http://h", "x:y"])
def test_an_unknown_embedder_is_answered_with_the_choices(spec: str) -> None:
    with pytest.raises(BadInput, match=r"expected one of: static, minilm, .* openai:<model>@<base_url>"):
        embedder_from(spec)


@pytest.mark.parametrize("spec", ["", "static", "hf:", "anthropic", "anthropic:", "openai:m@host"])
def test_an_unknown_generator_is_answered_with_the_choices(spec: str) -> None:
    with pytest.raises(BadInput, match="expected one of: openai:"):
        generator_from(spec, api_key="key")


def test_the_choices_of_generators_name_local_models() -> None:
    with pytest.raises(BadInput, match="local:<model>"):
        generator_from("foo", api_key=None)


def test_a_local_model_is_one_with_an_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from pinyon.models.backbone import Backbone

    loaded = object()
    monkeypatch.setattr(Backbone, "load", lambda name: loaded if name == "smollm2" else None)
    assert generator_from("local:smollm2", api_key=None) is loaded
