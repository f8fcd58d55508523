"""The parameters of verbs as those of click."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from ..errors import BadInput
from . import _later
from .verbs import SCOPE, Parameter
from .words import condition_of, pair_of

__all__ = ["SCOPE_OPTIONS", "common_options", "option_of"]

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # older releases of click know no type of the value


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
    if parameter.role == "scope" and parameter.sort == "text":
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


def option_of(parameter: Parameter) -> click.Parameter:
    """Return the argument or option of a parameter."""
    if parameter.role == "argument":
        return _argument(parameter)
    names = [_dest(parameter), *parameter.flags]
    if parameter.sort == "flag":
        return click.Option(names, is_flag=True, help=f"{parameter.help}.")
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


SCOPE_OPTIONS: Final = {_dest(parameter): parameter.name for parameter in SCOPE}
"""Names inside click of the options that say who asks, with those of Python."""


def common_options() -> list[click.Parameter]:
    """Return the options that stand before or after any verb."""
    return [
        click.Option(["at_path", "--path", "-p"], type=_Read("file", _file), help="File of the memory."),
        *(option_of(parameter) for parameter in SCOPE),
        click.Option(["embedder", "--embedder"], metavar="SPEC", help="Embedder: static, minilm, e5, hf:<id> or "
                     "openai:<model>@<base_url>; the one the memory was made with when not given."),
        click.Option(["key_file", "--key-file"], type=_Read("file", _file), help="File with the key of an encrypted "
                     "memory; PINYON_KEY holds a passphrase instead."),
        click.Option(["is_json", "--json"], is_flag=True, help="Print one JSON document."),
        click.Option(["is_plain", "--no-color"], is_flag=True, help="No colours; NO_COLOR does the same."),
    ]  # fmt: skip
