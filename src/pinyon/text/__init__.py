"""Text memories: writing down, finding under a budget, laying out, answering."""

from .base import Composer, Context, Hit, Hits, Reason, Retriever, Shelf, Writer
from .cited_prompt import cited_prompt
from .extract import Extractive, Sentence
from .pack import Pack, passage
from .size_router import SizeRouter
from .split import sentences
from .verbatim import Verbatim

__all__ = [
    "Composer",
    "Context",
    "Extractive",
    "Hit",
    "Hits",
    "Pack",
    "Reason",
    "Retriever",
    "Sentence",
    "Shelf",
    "SizeRouter",
    "Verbatim",
    "Writer",
    "cited_prompt",
    "passage",
    "sentences",
]
