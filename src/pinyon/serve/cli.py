"""The command line, made from the table of verbs.

Data go to stdout, words to stderr. It exits with 0 when done, 1 when something failed, 2 when it was called wrongly,
130 when it was interrupted, and 141 when the reader of its output went away.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import get_completion_class

from .. import __version__
from ..errors import BadInput, Damaged, NotFound, PinyonError
from . import _later
from .outcomes import Health
from .screen import Screen, is_terminal, read_input, show_error
from .verbs import SCOPE, VERBS, Parameter, Verb
from .words import condition_of, pair_of

if TYPE_CHECKING:
    from ..memory import Memory
    from ..results import Forgotten, Imported
    from ..settings import Settings

__all__ = ["main"]

_FAILED, _INTERRUPTED, _UNREAD = 1, 130, 141
_DURABILITIES: Final = ("full", "normal")


if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # older releases of click know no type of the value

# --- options -------------------------------------------------------------------------------------------------------


class _Read(_ParamType):
    """A parameter that a function reads from text; what it cannot read is misuse.

    Args:
        name: As shown in help.
        read: Raises `BadInput`.
    """

    def __init__(self, name: str, read: Callable[[str], object]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value as the verb takes it."""
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except BadInput as error:
            self.fail(error.message + (f"; {error.hint}" if error.hint else ""), param, ctx)


def _moment(text: str) -> object:
    return _later.instant(text)


def _file(text: str) -> str:
    if "\x00" in text or not text:
        raise BadInput(f"{text!r} is no name of a file")
    return text


def _name(text: str) -> str:
    if not text.strip():  # most likely a variable of the shell that is not set
        raise BadInput("the name is empty")
    return text


def _type(parameter: Parameter) -> _ParamType:
    if parameter.role == "scope":
        return _Read("name", _name)
    match parameter.sort:
        case "integer":
            return click.IntRange(parameter.least, parameter.most)
        case "moment":
            return _Read("time", _moment)
        case "pair":
            return _Read("key=value", pair_of)
        case "condition":
            return _Read("condition", condition_of)
        case "choice":
            return click.Choice(parameter.choices)
        case "file":
            return _Read("file", _file)
        case _:
            return click.STRING


def _argument(parameter: Parameter) -> click.Argument:
    is_open = parameter.is_many or parameter.sort == "words"
    name = (parameter.shown or parameter.name.upper()) + ("..." if is_open else "")
    return click.Argument(
        [parameter.name],
        type=_type(parameter),
        nargs=-1 if is_open else 1,
        required=parameter.is_required,
        metavar=name if parameter.is_required else f"[{name}]",
    )


def _option(parameter: Parameter) -> click.Parameter:
    if parameter.role == "argument":
        return _argument(parameter)
    names = [_dest(parameter), *parameter.flags]
    if parameter.sort == "flag":
        flag = {"flag_value": False, "default": True} if parameter.default is True else {}
        return click.Option(names, is_flag=True, help=f"{parameter.help}.", **flag)
    return click.Option(
        names,
        type=_type(parameter),
        multiple=parameter.is_many,
        default=parameter.default,
        show_default=parameter.default is not None,
        metavar=None if parameter.sort == "choice" else parameter.shown or None,
        help=f"{parameter.help}.",
    )


def _dest(parameter: Parameter) -> str:
    """Return the name of an option inside click; that of the scope may not hide a filter with the same name."""
    return f"who_{parameter.name}" if parameter.role == "scope" else parameter.name


_SCOPE_OPTIONS: Final = {_dest(parameter): parameter.name for parameter in SCOPE}


def _common() -> list[click.Parameter]:
    """Return the options that stand before or after any verb."""
    return [
        click.Option(["at_path", "--path", "-p"], type=_Read("file", _file), help="File of the memory."),
        *(_option(parameter) for parameter in SCOPE),
        click.Option(["embedder", "--embedder"], metavar="SPEC", help="Embedder: static, minilm, e5, hf:<id> or "
                     "openai:<model>@<base_url>; the one the memory was made with when not given."),
        click.Option(["is_json", "--json"], is_flag=True, help="Print one JSON document."),
        click.Option(["is_plain", "--no-color"], is_flag=True, help="No colours; NO_COLOR does the same."),
    ]  # fmt: skip


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
                formatter.write_dl([(p.make_metavar(ctx), self.arguments[str(p.name)]) for p in named])
        shared = {parameter.name for parameter in _common()}
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
            raise _Misuse(
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
        code = _FAILED
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


class _Misuse(click.UsageError):
    """Called wrongly.

    Args:
        message: One sentence.
        hint: The next step.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def _sentence(error: click.ClickException) -> str:
    text = error.format_message().strip().rstrip(".")
    return text[:1].lower() + text[1:]


def _next_step(error: click.ClickException) -> str:
    if isinstance(error, _Misuse):
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


# --- from the command line to a verb -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of a verb: the options of every verb, apart from its own.

    Args:
        verb: Which.
        common: Options of every verb, those before the verb and those after it as one.
        values: Its own parameters, by name.
        settings: What the user has set for every call.
    """

    verb: Verb
    common: Mapping[str, Any]
    values: dict[str, Any]
    settings: Settings

    @property
    def screen(self) -> Screen:
        """Where the result is shown."""
        return Screen(bool(self.common["is_json"]), bool(self.common["is_plain"]))

    @property
    def path(self) -> Path:
        """File of the memory."""
        path = Path(self.common["at_path"] or self.settings.path).expanduser()
        return path / "memory.db" if path.is_dir() else path

    def open(self) -> Memory:
        """Open the memory for the caller.

        Raises:
            NotFound: It is not there, and the verb makes none.
        """
        settings, path = self.settings, self.path
        if not self.verb.can_create and not path.exists():
            raise NotFound(f"there is no memory at {str(path)!r}", hint='`pinyon add "…"` makes one')
        if settings.durability not in _DURABILITIES:
            raise BadInput(f"the durability {settings.durability!r} is not known", hint="set it to full or normal")
        who = {"space": settings.space, "user": settings.user, "agent": settings.agent}
        who.update({name: self.common[dest] for dest, name in _SCOPE_OPTIONS.items() if self.common[dest] is not None})
        return _later.Memory.open(
            path,
            embedder=self.common["embedder"] or settings.embedder,
            api_key=settings.api_key,
            durability="normal" if settings.durability == "normal" else "full",
            **who,  # type: ignore[arg-type]  # names of Who
        )


def _perform(verb: Verb, **values: Any) -> int:
    context = click.get_current_context()
    before: Mapping[str, Any] = context.find_object(dict) or {}
    shared = {name: values.pop(name) for name in [p.name for p in _common()] if name is not None}
    common = {name: before.get(name) if value in (None, False) else value for name, value in shared.items()}
    call = _Call(verb, common, values, _later.load_settings())
    _read_what_is_sent(call)
    return _FLOWS.get(verb.name, _run_and_show)(call)


def _read_what_is_sent(call: _Call) -> None:
    """Take words together, and read what stands on standard input or in a file of messages."""
    values = call.values
    for parameter in call.verb.parameters:
        if parameter.sort == "words":
            words: tuple[str, ...] = values[parameter.name]
            values[parameter.name] = _text_from_input() if words == ("-",) else " ".join(words) or None
    if call.verb.name == "add":
        _read_addition(values)
    if call.verb.name == "update":
        if values["text"] == "-":
            values["text"] = _text_from_input()
        if not any(values[name] not in (None, ()) for name in ("text", "time", "tags", "metadata")):
            raise _Misuse("nothing says what to change", "give --text, --time, --tag or --meta")


def _read_addition(values: dict[str, Any]) -> None:
    file = values.pop("messages")
    if file is not None:
        if values["what"] is not None:
            raise _Misuse("a text and --messages exclude each other", "add them one after the other")
        data = read_input() if file == "-" else Path(file).expanduser().read_bytes()
        values["what"] = _messages(data, file)
    elif values["what"] is None:
        text = "" if is_terminal(sys.stdin) else _text_from_input()
        if not text.strip():
            raise _Misuse("there is nothing to add", "give a text, or - to read standard input")
        values["what"] = text


def _text_from_input() -> str:
    """Return the text on standard input without the line break that ends it."""
    try:
        text = read_input().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(
            "standard input is not UTF-8", hint="`pinyon import - --name notes.txt` finds out how it is encoded"
        ) from error
    return text.removesuffix("\n").removesuffix("\r")


def _messages(data: bytes, name: str) -> Any:
    """Return chat messages from JSON: a list, one message, or one message a line."""
    try:
        text = data.decode("utf-8-sig")
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"{'standard input' if name == '-' else repr(name)} holds no JSON messages",
            hint='write [{"role": "user", "content": "hello"}]',
        ) from error


def _run_and_show(call: _Call) -> int:
    is_why = bool(call.values.pop("why", False))
    with call.open() as memory:
        result = call.verb.run(memory, call.values)
    if is_why and call.verb.name in ("recall", "ask") and not call.screen.is_json:
        _show_trace(call.screen, result)
    call.screen.show(result, is_why=is_why)
    return 0


def _show_trace(screen: Screen, result: Any) -> None:
    """Show on stderr how the passages of a context or an answer were found."""
    found = result.found if hasattr(result, "found") else result.recall.found
    look = _later.render.Look(is_why=True)
    screen_lines = _later.render.text_of(found, look) or "\n".join(_later.render.trace_of(found))
    for line in screen_lines.split("\n"):
        screen.say(line)


def _run_import(call: _Call) -> int:
    values, screen = call.values, call.screen
    is_watching = values.pop("watch")
    paths: list[str] = list(values.pop("paths"))
    if "-" in paths:
        if len(paths) > 1 or is_watching:
            raise _Misuse("standard input is read alone", "leave out the other paths and --watch")
        values.update(paths=(), data=read_input())
    elif values["name"] is not None:
        raise _Misuse("--name names standard input", "give - as the path")
    else:
        values["paths"] = tuple(os.path.expanduser(path) for path in paths)
    with call.open() as memory, screen.bar("sources") as progress:
        if is_watching:
            return _watch(memory, call)
        result: Imported = call.verb.run(memory, values, progress)  # type: ignore[assignment]  # what import returns
    screen.show(result)
    is_in_vain = bool(result.sources) and len(result.skipped) == len(result.sources)
    return _FAILED if is_in_vain else 0


def _watch(memory: Memory, call: _Call) -> int:
    """Import again and again until interrupted; with --json one document a line."""
    importer = _later.Importer(tuple(call.values["tags"]), dict(call.values["metadata"]) or None)
    call.screen.say("watching; stop with Ctrl-C")
    for result in _later.watch_files(memory, call.values["paths"], stop=Event(), importer=importer):
        call.screen.show(result)
    return 0


def _run_forget(call: _Call) -> int:
    values, screen = call.values, call.screen
    is_dry, is_sure = values.pop("dry_run"), values.pop("yes")
    with call.open() as memory:
        plan: Forgotten = call.verb.run(memory, {**values, "dry_run": True})  # type: ignore[assignment]  # what forget returns
        if is_dry or not plan.cubes:
            screen.show(plan)
            return 0
        if not is_sure and not _is_agreed(screen, plan):
            screen.say("nothing was forgotten")
            return _FAILED
        # By id, so that what goes is what was shown, whatever has been added since.
        screen.show(call.verb.run(memory, {"ids": tuple(cube.id for cube in plan.cubes)}))
    return 0


def _is_agreed(screen: Screen, plan: Forgotten) -> bool:
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise _Misuse("forgetting needs a yes, and nobody is here to give it", "add --yes, or --dry-run to look first")
    for line in _later.render.text_of(plan, screen.look()).split("\n"):
        screen.say(line)
    return click.confirm("Forget this for good?", err=True)


def _run_export(call: _Call) -> int:
    if call.values["path"] != "-":
        return _run_and_show(call)
    with tempfile.TemporaryDirectory() as folder, call.open() as memory:
        path = Path(folder) / "archive.jsonl"
        call.verb.run(memory, {**call.values, "path": str(path)})
        with open(path, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.flush()
    return 0


def _run_doctor(call: _Call) -> int:
    screen = call.screen
    if screen.is_lively:
        screen.say("checking the journal, the database and the index …")
    try:
        with call.open() as memory, screen.bar("memories") as progress:
            health: Health = call.verb.run(memory, call.values, progress)  # type: ignore[assignment]  # what doctor returns
    except Damaged as error:
        health = _later.given_up(call.path, error)
    screen.show(health)
    return 0 if health.is_sound else _FAILED


_FLOWS: Final[Mapping[str, Callable[[_Call], int]]] = {
    "import": _run_import,
    "forget": _run_forget,
    "export": _run_export,
    "doctor": _run_doctor,
}
"""Verbs that talk with the terminal while they run; all others are run and shown."""


# --- commands that are no verbs ------------------------------------------------------------------------------------


def _demo(**values: Any) -> int:
    context = click.get_current_context()
    before: Mapping[str, Any] = context.find_object(dict) or {}
    screen = Screen(bool(values["is_json"] or before.get("is_json")))
    run = getattr(import_module("pinyon.serve.demo"), "run", None)
    if run is None:
        raise NotFound("the demonstration is not part of this installation")
    path = values["at_path"] or before.get("at_path")
    beside = Path(_later.load_settings().path).expanduser().with_name("demo.db")  # never the user's own memory
    result = run(Path(path).expanduser() if path else beside, click.echo, screen.is_json)
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
        params=[*(_option(parameter) for parameter in own), *_common()],
        callback=partial(_perform, verb),
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
        params=_common(),
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
        _Command(name="demo", params=_common(), callback=_demo, help=summary, examples=("pinyon demo",))
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
