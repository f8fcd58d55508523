"""Bytes to text, by what the file says about itself first and by guessing last."""

from __future__ import annotations

import codecs
import re

from ..errors import UnreadableSource

__all__ = ["decode", "is_binary"]

_BOMS = (  # UTF-32 first: its little-endian mark begins with the one of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES = 65_536  # enough to see the nature of a file
_HIGH_SHARE = 0.3  # of letters beyond ASCII: French has 6 %, Polish 8 %, Cyrillic and Asian texts far more than half
_ASCII = bytes(range(128))
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\v\b\x1b\x1a"))  # escapes colour logs, 0x1a ends files of DOS
_CONTROL_SHARE = 0.05  # random bytes hold 9 % of them, text none
_TRUSTED = re.compile(r"(?:utf-?8|iso-?8859|windows-|cp\d|koi8|shift|sjis|euc|gb|big5|iso-2022|mac|tis)")
_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]{2,40})""", re.IGNORECASE)


def is_binary(data: bytes) -> bool:
    """Return whether the bytes cannot be text in any encoding that `decode` knows."""
    if _marked(data) is not None or _wide(data) is not None:
        return False
    sample = data[:_SAMPLE_BYTES]
    controls = len(sample) - len(sample.translate(None, _CONTROLS))
    return b"\0" in data or controls > _CONTROL_SHARE * len(sample)


def decode(data: bytes, name: str, *, is_markup: bool = False) -> str:
    """Return the text of a file; line endings stay as they are.

    Tried in this order: byte order mark, UTF-16 without one, the encoding that markup declares, UTF-8, Windows-1252
    when few letters lie beyond ASCII, else what charset-normalizer finds.

    Args:
        data: The file.
        name: What to call it in an error.
        is_markup: Whether the first bytes may declare an encoding, as HTML and XML do.

    Raises:
        UnreadableSource: The bytes are binary, blank, or in no known encoding.
    """
    if is_binary(data):
        raise UnreadableSource(f"{name!r} is binary, not text", hint="convert it to text, Markdown or PDF first")
    text = _decoded(data, name, is_markup)
    if not text.strip("\ufeff\x1a \t\r\n\f\v"):
        raise UnreadableSource(f"{name!r} is empty", hint="there is nothing to remember in it")
    return text


def _decoded(data: bytes, name: str, is_markup: bool) -> str:
    marked = _marked(data) or _wide(data)
    if marked is not None:
        return data.decode(marked, errors="replace")  # the mark leaves no doubt; a torn last character is no reason
    for encoding in (*([_declared(data)] if is_markup else []), "utf-8"):
        text = _try(data, encoding)
        if text is not None:
            return text
    sample = data[:_SAMPLE_BYTES]
    beyond = len(sample.translate(None, _ASCII))
    if beyond <= _HIGH_SHARE * (beyond + len(sample) - len(sample.translate(None, _LETTERS))):
        return _try(data, "cp1252") or data.decode("latin-1")
    return _guessed(data, name)


def _guessed(data: bytes, name: str) -> str:
    from charset_normalizer import from_bytes  # 30 ms of imports, wanted for few files

    match = from_bytes(data[:_SAMPLE_BYTES]).best()
    text = None if match is None else _try(data, match.encoding)
    if text is None:
        raise UnreadableSource(f"{name!r} is in an unknown encoding", hint="save it as UTF-8")
    return text


def _marked(data: bytes) -> str | None:
    return next((encoding for mark, encoding in _BOMS if data.startswith(mark)), None)


def _wide(data: bytes) -> str | None:
    """Return which UTF-16 the bytes are, told by where their zeros stand; None when they are not."""
    sample = data[:_SAMPLE_BYTES]
    if len(data) % 2 or len(data) < 4 or b"\0" not in sample:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    pairs = (len(sample) + 1) // 2
    for encoding, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if others == 0 and zeros > 0.6 * pairs and _try(data, encoding) is not None:
            return encoding
    return None


def _declared(data: bytes) -> str:
    found = _DECLARED.search(data[:1024])
    encoding = found.group(1).decode("ascii").lower() if found else "utf-8"
    # Browsers read these names as Windows-1252, because that is what their authors wrote.
    if encoding in ("iso-8859-1", "latin1", "latin-1", "us-ascii", "ascii"):
        return "cp1252"
    return encoding if _TRUSTED.match(encoding) else "utf-8"  # codecs such as unicode_escape are no encodings


def _try(data: bytes, encoding: str) -> str | None:
    try:
        text = data.decode(encoding)
    except (LookupError, ValueError):  # an unknown encoding, or bytes that are not in it
        return None
    return text if isinstance(text, str) else None
