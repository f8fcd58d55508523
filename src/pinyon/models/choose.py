"""Turn the words of a configuration into an embedder or a generator."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import BadInput
from ..extras import require
from .base import Embedder, Generator
from .e5 import SmallE5
from .http import AnthropicGenerator, OpenAIEmbedder, OpenAIGenerator
from .minilm import MiniLM
from .static import StaticEmbedder
from .transformers import HuggingFaceEmbedder, LocalGenerator

__all__ = ["embedder_from", "generator_from"]

_EMBEDDERS = "static, minilm, minilm:<folder>, e5, hf:<id or folder>, openai:<model>@<base_url>"
_GENERATORS = "openai:<model>@<base_url>, anthropic:<model>, hf:<id or folder>, local:<model>"
_MODEL_AT_URL = re.compile(r"(?P<model>.+?)@(?P<url>https?://.+)", re.DOTALL)


def embedder_from(spec: str, *, api_key: str | None = None) -> Embedder:
    """Return the embedder that a word names, for settings and the command line.

    Args:
        spec: "static", "minilm", "minilm:<folder>", "e5", "hf:<id or folder>" or "openai:<model>@<base_url>".
        api_key: Key of the endpoint, where it wants one.

    Raises:
        BadInput: No such choice.
        MissingExtra: The choice needs a package that is not installed.
    """
    kind, _, rest = spec.partition(":")
    match kind, rest:
        case "static", "":
            return StaticEmbedder()
        case "minilm", "":
            return MiniLM()
        case "minilm", folder:
            return MiniLM(folder=Path(folder))
        case "e5", "":
            return SmallE5()
        case "hf", model if model:
            return HuggingFaceEmbedder(model)
        case "openai", address if found := _MODEL_AT_URL.fullmatch(address):
            return OpenAIEmbedder(found["model"], base_url=found["url"], api_key=api_key)
    raise BadInput(f"unknown embedder {spec!r}, expected one of: {_EMBEDDERS}")


def generator_from(spec: str, *, api_key: str | None) -> Generator:
    """Return the generator that a word names, for settings and the command line.

    Args:
        spec: "openai:<model>@<base_url>", "anthropic:<model>", "hf:<id or folder>", or "local:<model>" for a model that
            can attach the states of a memory: "local:smollm2", a hub id, a folder or a GGUF file.
        api_key: Key of the endpoint; None where none is wanted.

    Raises:
        BadInput: No such choice, or one that wants a key and got none.
        MissingExtra: The choice needs a package that is not installed.
    """
    kind, _, rest = spec.partition(":")
    match kind, rest:
        case "openai", address if found := _MODEL_AT_URL.fullmatch(address):
            return OpenAIGenerator(found["model"], base_url=found["url"], api_key=api_key)
        case "anthropic", model if model:
            if api_key is None:
                raise BadInput(f"the generator {spec!r} needs an API key and got none")
            return AnthropicGenerator(model, api_key=api_key)
        case "hf", model if model:
            return LocalGenerator(model)
        case "local", model if model:
            require("torch", "run a local model")
            from .backbone import Backbone  # a module of torch

            return Backbone.load(model)
    raise BadInput(f"unknown generator {spec!r}, expected one of: {_GENERATORS}")
