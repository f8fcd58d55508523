"""How well it works: questions with known evidence, put to a memory, and what it finds."""

from .base import Corpus, Item, Metric, Question, Report, Room, compare
from .chunks import ChunkSize, chunk_sizes, chunk_table
from .crossvalidate import CrossValidation, Fold, cross_validate
from .locomo import locomo, locomo_merged, read_locomo, run_locomo, run_locomo_merged
from .passages import hotpot, passages, squad, squad_articles
from .retrieval import CONTROLS, KS, run_corpus
from .stats import Interval, bootstrap, difference, median, wilson
from .variants import VARIANTS, Trial, Variant, try_variants, variants_table

__all__ = [
    "CONTROLS",
    "KS",
    "VARIANTS",
    "ChunkSize",
    "Corpus",
    "CrossValidation",
    "Fold",
    "Interval",
    "Item",
    "Metric",
    "Question",
    "Report",
    "Room",
    "Trial",
    "Variant",
    "bootstrap",
    "chunk_sizes",
    "chunk_table",
    "compare",
    "cross_validate",
    "difference",
    "hotpot",
    "locomo",
    "locomo_merged",
    "median",
    "passages",
    "read_locomo",
    "run_corpus",
    "run_locomo",
    "run_locomo_merged",
    "squad",
    "squad_articles",
    "try_variants",
    "variants_table",
    "wilson",
]
