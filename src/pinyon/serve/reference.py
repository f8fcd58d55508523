"""Print the reference of the command line as Markdown: ``python -m pinyon.serve.reference > docs/cli.md``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from .cli import main
from .verbs import FILTERS, SCOPE, VERBS, Parameter

__all__ = ["reference"]

_HEAD = """# Command line

<!-- Made by `python -m pinyon.serve.reference > docs/cli.md`; edit `src/pinyon/serve/verbs.py` instead. -->

`pinyon VERB [ARGUMENTS] [OPTIONS]`: data go to stdout, words and progress to stderr. It exits with 0 when done, 1 when
something failed, 2 when it was called wrongly, 130 when it was interrupted, and 141 when the reader of its output went
away. `pinyon VERB --help` says what stands here.
"""

_COMMON = """## Options of every verb

They may stand before the verb or after it. `PINYON_PATH`, `PINYON_SPACE`, `PINYON_USER`, `PINYON_AGENT`,
`PINYON_EMBEDDER` and `PINYON_GENERATOR` in the environment, or `path`, `space` … in `config.toml` in pinyon's folder of
user settings, say the same for every call.

With `--json` stdout gets one JSON document (`import --watch` prints one a line), and an error is an object with `error`
and `hint` on stderr.
"""


def reference() -> str:
    """Return the whole reference."""
    verbs = "\n".join(f"| [`{verb.name}`](#{verb.name}) | {verb.summary} |" for verb in VERBS)
    parts = [_HEAD, f"| verb | what it does |\n|---|---|\n{verbs}\n"]
    for verb in VERBS:
        own = [p for p in verb.parameters if p not in FILTERS and p.role != "input"]
        has_filters = any(parameter in FILTERS for parameter in verb.parameters)
        words = [verb.summary, verb.help, "[Filters](#filters) choose the memories." if has_filters else ""]
        parts.append("\n\n".join([f"## {verb.name}", *(word for word in words if word)]) + "\n")
        parts.append(_examples(verb.examples))
        parts.append(_table([_row(parameter) for parameter in own]))
    parts.append("## Filters\n\nAll that are given must hold.\n")
    parts.append(_table([_row(parameter) for parameter in FILTERS]))
    parts.append(_COMMON)
    parts.append(_table([*(_row(parameter) for parameter in SCOPE), *_other_options()]))
    for name in ("demo", "completion"):
        command = main.commands[name]
        parts.append(f"## {name}\n\n{command.help}\n")
        parts.append(_examples(getattr(command, "examples", ())))
    return "\n".join(part for part in parts if part)


def _examples(lines: Sequence[str]) -> str:
    return "```sh\n" + "\n".join(lines) + "\n```\n"


def _row(parameter: Parameter) -> tuple[str, str]:
    if parameter.role == "argument":
        name = parameter.shown or parameter.name.upper()
        spelled = f"`{name}`" + (" …" if parameter.is_many or parameter.sort == "words" else "")
    else:
        value = "" if parameter.sort == "flag" else f" {'|'.join(parameter.choices) or parameter.shown or 'TEXT'}"
        spelled = ", ".join(f"`{flag}{value}`" for flag in parameter.flags)
    default = parameter.default if parameter.sort != "flag" else None
    return spelled, f"{parameter.help}{'' if default is None else f'; {default} when not given'}"


def _other_options() -> Iterator[tuple[str, str]]:
    """Yield the options of every verb that are not in the table of verbs."""
    named = {flag for parameter in SCOPE for flag in parameter.flags}
    for option in main.params:
        if isinstance(option, click.Option) and not named & set(option.opts) and "--version" not in option.opts:
            value = "" if option.is_flag else f" {option.metavar or 'FILE'}"
            yield ", ".join(f"`{name}{value}`" for name in option.opts), (option.help or "").rstrip(".")


def _table(rows: Sequence[tuple[str, str]]) -> str:
    if not rows:
        return ""
    lines = [f"| {name.replace('|', chr(92) + '|')} | {help.replace('|', chr(92) + '|')} |" for name, help in rows]
    return "\n".join(["| | |", "|---|---|", *lines]) + "\n"


if __name__ == "__main__":
    click.echo(reference(), nl=False)
