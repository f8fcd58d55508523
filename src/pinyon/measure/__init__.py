"""How well it works: questions with known evidence, put to a memory, and what it finds."""

from .base import Corpus, Item, Metric, Question, Report, Room, compare
from .chunks import ChunkSize, chunk_sizes, chunk_table
from .comparison import Difference, compared, differences, pairs_of
from .crossvalidate import CrossValidation, Fold, cross_validate
from .desk import Measured, measured, write_report
from .html import page
from .leaderboard import leaderboard_html, leaderboard_markdown, pack_results
from .locomo import locomo, locomo_merged, read_locomo, run_locomo, run_locomo_merged
from .locomo_recall import LoCoMo
from .needle_grid import NeedleGrid, NeedleRow, cut_by, measure_needles
from .needles import Haystack, Needle, Needles, haystack
from .passages import hotpot, passages, squad, squad_articles
from .registry import MEASURES, NO_CHOICE, NOWHERE, SUBJECTS, Choices, Known, Places, measure_called, subject_called
from .report import summary
from .retrieval import CONTROLS, KS, run_corpus
from .runner import read_reports, run
from .session import ItemLog, Logged, Measure, MeasureBudget
from .stats import Interval, bootstrap, difference, median, wilson
from .subject import Context, Held, Passage, Ranked, Subject
from .subjects import BM25, Dense, FullContext, Hybrid, LastTokens, PinyonMemory, Random, Rival, Server
from .variants import VARIANTS, Trial, Variant, try_variants, variants_table

__all__ = [
    "BM25",
    "CONTROLS",
    "KS",
    "MEASURES",
    "NOWHERE",
    "NO_CHOICE",
    "SUBJECTS",
    "VARIANTS",
    "Choices",
    "ChunkSize",
    "Context",
    "Corpus",
    "CrossValidation",
    "Dense",
    "Difference",
    "Fold",
    "FullContext",
    "Haystack",
    "Held",
    "Hybrid",
    "Interval",
    "Item",
    "ItemLog",
    "Known",
    "LastTokens",
    "LoCoMo",
    "Logged",
    "Measure",
    "MeasureBudget",
    "Measured",
    "Metric",
    "Needle",
    "NeedleGrid",
    "NeedleRow",
    "Needles",
    "Passage",
    "PinyonMemory",
    "Places",
    "Question",
    "Random",
    "Ranked",
    "Report",
    "Rival",
    "Room",
    "Server",
    "Subject",
    "Trial",
    "Variant",
    "bootstrap",
    "chunk_sizes",
    "chunk_table",
    "compare",
    "compared",
    "cross_validate",
    "cut_by",
    "difference",
    "differences",
    "haystack",
    "hotpot",
    "leaderboard_html",
    "leaderboard_markdown",
    "locomo",
    "locomo_merged",
    "measure_called",
    "measure_needles",
    "measured",
    "median",
    "pack_results",
    "page",
    "pairs_of",
    "passages",
    "read_locomo",
    "read_reports",
    "run",
    "run_corpus",
    "run_locomo",
    "run_locomo_merged",
    "squad",
    "squad_articles",
    "subject_called",
    "summary",
    "try_variants",
    "variants_table",
    "wilson",
    "write_report",
]
