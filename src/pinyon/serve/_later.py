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
    from ..core.experience import Conversation, Turn
    from ..core.where import Condition, Where, where_from
    from ..importing import Importer, export, import_files, import_stream, watch_files
    from ..memory import Memory
    from ..models.choose import embedder_from, generator_from
    from ..settings import Settings, load_settings, wants_color
    from . import demo, render
    from .doctor import examine, given_up

__all__ = [
    "Condition",
    "Conversation",
    "Importer",
    "Memory",
    "Policy",
    "Settings",
    "Turn",
    "Where",
    "demo",
    "embedder_from",
    "examine",
    "export",
    "generator_from",
    "given_up",
    "import_files",
    "import_stream",
    "instant",
    "load_settings",
    "policy_to_json",
    "render",
    "wants_color",
    "watch_files",
    "where_from",
]

_HOMES = {
    "Condition": "..core.where",
    "Conversation": "..core.experience",
    "Importer": "..importing",
    "Memory": "..memory",
    "Policy": "..core.access",
    "Settings": "..settings",
    "Turn": "..core.experience",
    "Where": "..core.where",
    "embedder_from": "..models.choose",
    "examine": ".doctor",
    "export": "..importing",
    "generator_from": "..models.choose",
    "given_up": ".doctor",
    "import_files": "..importing",
    "import_stream": "..importing",
    "instant": "..core.clock",
    "load_settings": "..settings",
    "policy_to_json": "..core.access",
    "wants_color": "..settings",
    "watch_files": "..importing",
    "where_from": "..core.where",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a name when it is first used."""
        if name in ("demo", "render"):
            return import_module(f".{name}", __package__)
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name], __package__), name)
