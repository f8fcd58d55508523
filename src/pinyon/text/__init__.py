"""Text memories: writing down, finding under a budget, laying out, answering."""

from .base import Composer, Context, Hit, Hits, Reason, Retriever, Shelf, Writer
from .blocks import BlockExtract, Extract, Extracts, OnePassExtract
from .cited_prompt import cited_prompt
from .extract import Extractive, Sentence
from .hema import Hema, HemaConfig, HemaRecipe, VectorMemory
from .model_profile import Call, Curve, Metered, ModelProfile, measure_profile
from .pack import Pack, passage
from .read_twice import ReadTwice
from .size_router import Decision, Outlook, Routed, SizeRouter
from .split import sentences
from .summarize import CallableSummarizer, ExtractiveSummarizer, LLMSummarizer, Summarizer
from .verbatim import Verbatim

__all__ = [
    "BlockExtract",
    "Call",
    "CallableSummarizer",
    "Composer",
    "Context",
    "Curve",
    "Decision",
    "Extract",
    "Extractive",
    "ExtractiveSummarizer",
    "Extracts",
    "Hema",
    "HemaConfig",
    "HemaRecipe",
    "Hit",
    "Hits",
    "LLMSummarizer",
    "Metered",
    "ModelProfile",
    "OnePassExtract",
    "Outlook",
    "Pack",
    "ReadTwice",
    "Reason",
    "Retriever",
    "Routed",
    "Sentence",
    "Shelf",
    "SizeRouter",
    "Summarizer",
    "VectorMemory",
    "Verbatim",
    "Writer",
    "cited_prompt",
    "measure_profile",
    "passage",
    "sentences",
]
