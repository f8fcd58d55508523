"""Finding: words, meaning and names, over the journal of a store."""

from .analyze import Analyzer
from .base import Found, Leg
from .dense import Dense
from .fuse import FuseConfig, Scale, best_of, fuse
from .graph import GraphConfig
from .lexical import Lexical, LexicalConfig
from .region import Region, Regions
from .rerank import Aspects, RerankConfig
from .search import IndexConfig, Ranking, SearchIndex, index_text
from .table import Table

__all__ = [
    "Analyzer",
    "Aspects",
    "Dense",
    "Found",
    "FuseConfig",
    "GraphConfig",
    "IndexConfig",
    "Leg",
    "Lexical",
    "LexicalConfig",
    "Ranking",
    "Region",
    "Regions",
    "RerankConfig",
    "Scale",
    "SearchIndex",
    "Table",
    "best_of",
    "fuse",
    "index_text",
]
