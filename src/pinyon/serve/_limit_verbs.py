"""The verbs that say how often callers may read and write, and bind what was made by earlier versions, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ..errors import BadInput
from ._rights_verbs import policy_shown
from .outcomes import Shown
from .verb import Given, Parameter, Verb

if TYPE_CHECKING:
    from ..core.access import RateAction
    from ..memory import Memory

__all__ = ["LIMIT_VERBS"]


def _limit(memory: Memory, given: Given) -> Shown:
    calls, is_off = given.maybe("calls", int), given.is_set("off")
    if (calls is None) != is_off:
        raise BadInput("nothing says how often, or both do", hint="give --calls N, or --off")
    per = given.text("per")
    return policy_shown(
        memory.rights.limit(
            given.text("principal"),
            cast("RateAction", given.text("action")),
            calls=calls,
            per=float(per) if per.isdecimal() else per,  # type: ignore[arg-type]  # a word that is none is refused below
            everywhere=given.is_set("everywhere"),
        )
    )


def _bind(memory: Memory, _: Given) -> Shown:
    done = memory.rights.bind()
    return Shown({"bound": done}, (f"{done} memories are bound by the rules of what they were made of now",))


LIMIT_VERBS: tuple[Verb, ...] = (
    Verb(
        "limit",
        "Say how often somebody may read or write.",
        "Each member of a group and each holder of a role counts by itself, over all sessions and processes; a call"
        " that is refused does not count. It is the last rule that is asked.",
        (
            "pinyon limit role:guest read --calls 100 --per minute --space ward",
            "pinyon limit '*' write --calls 1000 --per day --everywhere",
            "pinyon limit role:guest read --off --space ward",
        ),
        (
            Parameter("principal", "Whom: user:ann, group:care, role:guest or *", "text", "argument", is_required=True),
            Parameter("action", "What is counted", "choice", "argument", default="read", choices=("read", "write")),
            Parameter("calls", "Most calls in any such stretch of time", "integer", "option", ("--calls",), "N",
                      least=0),
            Parameter("per", "How long it is: second, minute, hour, day, or a number of seconds", "text", "option",
                      ("--per",), "TIME", "minute"),
            Parameter("everywhere", "Count all spaces together, instead of this one alone", "flag", "option",
                      ("--everywhere",)),
            Parameter("off", "End the limit", "flag", "edge", ("--off",)),
        ),
        ("pinyon.rights_desk:RightsDesk.limit",),
        _limit,
        can_create=True,
    ),
    Verb(
        "bind",
        "Let the rules of their sources hold for memories that an earlier version made of others.",
        "What is made now carries them; for the rest once is enough.",
        ("pinyon bind",),
        (),
        ("pinyon.rights_desk:RightsDesk.bind",),
        _bind,
    ),
)  # fmt: skip
"""Limit, bind."""
