"""Where cubes rest: SQLite by default, plain memory for tests; blobs beside them."""

from typing import TYPE_CHECKING

from ..lazy import names_from

if TYPE_CHECKING:
    from ._cipher import Keys
    from .archive import (
        Archived,
        ArchiveLimits,
        Extras,
        Manifest,
        OpenArchive,
        Rescope,
        Seal,
        Sealed,
        Taken,
        blobs_of,
        check_archive,
        export_all,
        export_cubes,
        export_things,
        import_archive,
        is_archive,
        marks_in,
        may_add,
        read_archive,
        recipient_of,
        restore_archive,
    )
    from .base import Engine, Placed, SourceMark, Transaction, VectorRows
    from .blobs import Blobs, FileBlobs, MemoryBlobs
    from .encrypted import EncryptedEngine
    from .inmemory import MemoryEngine
    from .sqlite import SqliteEngine
    from .store import Change, Store
    from .vault import Room, Shredded, UserKey, Vault, decrypt_store, encrypt_store, new_key, read_key

__all__ = [
    "ArchiveLimits",
    "Archived",
    "Blobs",
    "Change",
    "EncryptedEngine",
    "Engine",
    "Extras",
    "FileBlobs",
    "Keys",
    "Manifest",
    "MemoryBlobs",
    "MemoryEngine",
    "OpenArchive",
    "Placed",
    "Rescope",
    "Room",
    "Seal",
    "Sealed",
    "Shredded",
    "SourceMark",
    "SqliteEngine",
    "Store",
    "Taken",
    "Transaction",
    "UserKey",
    "Vault",
    "VectorRows",
    "blobs_of",
    "check_archive",
    "decrypt_store",
    "encrypt_store",
    "export_all",
    "export_cubes",
    "export_things",
    "import_archive",
    "is_archive",
    "marks_in",
    "may_add",
    "new_key",
    "read_archive",
    "read_key",
    "recipient_of",
    "restore_archive",
]

if not TYPE_CHECKING:
    __getattr__ = names_from(
        __name__,
        {
            "_cipher": "Keys",
            "archive": (
                "Archived ArchiveLimits Extras Manifest OpenArchive Rescope Seal Sealed Taken blobs_of check_archive "
                "export_all export_cubes export_things import_archive is_archive marks_in may_add read_archive "
                "recipient_of restore_archive"
            ),
            "base": "Engine Placed SourceMark Transaction VectorRows",
            "blobs": "Blobs FileBlobs MemoryBlobs",
            "encrypted": "EncryptedEngine",
            "inmemory": "MemoryEngine",
            "sqlite": "SqliteEngine",
            "store": "Change Store",
            "vault": "Room Shredded UserKey Vault decrypt_store encrypt_store new_key read_key",
        },
    )
