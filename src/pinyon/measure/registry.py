"""Names of measures and subjects, as a command line has them; what a name stands for is imported when it is used."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, NotFound

if TYPE_CHECKING:
    from .session import Measure
    from .subject import Subject

__all__ = ["MEASURES", "NOWHERE", "SUBJECTS", "Known", "Places", "measure_called", "subject_called"]


@dataclass(frozen=True, slots=True)
class Places:
    """Where things lie.

    Args:
        data: Folder of the question sets, or None.
        rivals: Folder of the rivals' environments, or None.
    """

    data: Path | None = None
    rivals: Path | None = None


NOWHERE = Places()
"""For measures that need no data, and subjects that need no environment."""


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
    """

    name: str
    help: str
    module: str
    make: str
    data: str = ""
    options: tuple[tuple[str, object], ...] = ()
    is_optional: bool = False

    def made(self, *arguments: object, **more: object) -> Any:
        """Import it and make one."""
        module = importlib.import_module(f".{self.module}", __package__)
        return getattr(module, self.make)(*arguments, **{**dict(self.options), **more})


_LOCOMO = "locomo/*.json"

MEASURES: tuple[Known, ...] = (
    Known("locomo", "Evidence in long conversations, each searched alone", "locomo_recall", "LoCoMo", _LOCOMO),
    Known(
        "locomo-merged", "Evidence in long conversations, all in one space", "locomo_recall", "LoCoMo", _LOCOMO,
        (("is_merged", True), ("name", "locomo-merged")),
    ),
    Known("needles", "Facts hidden at depths of a long text", "needles", "Needles"),
    Known("planted", "Facts planted in a conversation and asked for at delays", "planted", "Planted",
          "dailydialog/*.jsonl", is_optional=True),
    Known("sort", "Which of two segments of a book came first", "sort", "Sort", "books", is_optional=True),
    Known("convomem", "Evidence among up to 300 conversations, in six categories", "convomem", "ConvoMem",
          "convomem", is_optional=True),
    Known("prefeval", "Is a preference respected much later", "prefeval", "PrefEval", "prefeval"),
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
        Known(name, f"Rival: {title}", "subjects.rival", "Rival")
        for name, title in (
            ("mem0", "mem0 without a model"), ("langgraph", "LangGraph's store in memory"),
            ("llamaindex", "LlamaIndex's vector index"), ("chroma", "Chroma"), ("lancedb", "LanceDB"),
            ("memos", "MemOS's general text memory"),
        )
    ),
)  # fmt: skip
"""Every subject, in the order in which they are listed."""


def measure_called(name: str, places: Places) -> Measure:
    """Return a measure by its name, or by ``file.py:name`` of one's own.

    Raises:
        NotFound: There is none of that name.
        BadInput: It needs data that are not there.
    """
    if ".py:" in name:
        made: Measure = _own(name)()
        return made
    known = _known(name, MEASURES, "measure")
    if not known.data:
        plain: Measure = known.made()
        return plain
    if known.is_optional and not has_data(known, places):
        bare: Measure = known.made()
        return bare
    found: Measure = known.made(_data_of(known, places))
    return found


def subject_called(name: str, folder: Path, places: Places) -> Subject:
    """Return a fresh subject by its name, by ``server.toml`` that describes one, or by ``file.py:name`` of one's own.

    Args:
        name: As in `SUBJECTS`, or a file.
        folder: Where it may write; made when it is not there.
        places: Where the rivals lie.

    Raises:
        NotFound: There is none of that name.
        MissingExtra: The environment of a rival has not been made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if ".py:" in name:
        make = _own(name)
        own: Subject = make(folder) if inspect.signature(make).parameters else make()
        return own
    if name.endswith(".toml"):
        from .subjects.server import Server, read_description

        return Server(read_description(Path(name)))
    known = _known(name, SUBJECTS, "subject")
    made: Subject
    if known.make == "Rival":
        from .subjects.rival import interpreter

        made = known.made(name, interpreter(places.rivals or _no_rivals(name), name), folder)
    else:
        made = known.made(folder) if known.module == _PINYON else known.made()
    return made


def check(measures: tuple[str, ...], subjects: tuple[str, ...], places: Places) -> None:
    """Look at once whether everything that will be needed is there.

    Raises:
        NotFound: There is no measure or subject of that name.
        BadInput: Data are missing.
        MissingExtra: The environment of a rival has not been made.
    """
    for name in measures:
        if ".py:" in name:
            continue
        known = _known(name, MEASURES, "measure")
        if known.data and not known.is_optional:
            _data_of(known, places)
    for name in subjects:
        if ".py:" not in name and not name.endswith(".toml") and _known(name, SUBJECTS, "subject").make == "Rival":
            from .subjects.rival import interpreter

            interpreter(places.rivals or _no_rivals(name), name)


def has_data(known: Known, places: Places) -> bool:
    """Return whether a measure has its data, or needs none."""
    return not known.data or (places.data is not None and next(iter(places.data.glob(known.data)), None) is not None)


def _known(name: str, table: tuple[Known, ...], what: str) -> Known:
    for known in table:
        if known.name == name:
            return known
    raise NotFound(f"there is no {what} {name!r}", hint=f"there are {', '.join(known.name for known in table)}")


def _data_of(known: Known, places: Places) -> Path:
    if places.data is None:
        raise BadInput(f"{known.name} needs data", hint="give their folder with --data")
    found = sorted(places.data.glob(known.data))
    if not found:
        raise BadInput(
            f"{known.name} needs {known.data!r} in {str(places.data)!r}", hint="docs/guides/measure.md says from where"
        )
    return found[0]


def _no_rivals(name: str) -> Path:
    raise BadInput(f"{name} needs an environment of its own", hint="give the folder of environments with --rivals")


def _own(name: str) -> Callable[..., Any]:
    """Return what a file of the user's own calls so."""
    file, _, wanted = name.rpartition(":")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None or not Path(file).is_file():
        raise NotFound(f"there is no file {file!r}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = getattr(module, wanted, None)
    if not callable(made):
        raise NotFound(f"{file!r} defines no {wanted!r}")
    found: Callable[..., Any] = made
    return found
