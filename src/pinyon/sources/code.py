"""Source code, cut at its top-level definitions."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from typing import ClassVar

from ..core.experience import Block, Document, Experience
from ._decode import decode
from ._draft import stem

__all__ = ["Code"]

_LONGEST_PYTHON = 4 * 2**20  # the tokenizer reads about 1 MiB a second; longer files are generated anyway
_CLOSER = re.compile(r"[\s})\]]|end\b|fi\b|done\b|esac\b|else\b")
_LINE_END = re.compile(r"\r\n?|\n")


class Code:
    """Read source code: the text is the file, the blocks are its top-level parts.

    Python is cut by its tokens: they need no valid grammar (Python 2, templates, later versions), print no warnings
    and cannot exhaust the stack, all of which `ast` does. Other languages are cut at blank lines that are followed by
    a line without indentation, which is where definitions begin in all of them.
    """

    name: ClassVar[str] = "source code"
    suffixes: ClassVar[frozenset[str]] = frozenset(
        """.py .pyi .pyw .js .mjs .cjs .jsx .ts .tsx .vue .svelte .go .rs .java .kt .kts .scala .groovy .swift .c .h
        .cc .cpp .cxx .hpp .hh .cs .m .mm .d .zig .nim .php .rb .pl .pm .lua .r .jl .hs .ml .mli .ex .exs .erl .clj
        .lisp .el .scm .dart .sh .bash .zsh .fish .ps1 .bat .sql .toml .yaml .yml .ini .cfg .conf .properties .xml
        .xsd .proto .graphql .tf .nix .css .scss .less .make .mk .cmake .gradle .dockerfile .vim .asm .s .f90 .v
        .sol""".split()
    )

    def read(self, data: bytes, name: str) -> list[Experience]:
        """Return one document of format ``code``."""
        text = decode(data, name)
        cuts = _python(text) if name.lower().endswith((".py", ".pyi", ".pyw")) else None
        blocks = tuple(_blocks(text, cuts or _groups(text)))
        return [Document(text, source=name, title=stem(name), blocks=blocks, format="code")]


def _blocks(text: str, cuts: list[int]) -> Iterator[Block]:
    """Yield what lies between lines, without the blank lines around it."""
    starts = [0, *(match.end() for match in _LINE_END.finditer(text))]
    edges = [*sorted({line for line in cuts if 0 < line < len(starts)}), len(starts)]
    first = 0
    for edge in edges:
        start, end = starts[first], starts[edge] if edge < len(starts) else len(text)
        part = text[start:end]
        lead = re.match(r"(?:[^\S\r\n]*(?:\r\n?|\n))*", part)
        start += lead.end() if lead else 0
        end -= len(part) - len(part.rstrip())
        if start < end:
            yield Block("code", start, end)
        first = edge


def _python(text: str) -> list[int] | None:
    """Return the lines, from 0, before which a Python file is cut; None when its tokens make no sense."""
    if len(text) > _LONGEST_PYTHON:
        return None
    lines = _LINE_END.sub("\n", text)
    cuts: list[int] = []
    depth = 0
    comment: int | None = None  # first of the comment lines that stand directly above
    is_new, was_definition, is_decorated = True, False, False
    try:
        for token in tokenize.generate_tokens(io.StringIO(lines).readline):
            line = token.start[0] - 1
            if token.type == tokenize.INDENT:
                depth += 1
            elif token.type == tokenize.DEDENT:
                depth -= 1
            elif token.type == tokenize.COMMENT and is_new and token.start[1] == 0:
                comment = line if comment is None else comment
            elif token.type == tokenize.NL:
                comment = None if not token.line.strip() else comment
            elif token.type == tokenize.NEWLINE:
                is_new = True
            elif is_new and depth == 0 and token.type not in (tokenize.COMMENT, tokenize.ENDMARKER):
                is_definition = token.string in ("def", "class", "async", "@")
                if not is_decorated and (is_definition or was_definition):
                    cuts.append(line if comment is None else comment)
                is_new, was_definition, comment = False, is_definition, None
                is_decorated = token.string == "@"
            elif token.type != tokenize.COMMENT:
                is_new, comment = False, None
    except (tokenize.TokenError, SyntaxError):
        return None
    return cuts


def _groups(text: str) -> list[int]:
    lines = _LINE_END.split(text)
    return [
        index
        for index in range(1, len(lines))
        if lines[index] and not lines[index - 1].strip() and not _CLOSER.match(lines[index])
    ]
