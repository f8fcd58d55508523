"""Choose the reader of a file and keep its failures in one sentence."""

from __future__ import annotations

import stat
from pathlib import Path, PurePath

from ..core.experience import Experience
from ..errors import BadInput, UnreadableSource
from ._decode import is_binary
from .base import STANDARD, Found, Limits, Reader
from .chat_archive import ChatArchive
from .code import Code
from .docx import Docx
from .epub import Epub
from .html import Html
from .json_file import JsonFile
from .json_lines import JsonLines
from .markdown import Markdown
from .mem0_history import Mem0History
from .pdf import Pdf
from .plain import PlainText
from .sniffing import guess, sniff
from .table import Table

__all__ = ["look", "read", "read_bytes", "readers"]

_BINARY = frozenset({".pdf", ".docx", ".epub", ".zip"})  # sorts that content alone decides
_CODE_NAMES = frozenset({"makefile", "dockerfile", "justfile", "rakefile", "gemfile", "jenkinsfile", "cmakelists.txt"})


def readers(limits: Limits = STANDARD) -> tuple[Reader, ...]:
    """Return one reader of each sort, for listings and for callers that choose themselves."""
    return (
        ChatArchive(limits),
        Code(),
        Docx(limits),
        Epub(limits),
        Html(limits),
        JsonFile(limits),
        JsonLines(limits),
        Markdown(),
        Mem0History(),
        Pdf(limits),
        PlainText(),
        Table(),
    )


def read(path: Path, *, limits: Limits = STANDARD) -> list[Experience]:
    """Return what a file says.

    Args:
        path: A file; `find` turns folders and patterns into files.
        limits: What it may ask of the machine.

    Raises:
        UnreadableSource: It does not exist, may not be opened, is no file, or `read_bytes` refuses its content.
    """
    name = str(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableSource(f"{name!r} is a folder, expected a file", hint="find() lists the files in it")
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableSource(f"{name!r} is no regular file", hint="save what it delivers as a file")
        with path.open("rb") as file:
            data = file.read(limits.max_file_bytes + 1)  # it may have grown since
    except (OSError, ValueError) as error:  # ValueError: a name with a zero character; UnreadableSource is one too
        if isinstance(error, UnreadableSource):
            raise
        reason = "it does not exist" if isinstance(error, FileNotFoundError) else str(error)
        raise UnreadableSource(f"{name!r} cannot be opened: {reason}", hint="check the path and its rights") from error
    return read_bytes(data, name, limits=limits)


def read_bytes(data: bytes, name: str, *, limits: Limits = STANDARD) -> list[Experience]:
    """Return what bytes say, by the reader that their content and the suffix of their name call for.

    Args:
        data: The whole file.
        name: What it is called; becomes the source of each experience (of a note: ``source`` in its metadata).
        limits: What it may ask of the machine.

    Returns:
        At least one experience.

    Raises:
        UnreadableSource: Unknown, binary, broken, encrypted, too large or empty.

    Example:
        >>> read_bytes(b"# Trip", "trip.md")[0].title
        'Trip'
    """
    return look(data, name, limits=limits).experiences


def look(data: bytes, name: str, *, limits: Limits = STANDARD) -> Found:
    """Return what bytes say, and what they were taken for; otherwise as `read_bytes`.

    Args:
        data: The whole file.
        name: What it is called.
        limits: What it may ask of the machine.

    Example:
        >>> look(b'[{"namespace": ["ann"], "key": "a", "value": {"text": "Bees."}}]', "store.json").format
        'langgraph'
    """
    if len(data) > limits.max_file_bytes:
        raise UnreadableSource(
            f"{name!r} is larger than {limits.max_file_bytes} bytes", hint="split it, or raise Limits.max_file_bytes"
        )
    if not data.strip():
        raise UnreadableSource(f"{name!r} is empty", hint="there is nothing to remember in it")
    what = "file"
    try:
        reader = _choose(data, name, limits)
        what = reader.name
        if isinstance(reader, (JsonFile, JsonLines, Mem0History)):
            found = reader.look(data, name)
        else:
            found = Found(what, reader.read(data, name))
    except UnreadableSource:
        raise
    except BadInput as error:
        raise UnreadableSource(f"{name!r} cannot be used: {error.message}", hint=error.hint) from error
    # Parsers of other projects raise anything on broken bytes (IndexError, RecursionError, struct.error ...), and
    # their lists change with each release; nothing but the file can be the cause here, and it stays chained.
    except Exception as error:
        raise UnreadableSource(
            f"{name!r} is broken: not a readable {what} ({type(error).__name__})", hint="open and save it again"
        ) from error
    if not found.experiences:
        raise UnreadableSource(f"{name!r} is empty: it holds no words", hint="there is nothing to remember in it")
    return found


def _choose(data: bytes, name: str, limits: Limits) -> Reader:
    """Return the reader: content decides where it is certain, the suffix among texts, content again without one."""
    by_suffix = {suffix: reader for reader in readers(limits) for suffix in reader.suffixes}
    suffix = PurePath(name).suffix.lower()
    sort = sniff(data, name, limits)
    if sort == ".sqlite":
        return Mem0History()
    if sort in _BINARY:
        return by_suffix[sort]
    if suffix in _BINARY:
        raise UnreadableSource(
            f"{name!r} is broken: its content is no {by_suffix[suffix].name}", hint="copy or download it again"
        )
    if PurePath(name).name.lower() in _CODE_NAMES:
        return Code()
    known = by_suffix.get(suffix) or by_suffix.get(guess(data))
    if known is not None:
        return known
    if is_binary(data) or (suffix and not _is_utf8(data)):
        raise UnreadableSource(
            f"{name!r} is of an unknown sort" + (f" ({suffix})" if suffix else ""),
            hint="convert it to text, Markdown or PDF first",
        )
    return PlainText()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return data.startswith((b"\xff\xfe", b"\xfe\xff"))  # the mark of UTF-16 is as good a sign
    return True
