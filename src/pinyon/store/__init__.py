"""Where cubes rest: SQLite by default, plain memory for tests; blobs beside them."""

from .archive import Archived, blobs_of, check_archive, is_archive, read_archive, write_archive
from .base import Engine, Placed, SourceMark, Transaction, VectorRows
from .blobs import Blobs, FileBlobs, MemoryBlobs
from .inmemory import MemoryEngine
from .sqlite import SqliteEngine
from .store import Store

__all__ = [
    "Archived",
    "Blobs",
    "Engine",
    "FileBlobs",
    "MemoryBlobs",
    "MemoryEngine",
    "Placed",
    "SourceMark",
    "SqliteEngine",
    "Store",
    "Transaction",
    "VectorRows",
    "blobs_of",
    "check_archive",
    "is_archive",
    "read_archive",
    "write_archive",
]
