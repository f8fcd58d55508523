"""The command line, made from the table of verbs.

Data go to stdout, words to stderr. It exits with 0 when done, 1 when something failed, 2 when it was called wrongly,
130 when it was interrupted, and 141 when the reader of its output went away.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import get_completion_class

from .. import __version__
from ..errors import BadInput, PinyonError
from . import _later
from .calls import FAILED, Misuse, perform
from .options import common_options, option_of
from .screen import Screen, show_error
from .verbs import VERBS, Verb

__all__ = ["main"]

_INTERRUPTED, _UNREAD = 130, 141


# --- commands ------------------------------------------------------------------------------------------------------


class _Command(click.Command):
    """A command whose help groups its options and ends with examples.

    Args:
        examples: Command lines.
        arguments: What each argument is, by its name.
        filters: Names of the options that choose memories.
        rest: Passed to click.
    """

    def __init__(
        self,
        *,
        examples: Sequence[str],
        arguments: Mapping[str, str] | None = None,
        filters: frozenset[str] = frozenset(),
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        self.examples = tuple(examples)
        self.arguments = dict(arguments or {})
        self.filters = filters

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the arguments, then the options in groups: those of the verb, the filters, those of every verb."""
        named = [p for p in self.get_params(ctx) if p.name in self.arguments]
        if named:
            with formatter.section("Arguments"):
                formatter.write_dl([(p.metavar or "", self.arguments[str(p.name)]) for p in named])
        shared = {parameter.name for parameter in common_options()}
        groups: dict[str, list[tuple[str, str]]] = {"Options": [], "Filters": [], "Options of every verb": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                is_filter = parameter.name in self.filters
                title = "Filters" if is_filter else "Options of every verb" if parameter.name in shared else "Options"
                groups[title].append(record)
        for title, records in groups.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's
        """Write the examples."""
        formatter.write_paragraph()
        formatter.write("Examples:\n" if len(self.examples) > 1 else "Example:\n")
        for example in self.examples:
            formatter.write(f"  {example}\n")


class _Commands(click.Group):
    """The whole program: turns every mistake into one sentence and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's
        """Return the verbs in the order of the table."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a verb, or name the nearest one."""
        name = args[0]
        if not ctx.resilient_parsing and name not in self.commands and not name.startswith("-"):
            near = difflib.get_close_matches(name, self.commands, n=1, cutoff=0.5)
            raise Misuse(
                f"there is no verb {name!r}",
                f"did you mean `pinyon {near[0]}`?" if near else "`pinyon --help` shows the verbs",
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; an interruption and a reader that went away are answered here, before click answers them."""
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            raise click.Abort from None
        except BrokenPipeError:
            _stop_writing()
            raise click.exceptions.Exit(_UNREAD) from None

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **rest: Any) -> Any:  # type: ignore[override]  # the rest is passed on
        """Run the program and exit."""
        given = list(sys.argv[1:] if args is None else args)
        is_json = "--json" in given
        rest["standalone_mode"] = False
        code = FAILED
        try:
            code = super().main(given, prog_name or "pinyon", **rest) or 0
        except click.ClickException as error:
            show_error(_sentence(error), _next_step(error), is_json=is_json)
            code = error.exit_code
        except click.Abort:
            show_error("interrupted", "", is_json=is_json)
            code = _INTERRUPTED
        except PinyonError as error:
            show_error(error.message, error.hint, is_json=is_json)
        except OSError as error:  # of files and pipes that are no part of the memory
            name = f" {error.filename!r}" if error.filename else ""
            show_error(f"{error.strerror or error}{name}", "", is_json=is_json)
        sys.exit(code)


def _sentence(error: click.ClickException) -> str:
    text = " ".join(error.format_message().split()).rstrip(".")
    return text[:1].lower() + text[1:]


def _next_step(error: click.ClickException) -> str:
    if isinstance(error, Misuse):
        return error.hint
    context = getattr(error, "ctx", None)
    return f"`{context.command_path} --help` shows what it takes" if context is not None else ""


def _stop_writing() -> None:
    """Send what is still to be written nowhere, so that closing stdout fails no more."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # no file behind it
        pass


# --- commands that are no verbs ------------------------------------------------------------------------------------


def _demo(**values: Any) -> int:
    context = click.get_current_context()
    before: Mapping[str, Any] = context.find_object(dict) or {}
    screen = Screen(bool(values["is_json"] or before.get("is_json")))
    path = values["at_path"] or before.get("at_path")
    beside = Path(_later.load_settings().path).expanduser().with_name("demo.db")  # never the user's own memory
    result = _later.demo.run(Path(path).expanduser() if path else beside, click.echo, screen.is_json)
    if screen.is_json:
        screen.document(result)
    return 0


def _completion(shell: str) -> int:
    kind = get_completion_class(shell)
    if kind is None:
        raise BadInput(f"there is no completion for {shell!r}")
    click.echo(kind(main, {}, "pinyon", "_PINYON_COMPLETE").source())
    return 0


def _command(verb: Verb) -> click.Command:
    own = [parameter for parameter in verb.parameters if parameter.role != "input"]
    return _Command(
        name=verb.name,
        params=[*(option_of(parameter) for parameter in own), *common_options()],
        callback=partial(perform, verb),
        short_help=verb.summary,
        help=f"{verb.summary}\n\n{verb.help}".strip(),
        examples=verb.examples,
        arguments={parameter.name: f"{parameter.help}." for parameter in own if parameter.role == "argument"},
        filters=frozenset(parameter.name for parameter in own if parameter.role == "filter"),
    )


def _remember_options(**values: Any) -> None:
    context = click.get_current_context()
    context.obj = values
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _program() -> _Commands:
    program = _Commands(
        name="pinyon",
        callback=_remember_options,
        params=common_options(),
        invoke_without_command=True,
        help="Memory for language models: what you add is kept word for word and found again, offline.\n\n"
        "The memory lies in one file: --path, or PINYON_PATH, or memory.db in pinyon's folder of user data.",
        epilog='Begin with `pinyon add "The spare key hangs behind the blue door."` and then'
        " `pinyon ask where is the spare key`.",
        context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    )
    click.version_option(__version__, prog_name="pinyon", message="%(prog)s %(version)s")(program)
    for verb in VERBS:
        program.add_command(_command(verb))
    summary = "Show what a memory does, with a year of messages between two people."
    program.add_command(
        _Command(name="demo", params=common_options(), callback=_demo, help=summary, examples=("pinyon demo",))
    )
    program.add_command(
        _Command(
            name="completion",
            params=[click.Argument(["shell"], type=click.Choice(["bash", "zsh", "fish"]))],
            callback=_completion,
            short_help="Print the completion script of a shell.",
            help="Print the completion script of a shell; have the shell read it when it starts.",
            examples=(
                'eval "$(pinyon completion bash)"',
                "pinyon completion fish > ~/.config/fish/completions/pinyon.fish",
            ),
        )
    )
    return program


main: Final = _program()
"""The program; calling it reads the arguments of the process."""


if __name__ == "__main__":
    main()
