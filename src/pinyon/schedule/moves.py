"""The life of a cube as a table: which states there are, and what leads from one to another.

Source: MemOS (arXiv 2507.03724) §5.2 and §5.4.3 name the states; the table of moves, the triggers and their defaults
are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from ..core.access import Action
from ..core.cube import Cube
from ..core.header import Life, State_
from ..errors import Conflict

__all__ = ["LIVE", "MOVES", "STATES", "Move", "Trigger", "life_after", "move_for"]

Trigger = Literal[
    "write", "used", "activate", "overlap", "merge", "unmerge", "idle", "capacity", "supersede", "archive", "restore",
    "ttl", "age", "expire", "freeze", "thaw", "rule_archive", "rule_expire", "rule_forget", "purge", "forget",
]  # fmt: skip
"""What moves a cube from one state to another."""

STATES: tuple[State_, ...] = get_args(State_)
LIVE: tuple[State_, ...] = ("generated", "activated", "merged")
"""States in which a cube is at work and may change."""
_STANDING: tuple[State_, ...] = (*LIVE, "archived")
_THAWED: tuple[State_, ...] = (*_STANDING, "expired")


@dataclass(frozen=True, slots=True)
class Move:
    """One legal move.

    Args:
        before: States from which it leads; None where there is no cube yet.
        after: State to which it leads; None where no cube remains, ``previous`` for the state before it was frozen.
        trigger: What causes it.
        automatic: Whether it happens by itself; else somebody asks for it.
        right: What whoever asks must be allowed to do.
    """

    before: tuple[State_ | None, ...]
    after: State_ | Literal["previous"] | None
    trigger: Trigger
    automatic: bool = False
    right: Action = "write"


MOVES: tuple[Move, ...] = (
    Move((None,), "generated", "write"),
    Move((None,), "merged", "overlap"),
    Move(("generated", "merged"), "activated", "used", automatic=True),
    Move(("generated", "merged", "archived"), "activated", "activate"),
    Move(("generated", "activated"), "archived", "merge"),
    Move(("activated", "merged"), "archived", "unmerge"),
    Move(LIVE, "archived", "idle", automatic=True),
    Move(LIVE, "archived", "capacity", automatic=True),
    Move(LIVE, "archived", "supersede", automatic=True),
    Move(LIVE, "archived", "rule_archive", automatic=True),
    Move(LIVE, "archived", "archive"),
    Move(("archived",), "activated", "restore"),
    Move(_STANDING, "expired", "ttl", automatic=True),
    Move(("archived",), "expired", "age", automatic=True),
    Move(_STANDING, "expired", "rule_expire", automatic=True),
    Move(_STANDING, "expired", "expire"),
    Move(_STANDING, "frozen", "freeze", right="freeze"),
    Move(("frozen",), "previous", "thaw", right="freeze"),
    Move(("expired",), None, "purge", automatic=True),
    Move(_THAWED, None, "rule_forget", automatic=True),
    Move(_THAWED, None, "forget"),
)
"""Every legal move; what is not here does not happen."""

_BY_TRIGGER: dict[Trigger, Move] = {move.trigger: move for move in MOVES}
_DONE: dict[Trigger, str] = {
    "used": "activated by use",
    "activate": "activated",
    "merge": "merged into another",
    "unmerge": "taken apart",
    "idle": "archived as idle",
    "capacity": "archived for want of room",
    "supersede": "superseded",
    "archive": "archived",
    "restore": "restored",
    "ttl": "expired by its time",
    "age": "expired by age",
    "expire": "expired",
    "freeze": "frozen",
    "thaw": "thawed",
    "rule_archive": "archived by a rule",
    "rule_expire": "expired by a rule",
    "rule_forget": "forgotten by a rule",
    "purge": "purged",
    "forget": "forgotten",
}


def move_for(trigger: Trigger) -> Move:
    """Return the move of a trigger."""
    return _BY_TRIGGER[trigger]


def life_after(cube: Cube, trigger: Trigger) -> Life:
    """Return the life of a cube after a move that leaves it there.

    Raises:
        Conflict: The move is not legal from the state it is in.
    """
    life = cube.header.life
    move = _BY_TRIGGER[trigger]
    if life.state not in move.before or move.after is None:
        raise Conflict(
            f"cube {cube.id!r} is {life.state} and cannot be {_DONE.get(trigger, trigger)}",
            hint=_next_step(life.state, move),
        )
    if move.after == "previous":
        return replace(life, state=life.thaws_to or "generated", thaws_to=None)
    if move.after == "frozen":
        return replace(life, state="frozen", thaws_to=life.state)
    back = move.after == "activated" and life.state == "archived"
    return replace(life, state=move.after, superseded_by=None if back else life.superseded_by)


def _next_step(state: State_, move: Move) -> str:
    if state == "frozen":
        return "thaw it first"
    if state == "archived" and "activated" in move.before:
        return "restore it first"
    states = ", ".join(str(each) for each in move.before if each is not None)
    return f"possible from {states}" if states else ""
