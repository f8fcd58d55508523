"""How a cube is introduced: the words before its text, for indexes and for prompts."""

from __future__ import annotations

from datetime import datetime

from .cube import Cube

__all__ = ["day_of", "introduction"]


def day_of(moment: datetime) -> str:
    """Return a day as people write it.

    Example:
        >>> from datetime import UTC
        >>> day_of(datetime(2023, 5, 8, tzinfo=UTC))
        '8 May 2023'
    """
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"


_MONTHS = (
    "January February March April May June July August September October November December".split()
)  # not strftime, which follows the locale


def introduction(cube: Cube) -> str:
    """Return "[date, session] speaker: " of a turn, "[title > heading]" of a chunk, or an empty text.

    The date is that of the event; a cube without one shows none, because the day it was recorded says nothing about
    what it tells.
    """
    p = cube.header.provenance
    moment = cube.header.life.valid_from
    about: list[str] = [] if moment is None else [day_of(moment)]
    if p.unit == "turn":
        about.extend([] if cube.owner.session is None else [cube.owner.session])
    else:
        trail = [*([p.title] if p.title and p.title not in p.section[:1] else []), *p.section]
        about.extend([" > ".join(trail)] if trail else [])
    head = f"[{', '.join(about)}] " if about else ""
    speaker = p.speaker or p.role
    whole = f"{head}{speaker}: " if speaker else head
    return whole if whole.isprintable() else f"{' '.join(whole.split())} "  # no name begins a passage of its own
