"""A declared sequence or graph of verbs over memories: read from a file or made in code, checked before it runs.

Source: MemOS (arXiv 2507.03724), "Pipelines" of its interface layer, whose figure names Transfer, Purification and
Rollback. The paper says no more than that; steps, order, errors and templates are ours.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal, cast

from ..core.payload import Json, canonical, digest
from ..errors import BadInput, NotFound
from .operations import OPERATIONS, Operation, Takes, check_meaning, check_option, fitted

__all__ = ["OnError", "Pipeline", "Step", "pipeline_of", "template", "templates"]

OnError = Literal["abort", "skip"]
"""What becomes of a run when a step has failed for good: everything is undone, or it goes on without the step."""

_MOST_STEPS: Final = 200
_MOST_TRIES: Final = 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_VALUE = re.compile(r"\$\{([A-Za-z0-9_]+)\}")
_RETRY = re.compile(r"retry\((\d{1,3})\)")
_RESERVED: Final = ("name", "do", "from", "without", "after", "on_error")
_FOLDER: Final = "pipelines"
_LONGEST: Final = 100_000  # bytes of a file


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a pipeline.

    Args:
        name: What other steps call it.
        do: One of `OPERATIONS`; in code also a function that is given the memory and the memories of earlier steps, and
            returns memories, their ids, or None for those it was given.
        options: What the operation takes, and ``space``; texts may hold ``${name}`` of a value.
        sources: Steps whose memories it works on, one after the other; ``from`` in a file. When one of them was
            skipped it is left out.
        without: Steps whose memories it leaves alone.
        after: Steps that must be over before it; nothing of theirs is used.
        on_error: ``abort`` undoes the whole run, ``skip`` goes on without it.
        tries: How often it is tried before that, 1 to 20; ``retry(2)`` in a file makes three tries.

    Raises:
        BadInput: A name cannot be used, there is no such operation, or an option is of another kind.
    """

    name: str
    do: str | Callable[..., object]
    options: Mapping[str, Json] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    on_error: OnError = "abort"
    tries: int = 1

    def __post_init__(self) -> None:
        _check_name(self.name, "a step")
        if self.on_error not in ("abort", "skip"):
            raise BadInput(
                f"step {self.name!r}: on_error is {self.on_error!r}", hint="use abort, skip, or retry(2) in a file"
            )
        if not 1 <= self.tries <= _MOST_TRIES:
            raise BadInput(f"step {self.name!r} is tried {self.tries} times", hint=f"1 to {_MOST_TRIES} tries")
        if isinstance(self.do, str):
            self._check(_operation(self.name, self.do))

    def _check(self, operation: Operation) -> None:
        takes: Takes = {**operation.takes, "space": "name"}
        for option, value in self.options.items():
            if option not in takes:
                known = ", ".join(sorted(takes))
                raise BadInput(f"step {self.name!r}: {self.do} takes no {option!r}", hint=f"it takes {known}")
            check_option(self.name, option, takes[option], value)
        missing = [option for option in operation.needs if option not in self.options]
        if missing:
            raise BadInput(f"step {self.name!r}: {self.do} needs {missing[0]!r}")
        if operation.reads and self.do != "add" and not self.sources:
            raise BadInput(
                f"step {self.name!r}: {self.do} needs memories", hint='say which step gives them: from = "…"'
            )
        if self.do == "add" and not self.sources and "text" not in self.options:
            raise BadInput(f"step {self.name!r} has nothing to add", hint='give text = "…", or from = "…"')
        if not operation.reads and self.sources:
            raise BadInput(
                f"step {self.name!r}: {self.do} works on no memories of other steps",
                hint="use after for the order alone",
            )

    @property
    def verb(self) -> str:
        """What it does, as one word."""
        return self.do if isinstance(self.do, str) else getattr(self.do, "__name__", "function")

    @property
    def writes(self) -> bool:
        """Whether it may change the store."""
        return not isinstance(self.do, str) or OPERATIONS[self.do].writes

    @property
    def waits_for(self) -> frozenset[str]:
        """Every step that must be over before it."""
        return frozenset((*self.sources, *self.without, *self.after))

    def filled(self, values: Mapping[str, Json]) -> Step:
        """Return the step with values in the place of their names; a filter that got an empty text is dropped."""
        takes: Takes = {**OPERATIONS[self.do].takes, "space": "name"} if isinstance(self.do, str) else {}
        options: dict[str, Json] = {}
        for name, value in self.options.items():
            given = fitted(takes.get(name), _filled(value, values))
            if isinstance(given, dict) and takes.get(name) == "filter":
                given = {key: each for key, each in given.items() if not _is_unset(value, each)}
            if not _is_unset(value, given):
                options[name] = given
        return replace(self, options=options)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Steps with an order, and values that a run gives them.

    Args:
        name: What it is called.
        steps: In the order of the file. A step comes before another where that one names it; else this order holds.
        about: What it is for, one sentence.
        values: What a run may set, with what holds when it does not; None must be set.

    Raises:
        BadInput: Two steps have one name, one names a step that is not there, or they wait for each other in a circle.

    Example:
        >>> steps = Step("old", "list"), Step("away", "archive", sources=("old",))
        >>> [step.name for step in Pipeline("tidy", steps).order()]
        ['old', 'away']
    """

    name: str
    steps: tuple[Step, ...]
    about: str = ""
    values: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name(self.name, "a pipeline")
        if not 1 <= len(self.steps) <= _MOST_STEPS:
            raise BadInput(f"pipeline {self.name!r} has {len(self.steps)} steps", hint=f"1 to {_MOST_STEPS}")
        names = [step.name for step in self.steps]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise BadInput(f"pipeline {self.name!r} has two steps {twice!r}")
        for step in self.steps:
            lost = sorted(step.waits_for - set(names))
            if lost:
                raise BadInput(f"step {step.name!r} names the step {lost[0]!r}, which is not there")
            strange = sorted(_named(step.options) - set(self.values))
            if strange:
                raise BadInput(
                    f"step {step.name!r} names the value {strange[0]!r}, which is not there",
                    hint="values stand under [values], a needed one with needs = [...]",
                )
        self.order()

    def order(self) -> tuple[Step, ...]:
        """Return the steps as they run: of those that wait for nothing any more, always the first of the file.

        Raises:
            BadInput: Some wait for each other in a circle.
        """
        left, over = list(self.steps), list[Step]()
        done: set[str] = set()
        while left:
            step = next((step for step in left if step.waits_for <= done), None)
            if step is None:
                circle = ", ".join(repr(name) for name in _circle(left))
                raise BadInput(f"pipeline {self.name!r}: the steps {circle} wait for each other in a circle")
            left.remove(step)
            over.append(step)
            done.add(step.name)
        return tuple(over)

    def chosen(self, given: Mapping[str, object]) -> dict[str, Json]:
        """Return every value of a run.

        Args:
            given: By name; what is not given has its default.

        Raises:
            BadInput: There is no such value, or one that is needed was not given.
        """
        strange = sorted(set(given) - set(self.values))
        if strange:
            known = ", ".join(self.values) or "no values"
            raise BadInput(f"pipeline {self.name!r} takes no {strange[0]!r}", hint=f"it takes {known}")
        values = {**self.values, **{name: _json(name, value) for name, value in given.items()}}
        missing = [name for name, value in values.items() if value is None]
        if missing:
            raise BadInput(
                f"pipeline {self.name!r} needs {missing[0]!r}", hint=f"set it, on the command line --set {missing[0]}=…"
            )
        return values

    def ready(self, values: Mapping[str, Json]) -> tuple[Step, ...]:
        """Return the steps as they run, with values in place.

        Args:
            values: As `chosen` gives them.

        Raises:
            BadInput: One is of another kind than its option takes.
        """
        steps = tuple(step.filled(values) for step in self.order())
        for step in steps:
            if isinstance(step.do, str):
                check_meaning(step.name, OPERATIONS[step.do], step.options)
        return steps

    @property
    def digest(self) -> str:
        """SHA-256 of what it says, by which a note of a run names it."""
        return digest(canonical(self.to_json()))

    def to_json(self) -> dict[str, Json]:
        """Return it as a JSON object with the words of a file."""
        steps: list[Json] = []
        for step in self.steps:
            said: dict[str, Json] = {"name": step.name, "do": step.verb, **step.options}
            links = {"from": step.sources, "without": step.without, "after": step.after}
            said |= {word: list(names) for word, names in links.items() if names}
            said["on_error"] = step.on_error if step.tries == 1 else f"retry({step.tries - 1}) {step.on_error}"
            steps.append(said)
        return {"name": self.name, "about": self.about, "values": dict(self.values), "step": steps}

    @classmethod
    def from_toml(cls, text: str, name: str = "pipeline") -> Pipeline:
        """Read a pipeline from TOML.

        Args:
            text: The file: ``about``, ``needs``, a table ``values``, and a table ``step`` for each step.
            name: What it is called where the text does not say so.

        Raises:
            BadInput: It is no TOML, or says something else.

        Example:
            >>> text = '[[step]]\\nname = "old"\\ndo = "list"\\n[[step]]\\ndo = "archive"\\nfrom = "old"'
            >>> [step.name for step in Pipeline.from_toml(text).steps]
            ['old', 'archive']
        """
        try:
            return cls.from_json(tomllib.loads(text), name)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise BadInput(f"the pipeline {name!r} is no TOML that can be read: {error}") from error

    @classmethod
    def from_json(cls, data: Mapping[str, object], name: str = "pipeline") -> Pipeline:
        """Read a pipeline from a mapping as `from_toml` finds it in a file; raises what that raises."""
        strange = sorted(set(data) - {"name", "about", "needs", "values", "step"})
        if strange:
            raise BadInput(f"a pipeline takes no {strange[0]!r}", hint="it takes name, about, needs, values and step")
        steps, values, needs = data.get("step"), data.get("values", {}), data.get("needs", [])
        if not isinstance(steps, list) or not all(isinstance(step, Mapping) for step in steps):
            raise BadInput("a pipeline has steps", hint="write [[step]] before each")
        if not isinstance(values, Mapping) or not isinstance(data.get("about", ""), str):
            raise BadInput("the values of a pipeline are a table, and what it is about is a text")
        wanted: dict[str, Json] = dict.fromkeys(_texts("needs", needs))
        wanted |= {key: _json(key, value) for key, value in values.items()}
        read = tuple(_step(step, number) for number, step in enumerate(steps, 1))
        return cls(str(data.get("name", name)), read, str(data.get("about", "")), wanted)


def templates() -> tuple[Pipeline, ...]:
    """Return the pipelines that come with pinyon, by name."""
    folder = files(__package__) / _FOLDER
    found = sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))
    return tuple(template(name) for name in found)


def template(name: str) -> Pipeline:
    """Return a pipeline that comes with pinyon.

    Args:
        name: Its name.

    Raises:
        NotFound: There is none of this name.
    """
    file = files(__package__) / _FOLDER / f"{name}.toml"
    if not _NAME.fullmatch(name) or not file.is_file():
        raise NotFound(f"there is no pipeline {name!r}", hint="`pinyon pipeline list` shows what there is")
    return Pipeline.from_toml(file.read_text(encoding="utf-8"), name)


def pipeline_of(what: Pipeline | str | Path) -> Pipeline:
    """Return a pipeline: itself, one that comes with pinyon by its name, or one in a file.

    Args:
        what: A name, or the path of a file that ends in ``.toml``.

    Raises:
        NotFound: There is none of this name, or the file cannot be opened.
        BadInput: The file is no pipeline.
    """
    if isinstance(what, Pipeline):
        return what
    path = Path(what).expanduser()
    if isinstance(what, str) and path.suffix != ".toml":
        return template(what)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotFound(f"{str(path)!r} cannot be opened: {error.strerror}") from error
    if len(data) > _LONGEST:
        raise BadInput(f"{str(path)!r} is too long for a pipeline: {len(data)} bytes", hint=f"at most {_LONGEST}")
    try:
        return Pipeline.from_toml(data.decode("utf-8-sig"), path.stem)
    except UnicodeDecodeError as error:
        raise BadInput(f"{str(path)!r} is no UTF-8 text") from error


# --- reading --------------------------------------------------------------------------------------------------------


def _step(data: Mapping[str, object], number: int) -> Step:
    do = data.get("do")
    if not isinstance(do, str):
        raise BadInput(f"step {number} does not say what it does", hint='write do = "search"')
    name = data.get("name", do)
    if not isinstance(name, str):
        raise BadInput(f"the name of step {number} is {name!r}, and a text was expected")
    on_error, tries = _on_error(name, data.get("on_error", "abort"))
    return Step(
        name,
        do,
        {key: _json(key, value) for key, value in data.items() if key not in _RESERVED},
        _texts("from", data.get("from", ())),
        _texts("without", data.get("without", ())),
        _texts("after", data.get("after", ())),
        on_error,
        tries,
    )


def _on_error(name: str, said: object) -> tuple[OnError, int]:
    """Read ``abort``, ``skip``, ``retry(n)``, or ``retry(n) skip``."""
    words = said.split() if isinstance(said, str) else []
    tries = 1
    if words and (found := _RETRY.fullmatch(words[0])):
        tries, words = 1 + int(found[1]), words[1:] or ["abort"]
    if len(words) != 1 or words[0] not in ("abort", "skip"):
        raise BadInput(f"step {name!r}: on_error is {said!r}", hint="use abort, skip, retry(2) or retry(2) skip")
    return cast("OnError", words[0]), tries


def _operation(name: str, do: str) -> Operation:
    if do not in OPERATIONS:
        raise BadInput(
            f"step {name!r}: there is nothing called {do!r} to do", hint=f"use one of {', '.join(OPERATIONS)}"
        )
    return OPERATIONS[do]


def _check_name(name: object, what: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadInput(f"{what} cannot be called {name!r}", hint="use letters, digits, - and _, at most 64")


def _texts(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
        raise BadInput(f"{name} names steps or values, got {value!r}")
    return tuple(value)


def _json(name: str, value: object) -> Json:
    """Return a value of TOML as JSON; moments become texts."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [_json(name, each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): _json(name, each) for key, each in value.items()}
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    raise BadInput(f"{name} cannot be {value!r}")


# --- values ---------------------------------------------------------------------------------------------------------


def _named(value: object) -> set[str]:
    """Return the names of values in a text, or in the texts of a list or table."""
    if isinstance(value, str):
        return set(_VALUE.findall(value))
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return {name for part in parts for name in _named(part)}


def _filled(value: Json, values: Mapping[str, Json]) -> Json:
    """Return a value with others in it; a text that is nothing but a name becomes that value, of whatever kind."""
    if isinstance(value, str):
        alone = _VALUE.fullmatch(value)
        if alone is not None:
            return values[alone[1]]
        return _VALUE.sub(lambda found: str(values[found[1]]), value)
    if isinstance(value, list):
        return [_filled(each, values) for each in value]
    if isinstance(value, dict):
        return {name: _filled(each, values) for name, each in value.items()}
    return value


def _is_unset(was: Json, now: Json) -> bool:
    """Return whether an option that named values got nothing from them, and so counts as not given."""
    return bool(_named(was)) and now in ("", [], [""])


def _circle(steps: Sequence[Step]) -> list[str]:
    """Return steps that wait for each other, in that order; each of the given ones waits for another of them."""
    by_name = {step.name: step for step in steps}
    seen: list[str] = []
    name = steps[0].name
    while name not in seen:
        seen.append(name)
        name = next(each for each in sorted(by_name[name].waits_for) if each in by_name)
    return seen[seen.index(name) :]
