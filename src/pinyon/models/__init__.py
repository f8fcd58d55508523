"""What turns text into vectors, tokens and text.

The contract is in `base`; each other module holds one way to fulfil it. Importing this room loads numpy and nothing
else: a model, its runtime and its tokenizer are loaded at first use.
"""

from __future__ import annotations

from .base import Embedder, Generator, Message, TokenCounter, Vectors
from .callable import CallableEmbedder
from .choose import embedder_from, generator_from
from .e5 import SmallE5
from .http import AnthropicGenerator, OpenAIEmbedder, OpenAIGenerator
from .minilm import MiniLM
from .static import StaticEmbedder, StaticTokenCounter
from .transformers import HuggingFaceEmbedder, LocalGenerator

__all__ = [
    "AnthropicGenerator",
    "CallableEmbedder",
    "Embedder",
    "Generator",
    "HuggingFaceEmbedder",
    "LocalGenerator",
    "Message",
    "MiniLM",
    "OpenAIEmbedder",
    "OpenAIGenerator",
    "SmallE5",
    "StaticEmbedder",
    "StaticTokenCounter",
    "TokenCounter",
    "Vectors",
    "embedder_from",
    "generator_from",
]
