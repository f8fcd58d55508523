"""Read the published files of ConvoMem; what is malformed is named and left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ..errors import UnreadableSource
from ._convomem_checks import embedding_faults
from ._convomem_items import CATEGORIES, Chat, EvidenceItem, Message, World

__all__ = ["Loaded", "read_convomem"]

_FOLDERS = {
    "user_evidence": "user_facts",
    "assistant_facts_evidence": "assistant_facts",
    "changing_evidence": "changing",
    "abstention_evidence": "abstention",
    "preference_evidence": "preferences",
    "implicit_connection_evidence": "implicit_connection",
}
"""Folder of the release to kind of question; the ``category`` inside an item is its topic."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a release holds.

    Args:
        world: Questions and filler.
        skipped: One sentence for each thing that was left out.
    """

    world: World
    skipped: tuple[str, ...]


def read_convomem(path: Path) -> Loaded:
    """Return the questions below a folder, or of one file, with the chats that serve as filler.

    A file is a JSON object with ``evidence_items`` or, as filler, with ``conversations``; or JSON lines of items. The
    kind of question is that of the folder (``user_evidence`` …), else the item's own ``category``. Chats of a person
    that hold no evidence are filler; where there are none, the evidence of a person's other questions is.

    Args:
        path: A folder or a file.

    Raises:
        UnreadableSource: There is no file, or not one sound question in it.
    """
    files = sorted(path.rglob("*.json*")) if path.is_dir() else [path]
    reading = _Reading([], {}, [])
    for file in files:
        reading.read(file, path if path.is_dir() else path.parent)
    if not reading.items:
        why = f": {reading.skipped[0]}" if reading.skipped else ""
        raise UnreadableSource(f"no question of ConvoMem in {path.name!r}{why}", hint="give the folder of the release")
    return Loaded(World(tuple(reading.items), reading.fillers()), tuple(reading.skipped))


@dataclass(slots=True)
class _Reading:
    items: list[EvidenceItem]
    filler: dict[str, list[Chat]]
    skipped: list[str]

    def read(self, file: Path, root: Path) -> None:
        name = file.relative_to(root).as_posix()
        category = next((_FOLDERS[part] for part in file.parts if part in _FOLDERS), "")
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self.skipped.append(f"{name}: {error}")
            return
        for place, entry in self._entries(text, name):
            try:
                self._take(entry, f"{name}#{place}", category)
            except (KeyError, TypeError, ValueError) as error:
                self.skipped.append(f"{name}, item {place}: {type(error).__name__}: {error}")

    def _entries(self, text: str, name: str) -> Iterator[tuple[int, object]]:
        try:
            whole = json.loads(text)
        except ValueError:
            yield from self._lines(text, name)
            return
        if not isinstance(whole, Mapping):
            yield from enumerate(whole if isinstance(whole, list) else [whole], 1)
            return
        for key in ("evidence_items", "evidenceItems"):
            if isinstance(whole.get(key), list):
                yield from enumerate(whole[key], 1)
                return
        yield 1, whole

    def _lines(self, text: str, name: str) -> Iterator[tuple[int, object]]:
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except ValueError as error:
                    self.skipped.append(f"{name}, line {number}: {error}")

    def _take(self, entry: object, id: str, category: str) -> None:
        data = _object(entry)
        person = str(data.get("personId") or "anyone")
        chats = tuple(_chat(each, f"{id}-{n}", person) for n, each in enumerate(_list(data, "conversations")))
        if "question" not in data:
            self.filler.setdefault(person, []).extend(chats)
            return
        item = EvidenceItem(
            id,
            person,
            category or str(data["category"]),
            _text(data, "question"),
            str(data["answer"]),  # numbers occur
            tuple(_message(each) for each in _list(data, "message_evidences")),
            chats,
        )
        if item.category not in CATEGORIES:
            raise ValueError(f"there is no kind of question {item.category!r}")
        if faults := embedding_faults(item):
            raise ValueError(faults[0])
        self.items.append(item)

    def fillers(self) -> dict[str, tuple[Chat, ...]]:
        """Return what a person's questions are hidden in."""
        others: dict[str, list[Chat]] = {}
        for item in self.items:
            others.setdefault(item.person, []).extend(item.chats)
        return {person: tuple(self.filler.get(person) or chats) for person, chats in others.items()}


def _object(entry: object) -> Mapping[str, object]:
    if not isinstance(entry, Mapping):
        raise TypeError(f"expected an object, got {type(entry).__name__}")
    return cast("Mapping[str, object]", entry)


def _list(data: Mapping[str, object], name: str) -> list[object]:
    found = data[name]
    if not isinstance(found, list):
        raise TypeError(f"{name} is no list")
    return found


def _text(data: Mapping[str, object], name: str) -> str:
    found = data[name]
    if not isinstance(found, str) or not found.strip():
        raise ValueError(f"{name} is empty or no text")
    return found


def _message(entry: object) -> Message:
    data = _object(entry)
    speaker = _text(data, "speaker")
    return Message(speaker.capitalize() if speaker.lower() in ("user", "assistant") else speaker, _text(data, "text"))


def _chat(entry: object, id: str, person: str) -> Chat:
    data = _object(entry)
    return Chat(id, person, tuple(_message(each) for each in _list(data, "messages")))
