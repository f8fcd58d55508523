"""Text memories: writing down, finding under a budget, laying out, answering."""

from typing import TYPE_CHECKING

from ..lazy import names_from
from .cited_prompt import cited_prompt

if TYPE_CHECKING:
    from .base import Composer, Context, Hit, Hits, Reason, Retriever, Shelf, Writer
    from .blocks import BlockExtract, Extract, Extracts, OnePassExtract
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

if not TYPE_CHECKING:
    __getattr__ = names_from(
        __name__,
        {
            "base": "Composer Context Hit Hits Reason Retriever Shelf Writer",
            "blocks": "BlockExtract Extract Extracts OnePassExtract",
            "extract": "Extractive Sentence",
            "hema": "Hema HemaConfig HemaRecipe VectorMemory",
            "model_profile": "Call Curve Metered ModelProfile measure_profile",
            "pack": "Pack passage",
            "read_twice": "ReadTwice",
            "size_router": "Decision Outlook Routed SizeRouter",
            "split": "sentences",
            "summarize": "CallableSummarizer ExtractiveSummarizer LLMSummarizer Summarizer",
            "verbatim": "Verbatim",
        },
    )
