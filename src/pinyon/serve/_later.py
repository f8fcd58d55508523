"""The one place where imports are put off until they are needed.

The memory needs numpy and the rest of the package, most of a second; ``pinyon --help``, shell completion and a mistyped
option need none of it. Modules of the command line that run before a memory is opened say ``from . import _later`` and
``_later.name``; type checkers see plain imports.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..core.access import Policy, policy_to_json
    from ..core.clock import instant
    from ..core.cube import cube_to_json
    from ..core.experience import Conversation, Turn
    from ..core.scope import Scope
    from ..core.where import Condition, Where, where_from
    from ..govern.audit import audit_csv, audit_json_lines
    from ..govern.receipts import receipt_from_json, receipt_to_json
    from ..govern.redact import RedactionRule
    from ..govern.retention import Rule, rules_to_json
    from ..govern.revisions import revision_to_json
    from ..importing import (
        Importer,
        export,
        export_everything,
        import_files,
        import_stream,
        migrate_between,
        restore,
        watch_files,
    )
    from ..memory import Memory
    from ..results import Imported, SourceResult
    from ..settings import Settings, load_settings, wants_color
    from ..store import Rescope, Seal
    from ..store.vault import Vault, decrypt_store, encrypt_store, new_key, read_key
    from ..text import ReadTwice
    from ..verifying import verified_to_json
    from . import demo, documents, render
    from .doctor import examine, given_up

__all__ = [
    "Condition",
    "Conversation",
    "Imported",
    "Importer",
    "Memory",
    "Policy",
    "ReadTwice",
    "RedactionRule",
    "Rescope",
    "Rule",
    "Scope",
    "Seal",
    "Settings",
    "SourceResult",
    "Turn",
    "Vault",
    "Where",
    "audit_csv",
    "audit_json_lines",
    "cube_to_json",
    "decrypt_store",
    "demo",
    "documents",
    "encrypt_store",
    "examine",
    "export",
    "export_everything",
    "given_up",
    "import_files",
    "import_stream",
    "instant",
    "load_settings",
    "migrate_between",
    "new_key",
    "policy_to_json",
    "read_key",
    "receipt_from_json",
    "receipt_to_json",
    "render",
    "restore",
    "revision_to_json",
    "rules_to_json",
    "verified_to_json",
    "wants_color",
    "watch_files",
    "where_from",
]

_HOMES = {
    "migrate_between": "..importing",
    "ReadTwice": "..text",
    "RedactionRule": "..govern.redact",
    "Rescope": "..store",
    "Seal": "..store",
    "receipt_from_json": "..govern.receipts",
    "verified_to_json": "..verifying",
    "read_key": "..store.vault",
    "new_key": "..store.vault",
    "encrypt_store": "..store.vault",
    "decrypt_store": "..store.vault",
    "Vault": "..store.vault",
    "Condition": "..core.where",
    "Conversation": "..core.experience",
    "Imported": "..results",
    "Importer": "..importing",
    "Memory": "..memory",
    "Policy": "..core.access",
    "Rule": "..govern.retention",
    "Scope": "..core.scope",
    "Settings": "..settings",
    "SourceResult": "..results",
    "Turn": "..core.experience",
    "Where": "..core.where",
    "audit_csv": "..govern.audit",
    "audit_json_lines": "..govern.audit",
    "cube_to_json": "..core.cube",
    "examine": ".doctor",
    "export": "..importing",
    "export_everything": "..importing",
    "given_up": ".doctor",
    "import_files": "..importing",
    "import_stream": "..importing",
    "instant": "..core.clock",
    "load_settings": "..settings",
    "policy_to_json": "..core.access",
    "receipt_to_json": "..govern.receipts",
    "restore": "..importing",
    "revision_to_json": "..govern.revisions",
    "rules_to_json": "..govern.retention",
    "wants_color": "..settings",
    "watch_files": "..importing",
    "where_from": "..core.where",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a name when it is first used."""
        if name in ("demo", "documents", "render"):
            return import_module(f".{name}", __package__)
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name], __package__), name)
