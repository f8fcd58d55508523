"""Tell what bytes are, before a reader is chosen."""

from __future__ import annotations

import json
import re
from typing import Final

from ..errors import UnreadableSource
from ._archive import Archive
from ._decode import is_binary
from .base import Limits

__all__ = ["guess", "sniff"]

_SIGNATURES: Final = (  # magic bytes: what the file is, what its owner can do
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or a password-protected Office file", "save it as .docx without one"),
    (b"{\\rtf", "a rich text file", "save it as .docx or text"),
    (b"\x89PNG\r\n", "a picture", "describe it in words, or run OCR on it"),
    (b"\xff\xd8\xff", "a picture", "describe it in words, or run OCR on it"),
    (b"GIF8", "a picture", "describe it in words, or run OCR on it"),
    (b"\x1f\x8b", "packed by gzip", "unpack it first"),
    (b"BZh", "packed by bzip2", "unpack it first"),
    (b"\xfd7zXZ\0", "packed by xz", "unpack it first"),
    (b"(\xb5/\xfd", "packed by zstd", "unpack it first"),
    (b"7z\xbc\xaf'\x1c", "a 7z archive", "unpack it first"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it first"),
    (b"\x7fELF", "a program", "add its source instead"),
    (b"ID3", "a sound", "transcribe it first"),
    (b"OggS", "a sound", "transcribe it first"),
    (b"PAR1", "a Parquet table", "save it as CSV or JSON lines"),
)
_DATABASE: Final = b"SQLite format 3\0"
_OFFICE: Final = {
    "xl/workbook.xml": ("a spreadsheet", "save its sheets as CSV"),
    "xl/workbook.bin": ("a spreadsheet", "save its sheets as CSV"),
    "ppt/presentation.xml": ("a presentation", "save it as PDF"),
    "content.xml": ("an OpenDocument file", "save it as .docx"),
}
_PDF_HEADER_BYTES = 1024  # readers accept the mark anywhere in them
_HEAD_BYTES = 4096
_HTML = re.compile(
    rb"\s*(?:<!--.*?-->\s*)?(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+html|html[\s>])", re.IGNORECASE | re.DOTALL
)
_JSON = re.compile(rb"\s*[\[{]\s*(?:[\[{\"\]}]|-?\d|true|false|null)")
_LINES = re.compile(rb"\s*\{[^\n]*\}[ \t\r]*\n\s*\{")


def sniff(data: bytes, name: str, limits: Limits) -> str:
    """Return the suffix of a binary format that the content proves, ``.pdf`` or ``.sqlite``, or an empty string.

    Args:
        data: The file.
        name: What to call it in an error.
        limits: Largest number of members of an archive.

    Raises:
        UnreadableSource: The content is recognised and no reader exists for it.
    """
    if b"%PDF-" in data[:_PDF_HEADER_BYTES] and (data.startswith(b"%PDF-") or is_binary(data)):
        return ".pdf"
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip(data, name, limits)
    if data.startswith(_DATABASE):
        return ".sqlite"
    for mark, what, hint in _SIGNATURES:
        # Marks of printable letters alone may begin a text.
        if data.startswith(mark) and (not mark.isalnum() or is_binary(data)):
            raise UnreadableSource(f"{name!r} is {what}, which no reader can open", hint=hint)
    return ""


def guess(data: bytes) -> str:
    """Return the suffix of the text format that the content looks like, or an empty string; for names without one."""
    head = data[:_HEAD_BYTES].removeprefix(b"\xef\xbb\xbf")
    if _HTML.match(head):
        return ".html"
    if _LINES.match(data):
        return ".jsonl"
    if not _JSON.match(head) or not data.rstrip().endswith((b"]", b"}")):
        return ""
    try:
        json.loads(data)
    except (ValueError, RecursionError):  # text that only begins like JSON
        return ""
    return ".json"


def _zip(data: bytes, name: str, limits: Limits) -> str:
    members = Archive(data, name, limits).members
    if "word/document.xml" in members:
        return ".docx"
    if "META-INF/container.xml" in members:
        return ".epub"
    for member, (what, hint) in _OFFICE.items():
        if member in members:
            raise UnreadableSource(f"{name!r} is {what}, which no reader can open", hint=hint)
    return ".zip"
