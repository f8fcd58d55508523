"""Names of measures and subjects, as a command line has them; what a name stands for is imported when it is used."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..core.payload import Json
from ..errors import BadInput, NotFound
from ..settings import key_for
from .data import DataSet, data_set, file_hash, is_there

if TYPE_CHECKING:
    from ..models import Generator
    from .session import Measure
    from .subject import Subject

__all__ = [
    "MEASURES", "NOWHERE", "NO_CHOICE", "SUBJECTS", "Choices", "Known", "Places", "check", "data_of", "has_data",
    "measure_called", "origin_of", "subject_called",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Places:
    """Where things lie.

    Args:
        data: Folder of the question sets, or one of their files, or None.
        rivals: Folder of the rivals' environments, or None.
    """

    data: Path | None = None
    rivals: Path | None = None


NOWHERE = Places()
"""For measures that need no data, and subjects that need no environment."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What a measure or a subject may be given beside its data.

    Args:
        reader: Answers from what every subject recalls, as ``openai:<model>@<base_url>`` or what else the setting
            `generator` takes; None takes the answers of subjects that answer.
        judge: Says whether an answer is right, as `reader`; None leaves that out.
        writer: Writes the memories of a rival that lets a model do so, ``openai:<model>@<base_url>``.
        sizes: Of histories or haystacks; None takes those of the measure.
    """

    reader: str | None = None
    judge: str | None = None
    writer: str | None = None
    sizes: tuple[int, ...] | None = None

    def to_json(self) -> dict[str, Json]:
        """Return what was chosen."""
        chosen = {name: value for name, value in asdict(self).items() if value is not None}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Choices:
        """Return choices as `to_json` wrote them."""
        read = {name: tuple(value) if name == "sizes" else value for name, value in data.items()}
        return cls(**cast("dict[str, Any]", read))  # names of its own fields


NO_CHOICE = Choices()
"""For what takes everything as it is."""


@dataclass(frozen=True, slots=True)
class Known:
    """A name and what it stands for.

    Args:
        name: One word.
        help: One line.
        module: Below `pinyon.measure`.
        make: Name of the function or class in it.
        data: Below the data folder, a pattern whose first match is given as the path; empty when none is needed.
        options: Given along.
        is_optional: Whether it also works without those data.
        takes: What of `Choices` it takes, each with the name of the parameter that gets it.
    """

    name: str
    help: str
    module: str
    make: str
    data: str = ""
    options: tuple[tuple[str, object], ...] = ()
    is_optional: bool = False
    takes: tuple[tuple[str, str], ...] = ()

    def made(self, *arguments: object, **more: object) -> Any:
        """Import it and make one."""
        module = importlib.import_module(f".{self.module}", __package__)
        return getattr(module, self.make)(*arguments, **{**dict(self.options), **more})


_LOCOMO = "locomo/*.json"
_ANSWERS = (("reader", "reader"), ("judge", "judge"))
_SIZES = (("sizes", "sizes"),)

MEASURES: tuple[Known, ...] = (
    Known("locomo", "Evidence in long conversations, each searched alone", "locomo_recall", "LoCoMo", _LOCOMO,
          takes=_ANSWERS),
    Known(
        "locomo-merged", "Evidence in long conversations, all in one space", "locomo_recall", "LoCoMo", _LOCOMO,
        (("is_merged", True), ("name", "locomo-merged")), takes=_ANSWERS,
    ),
    Known("needles", "Facts hidden at depths of a long text", "needles", "Needles", takes=_SIZES),
    Known("planted", "Facts planted in a conversation and asked for at delays", "planted", "Planted",
          "dailydialog/*.jsonl", is_optional=True),
    Known("sort", "Which of two segments of a book came first", "sort", "Sort", "books", is_optional=True),
    Known("convomem", "Evidence among up to 300 conversations, in six categories", "convomem", "ConvoMem",
          "convomem", is_optional=True, takes=_ANSWERS + _SIZES),
    Known("prefeval", "Is a preference respected much later", "prefeval", "PrefEval", "prefeval",
          takes=(("reader", "generator"),)),
    Known("longmemeval", "The session that answers, among many", "longmemeval", "LongMemEval", "longmemeval/*.json"),
)  # fmt: skip
"""Every measure, in the order in which they are listed."""

_PINYON = "subjects.pinyon_memory"
_CONTROLS = "subjects.controls"

SUBJECTS: tuple[Known, ...] = (
    Known("pinyon", "pinyon as it is installed", _PINYON, "PinyonMemory", options=(("name", "pinyon"),)),
    Known("pinyon-bm25", "pinyon's index, BM25 of the turn alone", _PINYON, "pinyon_words"),
    Known("pinyon-dense", "pinyon's index, vectors alone", _PINYON, "pinyon_vectors"),
    Known("pinyon-minilm", "pinyon with MiniLM for vectors", _PINYON, "PinyonMemory",
          options=(("name", "pinyon, MiniLM"), ("embedder", "minilm"))),
    Known("hema", "HEMA over vectors alone, as published", "hema_memory", "HemaMemory"),
    Known("hema-pinyon", "HEMA over a pinyon memory", "hema_memory", "HemaOverMemory"),
    Known("full", "Control: everything into the prompt", _CONTROLS, "FullContext"),
    Known("last", "Control: what was said last", _CONTROLS, "LastTokens"),
    Known("bm25", "Control: BM25", _CONTROLS, "BM25"),
    Known("dense", "Control: cosine of vectors", _CONTROLS, "Dense"),
    Known("hybrid", "Control: reciprocal ranks of both", _CONTROLS, "Hybrid"),
    Known("random", "Control: chance", _CONTROLS, "Random"),
    *(
        Known(name, f"Rival: {title}", "subjects.rival", "Rival", takes=takes)
        for name, title, takes in (
            ("mem0", "mem0 without a model", ()), ("mem0-llm", "mem0 with a model (--writer)", (("writer", "writer"),)),
            ("langgraph", "LangGraph's store in memory", ()), ("llamaindex", "LlamaIndex's vector index", ()),
            ("chroma", "Chroma", ()), ("lancedb", "LanceDB", ()), ("memos", "MemOS's general text memory", ()),
        )
    ),
)  # fmt: skip
"""Every subject, in the order in which they are listed."""


def measure_called(name: str, places: Places, choices: Choices = NO_CHOICE) -> Measure:
    """Return a measure by its name, or by ``file.py:name`` of one's own.

    Args:
        name: As in `MEASURES`, or a file.
        places: Where the data lie.
        choices: Readers, judges and sizes; what the measure does not take is left out.

    Raises:
        NotFound: There is none of that name.
        BadInput: It needs data that are not there.
    """
    if ".py:" in name:
        made: Measure = _own(name)()
        return made
    known = _known(name, MEASURES, "measure")
    given = {parameter: _chosen(choices, choice) for choice, parameter in known.takes if getattr(choices, choice)}
    found = data_of(name, places)
    measure: Measure = known.made(**given) if found is None else known.made(found.path, **given)
    return measure


def subject_called(name: str, folder: Path, places: Places, choices: Choices = NO_CHOICE) -> Subject:
    """Return a fresh subject by its name, by ``server.toml`` that describes one, or by ``file.py:name`` of one's own.

    Args:
        name: As in `SUBJECTS`, or a file.
        folder: Where it may write; made when it is not there. A class of one's own gets it as `folder`, if it has a
            parameter of that name.
        places: Where the rivals lie.
        choices: The model of a rival that wants one.

    Raises:
        NotFound: There is none of that name.
        MissingExtra: The environment of a rival has not been made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if ".py:" in name:
        make = _own(name)
        own: Subject = make(folder=folder) if "folder" in inspect.signature(make).parameters else make()
        return own
    if name.endswith(".toml"):
        from .subjects.server import Server, read_description

        return Server(read_description(Path(name)))
    known = _known(name, SUBJECTS, "subject")
    made: Subject
    if known.make == "Rival":
        more = {parameter: _endpoint(getattr(choices, choice)) for choice, parameter in known.takes}
        made = known.made(name, _interpreter(name, places), folder, **more)
    else:
        made = known.made(folder) if known.module == _PINYON else known.made()
    return made


def check(measures: tuple[str, ...], subjects: tuple[str, ...], places: Places, choices: Choices = NO_CHOICE) -> None:
    """Look at once whether everything that will be needed is there.

    Raises:
        NotFound: There is no measure, subject or file of that name.
        BadInput: Data are missing, or something was chosen that nothing takes.
        MissingExtra: The environment of a rival has not been made, or a model needs a package.
        UnreadableSource: The description of a server cannot be read.
    """
    for name in measures:
        if ".py:" in name:
            _file_of(name)
        else:
            data_of(name, places)
    for name in subjects:
        if ".py:" in name:
            _file_of(name)
        elif name.endswith(".toml"):
            from .subjects.server import read_description

            read_description(_file_of(name))
        elif (known := _known(name, SUBJECTS, "subject")).make == "Rival":
            _interpreter(name, places)
            if known.takes:
                _endpoint(choices.writer)
    _check_choices(measures, subjects, choices)


def has_data(known: Known, places: Places) -> bool:
    """Return whether a measure has its data, or needs none."""
    return not known.data or is_there(known.data, places.data)


def data_of(name: str, places: Places) -> DataSet | None:
    """Return what a measure reads; None when it needs nothing, or does without.

    Raises:
        NotFound: There is no measure of that name.
        BadInput: Its data are not there.
    """
    if ".py:" in name:
        return None
    known = _known(name, MEASURES, "measure")
    if not known.data or (
        known.is_optional and (places.data is None or (places.data.exists() and not has_data(known, places)))
    ):
        return None
    return data_set(name, known.data, places.data)


def origin_of(measure: str, subject: str, choices: Choices) -> dict[str, Json]:
    """Return what decides about the figures of one measure on one subject, beside its data and the version of pinyon.

    Args:
        measure: Its name.
        subject: Its name.
        choices: Those that one of them takes are named.
    """
    taken = {choice for name, table in ((measure, MEASURES), (subject, SUBJECTS)) for choice in _takes(name, table)}
    out = {name: value for name, value in choices.to_json().items() if name in taken}
    for what, name in (("measure", measure), ("subject", subject)):
        if ".py:" in name or name.endswith(".toml"):
            out[f"file of the {what}"] = file_hash(_file_of(name))
    return out


def _takes(name: str, table: tuple[Known, ...]) -> tuple[str, ...]:
    return tuple(choice for known in table if known.name == name for choice, _ in known.takes)


def _check_choices(measures: tuple[str, ...], subjects: tuple[str, ...], choices: Choices) -> None:
    for chosen in choices.to_json():
        if chosen == "writer":
            if not any(chosen in _takes(name, SUBJECTS) for name in subjects):
                raise BadInput("none of the subjects takes a writer", hint="leave --writer out, or add mem0-llm")
        elif strange := [name for name in measures if chosen not in _takes(name, MEASURES)]:
            those = ", ".join(known.name for known in MEASURES if chosen in dict(known.takes))
            raise BadInput(f"{strange[0]} takes no {chosen}", hint=f"--{chosen} is for {those}")
    for spec in (choices.reader, choices.judge):
        if spec is not None and not spec.startswith("hf:"):  # a local model is loaded where it is used
            _generator(spec)


def _chosen(choices: Choices, name: str) -> object:
    return choices.sizes if name == "sizes" else _generator(getattr(choices, name))


def _generator(spec: str) -> Generator:
    from ..models import generator_from

    return generator_from(spec, api_key=key_for(spec))


def _endpoint(spec: str | None) -> dict[str, str]:
    """Return model, address and key of an endpoint that speaks as OpenAI's does."""
    found = re.fullmatch(r"openai:(?P<model>.+?)@(?P<base_url>https?://.+)", spec or "")
    if found is None:
        said = "a rival that writes with a model needs one" if spec is None else f"{spec!r} is no endpoint"
        raise BadInput(said, hint="give --writer openai:<model>@<base_url>")
    return {**found.groupdict(), "api_key": key_for(found[0]) or "unused"}


def _known(name: str, table: tuple[Known, ...], what: str) -> Known:
    for known in table:
        if known.name == name:
            return known
    raise NotFound(f"there is no {what} {name!r}", hint=f"there are {', '.join(known.name for known in table)}")


def _interpreter(name: str, places: Places) -> Path:
    from .subjects.rival import interpreter

    if places.rivals is None:
        raise BadInput(f"{name} needs an environment of its own", hint="give the folder of environments with --rivals")
    return interpreter(places.rivals, name)


def _file_of(name: str) -> Path:
    """Return the file of a subject or measure of one's own."""
    file = Path(name.rpartition(":")[0] if ".py:" in name else name)
    if not file.is_file():
        raise NotFound(f"there is no file {str(file)!r}")
    return file


def _own(name: str) -> Callable[..., Any]:
    """Return what a file of the user's own calls so."""
    file, wanted = _file_of(name), name.rpartition(":")[2]
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise NotFound(f"there is no Python in {str(file)!r}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = getattr(module, wanted, None)
    if not callable(made):
        raise NotFound(f"{str(file)!r} defines no {wanted!r}")
    found: Callable[..., Any] = made
    return found
