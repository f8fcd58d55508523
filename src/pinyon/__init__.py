"""pinyon: memory for language models.

>>> from pinyon import Memory
>>> memory = Memory.open(":memory:")
>>> added = memory.add("The spare key hangs behind the blue door.", user="ann")
>>> memory.ask("Where is the spare key?", user="ann").text
'The spare key hangs behind the blue door. [1]'
"""

from .core.cube import Cube
from .core.experience import Conversation, Document, Note, Turn
from .core.payload import Kind
from .core.scope import Scope
from .core.where import Condition, Where
from .errors import PinyonError
from .memory import Memory
from .results import Added, Answer, Forgotten, Page, Recall
from .text.base import Hit, Hits

__version__ = "0.1.0"

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
    "Scope",
    "Turn",
    "Where",
    "__version__",
]
