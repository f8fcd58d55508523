"""pinyon: memory for language models.

>>> from pinyon import Memory
>>> memory = Memory.open(":memory:")
>>> added = memory.add("The spare key hangs behind the blue door.", user="ann")
>>> memory.ask("Where is the spare key?", user="ann").text
'The spare key hangs behind the blue door. [1]'
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .core.cube import Cube
    from .core.experience import Conversation, Document, Note, Turn
    from .core.header import Rights
    from .core.payload import Kind
    from .core.scope import Scope
    from .core.where import Condition, Where
    from .errors import PinyonError
    from .memory import Memory
    from .results import Added, Answer, Forgotten, Page, Recall
    from .text.base import Hit, Hits

__version__ = "0.3.0"

__all__ = [
    "Added",
    "Answer",
    "Condition",
    "Conversation",
    "Cube",
    "Document",
    "Forgotten",
    "Hit",
    "Hits",
    "Kind",
    "Memory",
    "Note",
    "Page",
    "PinyonError",
    "Recall",
    "Rights",
    "Scope",
    "Turn",
    "Where",
    "__version__",
]

_HOMES = {
    "Added": ".results",
    "Answer": ".results",
    "Condition": ".core.where",
    "Conversation": ".core.experience",
    "Cube": ".core.cube",
    "Document": ".core.experience",
    "Forgotten": ".results",
    "Hit": ".text.base",
    "Hits": ".text.base",
    "Kind": ".core.payload",
    "Memory": ".memory",
    "Note": ".core.experience",
    "Page": ".results",
    "PinyonError": ".errors",
    "Recall": ".results",
    "Rights": ".core.header",
    "Scope": ".core.scope",
    "Turn": ".core.experience",
    "Where": ".core.where",
}

if not TYPE_CHECKING:  # a type checker that saw this function would take every name for a name of the package

    def __getattr__(name: str) -> object:
        """Import a public name when it is first asked for, so that ``pinyon --help`` starts without numpy."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
