"""The verbs that say who may do what, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from ..errors import BadInput
from . import _later
from .outcomes import Shown
from .verb import Given, Parameter, Verb

if TYPE_CHECKING:
    from ..core.access import Action, Policy
    from ..core.cube import Cube
    from ..govern.redact import Mode, RedactionRule
    from ..memory import Memory

__all__ = ["RIGHTS_VERBS", "policy_shown"]

_LISTS = ("read", "write", "share", "freeze", "deny", "reach", "purposes", "tasks", "labels")
_MINUTES_A_DAY = 24 * 60


def _show(memory: Memory, _: Given) -> Shown:
    return policy_shown(memory.rights.policy())


def _report(memory: Memory, given: Given) -> Shown:
    found = memory.rights.report(since=given.moment("since"), until=given.moment("until"))
    data = [_later.revision_to_json(each) for each in found]
    return Shown(cast("Any", data), tuple(map(str, found)) or ("nobody gained or lost anything",))


def _group(memory: Memory, given: Given) -> Shown:
    return policy_shown(memory.rights.group(given.text("name"), add=given.texts("add"), remove=given.texts("remove")))


def _role(memory: Memory, given: Given) -> Shown:
    return policy_shown(memory.rights.role(given.text("name"), add=given.texts("add"), remove=given.texts("remove")))


def _clear(memory: Memory, given: Given) -> Shown:
    return policy_shown(
        memory.rights.clear(given.text("principal"), add=given.texts("add"), remove=given.texts("remove"))
    )


def _grant(memory: Memory, given: Given) -> Shown | Cube:
    lists = {name: given.texts(name) for name in _LISTS}
    hours = given.maybe("hours", str)
    if not any(lists.values()) and hours is None and not given.values.get("opens") and not given.values.get("closes"):
        raise BadInput("nothing says what to grant", hint="give --read, --write, --share, --freeze, --deny …")
    result = memory.rights.grant(
        given.maybe("id", str),
        **lists,  # type: ignore[arg-type]  # names of its parameters
        opens=given.moment("opens"),
        closes=given.moment("closes"),
        hours=None if hours is None else _hours(hours),
    )
    return _given(result)


def _revoke(memory: Memory, given: Given) -> Shown | Cube:
    lists = {name: given.texts(name) for name in _LISTS}
    result = memory.rights.revoke(given.maybe("id", str), **lists, times=given.is_set("times"))  # type: ignore[arg-type]  # names of its parameters
    return _given(result)


def _open_space(memory: Memory, _: Given) -> Shown:
    return policy_shown(memory.rights.open_space())


def _close_others(memory: Memory, given: Given) -> Shown:
    return policy_shown(memory.rights.close_others(given.is_set("is_closed")))


def _may(memory: Memory, given: Given) -> Shown:
    action = cast("Action", given.text("action"))
    whom = given.maybe("whom", str)
    decision = memory.rights.decide(given.text("id"), action, **({} if whom is None else {"user": whom}))
    verdict = "allowed" if decision.allowed else "denied"
    return Shown({"allowed": decision.allowed, "rule": decision.rule}, (f"{verdict} by the rule {decision.rule!r}",))


def _redact(memory: Memory, given: Given) -> Shown:
    kind, mode = given.maybe("kind", str), given.maybe("mode", str)
    rules = memory.rights.redaction()
    if kind is None:
        return _redaction(rules)
    kept = [rule for rule in rules if rule.kind != kind]
    if mode == "off":
        return _redaction(memory.rights.redact(kept))
    rule = _later.RedactionRule(
        kind,
        cast("Mode", mode or "mask"),
        given.maybe("pattern", str),
        given.maybe("keep_last", int) or 0,
        given.is_set("has_pseudonyms"),
    )
    return _redaction(memory.rights.redact([*kept, rule]))


def _redaction(rules: Sequence[RedactionRule]) -> Shown:
    data = [{"kind": rule.kind, "mode": rule.mode, "pattern": rule.pattern} for rule in rules]
    lines = [f"{rule.kind}: {rule.mode}" + (f"  {rule.pattern}" if rule.pattern else "") for rule in rules]
    return Shown(cast("Any", data), tuple(lines) or ("nothing is redacted",))


def _given(result: Cube | Policy) -> Shown | Cube:
    return policy_shown(result) if isinstance(result, _later.Policy) else result


def policy_shown(policy: Policy) -> Shown:
    """Return what is ruled, for people and for machines."""
    said = _later.policy_to_json(policy)
    lines: list[str] = []
    for what, title in (("groups", "group"), ("roles", "role"), ("clearances", "cleared")):
        lines += [
            f"{title} {name}: {', '.join(values)}"
            for name, values in cast("dict[str, list[str]]", said.get(what, {})).items()
        ]
    for name, rights in cast("dict[str, dict[str, object]]", said.get("spaces", {})).items():
        lines += [f"space {name}: {key} {_value(value)}" for key, value in rights.items()]
    lines += [
        f"limit {each.principal}: {each.calls} {each.action}s in {each.per_s} seconds, "
        + ("all spaces together" if each.space is None else f"space {each.space}")
        for each in policy.limits
    ]
    if policy.is_closed:
        lines.append("spaces without rights of their own admit owners alone")
    return Shown(said, tuple(lines) or ("nothing is ruled: what nobody owns, everyone of the tenant reads and writes",))


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _hours(text: str) -> tuple[int, int]:
    """Read ``09:00-17:30`` as minutes of the day."""
    start, found, end = text.partition("-")
    try:
        if not found:
            raise ValueError(text)
        return _minute(start), _minute(end)
    except ValueError as error:
        raise BadInput(f"{text!r} are no hours of a day", hint="write 09:00-17:30, in UTC") from error


def _minute(text: str) -> int:
    hour, _, minute = text.strip().partition(":")
    value = int(hour) * 60 + int(minute or 0)
    if not 0 <= value <= _MINUTES_A_DAY or not 0 <= int(minute or 0) < 60:
        raise ValueError(text)
    return value


def _names(name: str, help: str, flag: str, shown: str = "PRINCIPAL") -> Parameter:
    return Parameter(name, help, "text", "option", (flag,), shown, is_many=True)


_CUBE = Parameter("id", "Id of one memory, or at least its first four characters; the space when not given", "text",
                  "argument")  # fmt: skip
_RIGHTS = (
    _names("read", "Who may read: user:ann, agent:bot, session:s1, group:care, role:auditor or *", "--read"),
    _names("write", "Who may add, change, archive and forget", "--write"),
    _names("share", "Who may change the rights of single memories", "--share"),
    _names("freeze", "Who may freeze and thaw", "--freeze"),
    _names("deny", "Who may do nothing, whatever else they hold", "--deny"),
    _names("reach", "Whose rights to the space extend to what others own in it", "--reach"),
    _names("purposes", "Purpose that must be stated, one of these", "--for-purpose", "NAME"),
    _names("tasks", "Task that one must be at, one of these", "--for-task", "NAME"),
    _names("labels", "Label of sensitivity, for which all but the owner must be cleared", "--label", "NAME"),
)
_CHANGE = (
    _names("add", "Principal to add: user:ann, agent:bot, group:care …", "--add"),
    _names("remove", "Principal to remove", "--remove"),
)
_LABELS = (
    _names("add", "Label it may see", "--add", "LABEL"),
    _names("remove", "Label it may see no longer", "--remove", "LABEL"),
)

RIGHTS_VERBS: tuple[Verb, ...] = (
    Verb(
        "rights",
        "Show what is ruled: groups, roles, clearances, rights to spaces, limits.",
        "",
        ("pinyon rights", "pinyon rights --json"),
        (),
        ("pinyon.rights_desk:RightsDesk.policy",),
        _show,
    ),
    Verb(
        "rights-report",
        "Show who gained and lost what, when, and by whom.",
        "It is made from the journal: what really changed in the rules of the tenant and in the rights of single"
        " memories, and what came or went with a group or role.",
        ("pinyon rights-report --since 2024-05-01", "pinyon rights-report --json"),
        (
            Parameter("since", "Earliest time", "moment", "option", ("--since",), "TIME"),
            Parameter("until", "Latest time, exclusive", "moment", "option", ("--until",), "TIME"),
        ),
        ("pinyon.rights_desk:RightsDesk.report",),
        _report,
    ),
    Verb(
        "grant",
        "Give rights to one memory, or to the space.",
        "From its first rights on, a space denies what is not given. Denials, purposes, tasks and times bind everybody,"
        " even the owner; labels bind all but the owner.",
        (
            "pinyon grant --space ward --read group:care --write role:nurse",
            "pinyon grant 3f9a1c2b --read user:bob --for-purpose care",
        ),
        (
            _CUBE,
            *_RIGHTS,
            Parameter("opens", "Nobody uses it before", "moment", "option", ("--opens",), "TIME"),
            Parameter("closes", "Nobody uses it from then on", "moment", "option", ("--closes",), "TIME"),
            Parameter("hours", "Hours of the UTC day in which it may be used, as 09:00-17:30", "text", "option",
                      ("--hours",), "HOURS"),
        ),
        ("pinyon.rights_desk:RightsDesk.grant",),
        _grant,
        can_create=True,
    ),
    Verb(
        "revoke",
        "Take rights to one memory, or to the space, back.",
        "",
        ("pinyon revoke --space ward --read group:care", "pinyon revoke 3f9a1c2b --times"),
        (
            _CUBE,
            *_RIGHTS,
            Parameter("times", "Take away the moments and hours it is bound to", "flag", "option", ("--times",)),
        ),
        ("pinyon.rights_desk:RightsDesk.revoke",),
        _revoke,
    ),
    Verb(
        "group",
        "Change who belongs to a group.",
        "",
        ("pinyon group care --add user:ann --add group:nurses",),
        (Parameter("name", "Of the group", "text", "argument", is_required=True), *_CHANGE),
        ("pinyon.rights_desk:RightsDesk.group",),
        _group,
        can_create=True,
    ),
    Verb(
        "role",
        "Change who holds a role.",
        "As soon as the role admin has a holder, only its holders change groups, roles, clearances and rights to"
        " spaces.",
        ("pinyon role admin --add user:root", "pinyon role auditor --add user:eve"),
        (Parameter("name", "Of the role", "text", "argument", is_required=True), *_CHANGE),
        ("pinyon.rights_desk:RightsDesk.role",),
        _role,
        can_create=True,
    ),
    Verb(
        "clear",
        "Change which labels of sensitivity somebody may see.",
        "With the first clearance all labels begin to close.",
        ("pinyon clear role:doctor --add health",),
        (Parameter("principal", "Whom: user:ann, role:doctor …", "text", "argument", is_required=True), *_LABELS),
        ("pinyon.rights_desk:RightsDesk.clear",),
        _clear,
        can_create=True,
    ),
    Verb(
        "open",
        "Take all rights from the space, which opens it to everyone of the tenant again.",
        "",
        ("pinyon open --space ward",),
        (),
        ("pinyon.rights_desk:RightsDesk.open_space",),
        _open_space,
    ),
    Verb(
        "close",
        "Let spaces without rights of their own admit owners alone.",
        "",
        ("pinyon close", "pinyon close --undo"),
        (Parameter("is_closed", "Open them again", "flag", "option", ("--undo",), default=True),),
        ("pinyon.rights_desk:RightsDesk.close_others",),
        _close_others,
        can_create=True,
    ),
    Verb(
        "redact",
        "Say what is labelled, covered or refused in everything that is added from now on.",
        "Kinds are email, card, iban, key, ip, and with the extra govern phone and national_id; any other name needs a"
        " pattern. Without a kind it shows the rules. What is stored already is not looked at again.",
        (
            "pinyon redact",
            "pinyon redact email mask",
            "pinyon redact card mask --keep-last 4",
            "pinyon redact key block",
            "pinyon redact ticket tag --pattern 'TK-[0-9]{6}'",
            "pinyon redact email off",
        ),
        (
            Parameter("kind", "What", "text", "argument"),
            Parameter("mode", "Label the memory, cover what was found, refuse what is added, or end the rule", "choice",
                      "argument", choices=("tag", "mask", "block", "off")),
            Parameter("pattern", "Regular expression of your own", "text", "option", ("--pattern",), "EXPRESSION"),
            Parameter("keep_last", "Characters left standing at the end of what is covered", "integer", "option",
                      ("--keep-last",), "N", 0, least=0, most=4),
            Parameter("has_pseudonyms", "Keep a short keyed hash of what is covered", "flag", "option",
                      ("--pseudonyms",)),
        ),
        ("pinyon.govern.redact:RedactionRule", "pinyon.rights_desk:RightsDesk.redact",
         "pinyon.rights_desk:RightsDesk.redaction"),
        _redact,
        can_create=True,
    ),
    Verb(
        "may",
        "Say whether somebody may do something with a memory, and which rule says so.",
        "",
        ("pinyon may 3f9a1c2b write --whom bob",),
        (
            Parameter("id", "Id of a memory, or at least its first four characters", "text", "argument",
                      is_required=True),
            Parameter("action", "What", "choice", "argument", default="read",
                      choices=("read", "write", "share", "freeze")),
            Parameter("whom", "User of whom it is asked; the caller when not given", "text", "edge", ("--whom",),
                      "NAME"),
        ),
        ("pinyon.rights_desk:RightsDesk.decide",),
        _may,
    ),
)  # fmt: skip
"""Rights, grant, revoke, group, role, clear, open, close, may."""
