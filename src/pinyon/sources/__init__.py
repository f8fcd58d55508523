"""Where memories come from: files and streams become notes, conversations and documents.

`read` and `read_bytes` choose the reader, `look` says which, `find` lists files, `watch` waits for changes, `messages`
takes what was sent to a language model. Content decides where it is certain (PDF, Word, EPUB, archives), the suffix
among texts. Nothing that bytes hold raises anything but `UnreadableSource`.
"""

from __future__ import annotations

from .base import Found, Limits, Reader, Skipped
from .chat import messages
from .chat_archive import ChatArchive
from .code import Code
from .docx import Docx
from .epub import Epub
from .finding import find
from .html import Html
from .json_file import JsonFile
from .json_lines import JsonLines
from .markdown import Markdown
from .mem0_history import Mem0History
from .pdf import Pdf
from .plain import PlainText
from .reading import look, read, read_bytes, readers
from .table import Table
from .watching import watch

__all__ = [
    "ChatArchive",
    "Code",
    "Docx",
    "Epub",
    "Found",
    "Html",
    "JsonFile",
    "JsonLines",
    "Limits",
    "Markdown",
    "Mem0History",
    "Pdf",
    "PlainText",
    "Reader",
    "Skipped",
    "Table",
    "find",
    "look",
    "messages",
    "read",
    "read_bytes",
    "readers",
    "watch",
]
