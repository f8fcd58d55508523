"""Standard input and output of the command line: data on stdout, words and progress on stderr."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import click

from . import _later

if TYPE_CHECKING:
    from .render import Look

__all__ = ["Screen", "is_terminal", "read_input", "show_error"]


def is_terminal(stream: Any) -> bool:
    """Return whether a person sits at a stream; one that was closed is none."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def read_input() -> bytes:
    """Return everything that stands on standard input."""
    return b"" if sys.stdin is None else sys.stdin.buffer.read()


def show_error(message: str, hint: str, *, is_json: bool) -> None:
    """Say on stderr what went wrong, and the next step.

    Args:
        message: One sentence.
        hint: The next step, or an empty string.
        is_json: Whether to say it as a JSON object.
    """
    if is_json:
        click.echo(json.dumps({"error": message, "hint": hint}), err=True)
        return
    click.echo(f"error: {_plain(message)}", err=True)
    if hint:
        click.echo(f"hint: {_plain(hint)}", err=True)


def _plain(text: str) -> str:
    """Return a text that every terminal can show, on one line."""
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text.replace("\n", " "))
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


@dataclass(frozen=True, slots=True)
class Screen:
    """Where one call of the command line shows its result.

    Args:
        is_json: Whether stdout gets one JSON document.
        is_plain: Whether colours are refused.
    """

    is_json: bool = False
    is_plain: bool = False

    @property
    def is_lively(self) -> bool:
        """Whether progress may be shown: a person looks at stderr."""
        return not self.is_json and is_terminal(sys.stderr)

    def look(self, *, is_why: bool = False) -> Look:
        """Return how plain text is to be shown here."""
        is_at_terminal = is_terminal(sys.stdout)
        return _later.render.Look(
            is_colored=is_at_terminal and not self.is_plain and _later.wants_color(),
            width=shutil.get_terminal_size().columns if is_at_terminal else None,
            is_why=is_why,
        )

    def show(self, result: object, *, is_why: bool = False) -> None:
        """Print a result on stdout, and what should be known beside it on stderr.

        Args:
            result: What a verb returned.
            is_why: Whether to show how hits were found.
        """
        if self.is_json:
            self.document(_later.documents.json_of(result))
            return
        for line in _later.render.remarks_of(result):
            self.say(line)
        text = _later.render.text_of(result, self.look(is_why=is_why))
        if text:
            _write(text)

    def document(self, value: object) -> None:
        """Print one JSON document on stdout."""
        is_at_terminal = is_terminal(sys.stdout)
        text = json.dumps(value, ensure_ascii=not _is_unicode(sys.stdout), indent=2 if is_at_terminal else None)
        _write(text)

    def say(self, words: str) -> None:
        """Print words on stderr."""
        for line in words.split("\n"):
            click.echo(_plain(line), err=True)

    @contextmanager
    def bar(self, unit: str) -> Iterator[Callable[[object], object] | None]:
        """Show a progress bar on stderr if a person looks at it; yield what is to be told of each step.

        Args:
            unit: What is counted.
        """
        if not self.is_lively:
            yield None
            return
        from tqdm import tqdm  # a third of the start-up time of `--help`, and only terminals need it

        with tqdm(unit=f" {unit}", file=sys.stderr, leave=False, dynamic_ncols=True) as bar:
            yield lambda step: bar.update(step if isinstance(step, int) else 1)


def _is_unicode(stream: TextIO) -> bool:
    return (getattr(stream, "encoding", None) or "").lower().replace("-", "") in ("utf8", "utf8sig")


def _write(text: str) -> None:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "replace").decode(encoding), color=True)  # colours were decided by `Look`
