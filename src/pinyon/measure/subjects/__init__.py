"""The systems that are measured: pinyon's recipes, plain controls, rivals in environments of their own, any server."""

from .controls import BM25, Dense, FullContext, Hybrid, LastTokens, Random
from .pinyon_memory import PinyonMemory
from .rival import RIVALS, Rival
from .server import Server, read_description

__all__ = [
    "BM25",
    "RIVALS",
    "Dense",
    "FullContext",
    "Hybrid",
    "LastTokens",
    "PinyonMemory",
    "Random",
    "Rival",
    "Server",
    "read_description",
]
