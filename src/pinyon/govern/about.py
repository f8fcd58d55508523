"""What a memory holds about a person, and what makes it so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..core.clock import micros
from ..core.cube import Cube
from ..core.header import Header
from ..core.scope import check_name
from ..core.where import EVERY_STATE, View, Where
from ..store import Engine

__all__ = ["About", "Subject", "pages", "subject_cubes", "whole_view"]

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Subject:
    """A person.

    Args:
        name: As in `Scope.user`.
        aliases: Other names under which the person speaks or is spoken of.
    """

    name: str
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (self.name, *self.aliases):
            check_name(name, "subject")

    @property
    def names(self) -> frozenset[str]:
        """All names, as they are compared."""
        return frozenset(name.casefold() for name in (self.name, *self.aliases))


@dataclass(frozen=True, slots=True)
class About:
    """What a caller may see that is about a person.

    Args:
        owned: Written by the person.
        spoken: Said by the person.
        named: Named so by a tag or by ``subject`` in the metadata.
        mentions: Whose words name the person; the rest of them may be about something else.
    """

    owned: tuple[Cube, ...] = ()
    spoken: tuple[Cube, ...] = ()
    named: tuple[Cube, ...] = ()
    mentions: tuple[Cube, ...] = ()


def subject_cubes(engine: Engine, view: View, subject: Subject) -> About:
    """Return everything about a person in every space that the caller may see, each cube once, earlier versions too.

    Args:
        engine: The store.
        view: Who asks; its spaces and its filter are not looked at.
        subject: About whom.

    Cost: one pass over all cubes that the caller may see.
    """
    view = _everywhere(engine, view)
    groups: dict[str, list[Cube]] = {"owned": [], "spoken": [], "named": [], "mentions": []}
    if not view.spaces:
        return About()
    word = re.compile(rf"(?<!\w)(?:{'|'.join(re.escape(name) for name in sorted(subject.names))})(?!\w)")
    for page in pages(engine, view):
        past: dict[int, list[Cube]] = {}
        for old in engine.past([cube.row for cube in page if cube.version > 1]):
            past.setdefault(old.row, []).append(old)
        for cube in page:
            found = [_concern(each, subject, word) for each in (cube, *past.get(cube.row, ()))]
            for group, cubes in groups.items():
                if group in found:
                    cubes.append(cube)
                    break
    return About(**{group: tuple(cubes) for group, cubes in groups.items()})


def _concern(cube: Cube, subject: Subject, word: re.Pattern[str]) -> str:
    """Return in which way a version of a cube is about a person, or nothing."""
    names = subject.names
    header = cube.header
    if cube.owner.user is not None and cube.owner.user == subject.name:
        return "owned"
    if header.provenance.speaker is not None and header.provenance.speaker.casefold() in names:
        return "spoken"
    if not names.isdisjoint(_said_subjects(header)):
        return "named"
    return "mentions" if word.search(cube.text.casefold()) or word.search(_title(header)) else ""


def _said_subjects(header: Header) -> Iterator[str]:
    for tag in header.tags:
        yield tag.removeprefix("subject:").casefold()
    said = header.metadata.get("subject")
    for each in said if isinstance(said, list) else [said]:
        if isinstance(each, str):
            yield each.casefold()


def _title(header: Header) -> str:
    p = header.provenance
    return "\n".join(text for text in (p.title, p.source, p.thread, *p.section) if text).casefold()


def pages(engine: Engine, view: View) -> Iterator[list[Cube]]:
    """Yield everything of a view, oldest first, some at a time."""
    after: tuple[int, int] | None = None
    while page := engine.find(view, newest_first=False, limit=_PAGE, after=after):
        yield page
        after = (micros(page[-1].time), page[-1].row)


def whole_view(view: View) -> View:
    """Return what a caller may see in every state of its life, expired or not."""
    return replace(view, where=Where(states=EVERY_STATE), at=None, moment=None)


def _everywhere(engine: Engine, view: View) -> View:
    whole = whole_view(view)
    return replace(whole, spaces=tuple(engine.spaces(whole)))
