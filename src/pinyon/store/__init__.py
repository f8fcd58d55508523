"""Where cubes rest: SQLite by default, plain memory for tests; blobs beside them."""

from .archive import (
    Archived,
    ArchiveLimits,
    Extras,
    Manifest,
    OpenArchive,
    Rescope,
    Taken,
    blobs_of,
    check_archive,
    export_all,
    export_cubes,
    import_archive,
    is_archive,
    may_add,
    read_archive,
    restore_archive,
)
from .base import Engine, Placed, SourceMark, Transaction, VectorRows
from .blobs import Blobs, FileBlobs, MemoryBlobs
from .inmemory import MemoryEngine
from .sqlite import SqliteEngine
from .store import Store

__all__ = [
    "ArchiveLimits",
    "Archived",
    "Blobs",
    "Engine",
    "Extras",
    "FileBlobs",
    "Manifest",
    "MemoryBlobs",
    "MemoryEngine",
    "OpenArchive",
    "Placed",
    "Rescope",
    "SourceMark",
    "SqliteEngine",
    "Store",
    "Taken",
    "Transaction",
    "VectorRows",
    "blobs_of",
    "check_archive",
    "export_all",
    "export_cubes",
    "import_archive",
    "is_archive",
    "may_add",
    "read_archive",
    "restore_archive",
]
