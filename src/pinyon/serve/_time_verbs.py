"""The verbs that look back, go back and try out, as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import BadInput, NotFound
from . import _later
from .outcomes import Shown
from .verb import FILTERS, ID, Given, Parameter, Verb

if TYPE_CHECKING:
    from ..core.cube import Cube
    from ..core.events import EventOp
    from ..govern.receipts import Receipt
    from ..memory import Memory
    from ..past import LogLine, MergePolicy

__all__ = ["TIME_VERBS", "shown_line"]

_ID_SHOWN = 10  # as lists of memories show them
_OPS = ("create", "append", "merge", "overwrite", "convert", "restore", "state", "forget", "policy")


def _log(memory: Memory, given: Given) -> Shown:
    lines = list(
        memory.log(
            limit=given.integer("limit"),
            since=given.moment("since"),
            until=given.moment("until"),
            op=cast("EventOp | None", given.maybe("op", str)),
            mine=given.is_set("mine"),
        )
    )
    return Shown([_entry(line) for line in lines], tuple(map(_line, lines)) or ("nothing was done here",))


def shown_line(line: LogLine) -> Shown:
    """Return one entry of the journal as it is shown alone."""
    return Shown(_entry(line), (_line(line),))


def _entry(line: LogLine) -> dict[str, Any]:
    return {
        "time": line.time.isoformat(),
        "op": line.op,
        "actor": line.actor.given,
        "space": line.space,
        "cube": line.cube,
        "version": line.version,
        "detail": dict(line.detail),
    }


def _line(line: LogLine) -> str:
    who = line.actor.user or line.actor.agent or "somebody"
    what = f"{line.cube[:_ID_SHOWN]} v{line.version}" if line.version else line.cube[:_ID_SHOWN] or line.space
    said = ", ".join(f"{key} {value}" for key, value in line.detail.items() if key not in ("hash", "sha256"))
    return f"{line.time:%Y-%m-%d %H:%M:%S}  {line.op:<9}  {what}  by {who}" + (f"  ({said})" if said else "")


def _diff(memory: Memory, given: Given) -> Shown:
    moment = given.moment("since")
    found = memory.diff(cast("Any", moment), given.moment("until"), where=given.where())
    pairs = (("changed", found.changed), ("moved", found.moved))
    data: dict[str, Any] = {
        "created": [_later.cube_to_json(cube) for cube in found.created],
        "gone": [_later.cube_to_json(cube) for cube in found.gone],
    }
    data |= {
        name: [{"before": _later.cube_to_json(a), "after": _later.cube_to_json(b)} for a, b in two]
        for name, two in pairs
    }
    lines = [f"+ {_short(cube)}" for cube in found.created]
    for old, new in found.changed:
        lines += [f"- {_short(old)}", f"+ {_short(new)}"]
    lines += [f"~ {_short(new)}  ({old.header.life.standing} → {new.header.life.standing})" for old, new in found.moved]
    lines += [f"- {_short(cube)}" for cube in found.gone]
    return Shown(data, tuple(lines) or ("nothing changed",))


def _short(cube: Cube) -> str:
    words = " ".join(cube.text.split())
    return f"{cube.id[:_ID_SHOWN]}  {words[:100]}{'…' if len(words) > 100 else ''}"


def _undo(memory: Memory, given: Given) -> Shown:
    undone = memory.undo(steps=given.integer("steps"))
    data: dict[str, Any] = {
        "ops": list(undone.ops),
        "cubes": [_later.cube_to_json(cube) for cube in undone.cubes],
        "kept": list(undone.kept),
        "reasons": list(undone.reasons),
    }
    lines = [f"undid {', '.join(undone.ops)}", *(_short(cube) for cube in undone.cubes)]
    kept = zip(undone.kept, undone.reasons, strict=True)
    lines += [f"{id[:_ID_SHOWN]} {reason}, and stays as it is" for id, reason in kept]
    return Shown(data, tuple(lines))


def _rollback(memory: Memory, given: Given) -> Cube:
    return memory.rollback(given.text("id"), given.integer("version"))


def _branch(memory: Memory, given: Given) -> Shown:
    made = memory.branch(given.text("into"), moment=given.moment("moment"))
    data: dict[str, Any] = {"space": made.space, "at": made.at, "cubes": made.cubes, "left_out": made.left_out}
    left = f"; {made.left_out} were left out, because the caller may not write as their owner" if made.left_out else ""
    return Shown(data, (f"the space {made.space!r} holds {made.cubes} memories as of entry {made.at}{left}",))


def _merge_branch(memory: Memory, given: Given) -> Shown:
    merged = memory.merge_branch(given.text("branch"), policy=cast("MergePolicy", given.text("policy")))
    conflicts = [{"cube": c.cube, "copy": c.copy, "reason": c.reason, "kept": c.kept} for c in merged.conflicts]
    data: dict[str, Any] = {
        "created": [cube.id for cube in merged.created],
        "updated": [cube.id for cube in merged.updated],
        "unchanged": merged.unchanged,
        "conflicts": conflicts,
    }
    lines = [f"{len(merged.created)} created, {len(merged.updated)} updated, {merged.unchanged} unchanged"]
    lines += [f"{c.cube[:_ID_SHOWN]}: {c.reason} there, kept {c.kept}" for c in merged.conflicts]
    return Shown(data, tuple(lines))


def _verify(memory: Memory, given: Given) -> Shown:
    archives = [Path(name).expanduser() for name in given.texts("archives")]
    receipts = [_receipt(Path(name).expanduser()) for name in given.texts("receipts")]
    heads = given.texts("heads")
    found = memory.verify(archives=archives, receipts=receipts, heads=heads)
    repaired: list[str] = []
    if given.is_set("repair"):
        for problem in found.problems:
            if problem.repair is not None:
                memory.repair(problem)
                repaired.append(problem.message)
        found = memory.verify(archives=archives, receipts=receipts, heads=heads) if repaired else found
    lines = [f"repaired: {message}" for message in repaired]
    lines += [f"{problem.severity}: {problem.message}" for problem in found.problems]
    if any(problem.repair is not None for problem in found.problems):
        lines.append("`pinyon verify --repair` makes again what is derived; what is sealed is not touched")
    looked = ", ".join(f"{number} {what}" for what, number in found.checked.items())
    lines.append(
        f"{'sound' if found.is_sound else 'not sound'}: looked at {looked}; the journal follows to {found.sound}"
    )
    lines.append(f"head {found.head}")
    data: dict[str, Any] = {**_later.verified_to_json(found), "repaired": repaired}
    return Shown(data, tuple(lines), found.is_sound)


def _receipt(path: Path) -> Receipt:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise NotFound(f"{str(path)!r} cannot be opened: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"{str(path)!r} is no text", hint="give a file of `forget --receipt`") from error
    try:
        return _later.receipt_from_json(json.loads(text))
    except ValueError as error:
        raise BadInput(
            f"{str(path)!r} is no receipt that can be read", hint="give a file of `forget --receipt`"
        ) from error


TIME_VERBS: tuple[Verb, ...] = (
    Verb(
        "log",
        "Show what was done, the latest first.",
        "Entries of memories that the caller may not read are left out. With --as-of, any verb that reads answers as it"
        " would have answered then.",
        ("pinyon log --limit 20", "pinyon log --op forget --mine", "pinyon log --follow"),
        (
            Parameter("limit", "Most lines", "integer", "option", ("--limit",), "N", 50, least=1),
            Parameter("since", "Only from this moment on", "moment", "option", ("--since",), "TIME"),
            Parameter("until", "Only up to this moment", "moment", "option", ("--until",), "TIME"),
            Parameter("op", "Only this", "choice", "option", ("--op",), choices=_OPS),
            Parameter("mine", "Only what the caller did", "flag", "option", ("--mine",)),
            Parameter("follow", "Go on, and show what is done as soon as it is; until interrupted", "flag", "edge",
                      ("--follow", "-f")),
        ),
        ("pinyon.timeline:Timeline.log", "pinyon.following:Following.follow"),
        _log,
    ),
    Verb(
        "diff",
        "Show what changed between two moments.",
        "",
        ("pinyon diff 2024-05-01", "pinyon diff 2024-05-01 --to 2024-06-01 --json"),
        (
            Parameter("since", "The first", "moment", "argument", shown="TIME", is_required=True),
            Parameter("until", "The second; now when not given", "moment", "option", ("--to",), "TIME"),
            *(filter for filter in FILTERS if filter.name not in ("since", "until")),
        ),
        ("pinyon.timeline:Timeline.diff",),
        _diff,
    ),
    Verb(
        "verify",
        "Walk the journal's chain, hash everything again, and look at rules, audit and index.",
        "Says what is wrong and how bad it is: damage to what was written, or to what is derived from it. With --repair"
        " what is derived is made again; what is sealed is never touched. Its last line is the head of the journal:"
        " kept elsewhere and given again with --head, it shows an end that was cut off or a history written anew.",
        (
            "pinyon verify",
            "pinyon verify backup.pinyon --receipt receipt.json",
            "pinyon verify --head 41:9f2c…",
            "pinyon verify --repair",
        ),
        (
            Parameter("archives", "Archives to look at, too", "file", "argument", shown="FILE", is_many=True),
            Parameter("receipts", "Receipt of forgetting to look at, too; give it again for more", "file", "option",
                      ("--receipt",), "FILE", is_many=True),
            Parameter("heads", "Head of the journal that was printed before, which it must still hold; give it again"
                      " for more", "text", "option", ("--head",), "NUMBER:HASH", is_many=True),
            Parameter("repair", "Make again what is derived", "flag", "edge", ("--repair",)),
        ),
        ("pinyon.memory:Memory.verify", "pinyon.memory:Memory.repair"),
        _verify,
    ),
    Verb(
        "undo",
        "Revert what you did last; undoing that does it again.",
        "What was created is archived, what was changed says again what it said. Forgetting cannot be undone.",
        ("pinyon undo", "pinyon undo --steps 3"),
        (Parameter("steps", "How many verbs", "integer", "option", ("--steps",), "N", 1, least=1),),
        ("pinyon.timeline:Timeline.undo",),
        _undo,
    ),
    Verb(
        "rollback",
        "Let a memory say again what an earlier version said; its history keeps both.",
        "",
        ("pinyon rollback 3f9a1c2b 2",),
        (ID, Parameter("version", "From 1", "integer", "argument", is_required=True, least=1)),
        ("pinyon.timeline:Timeline.rollback",),
        _rollback,
    ),
    Verb(
        "branch",
        "Copy what you see of the space into another one, to try something out.",
        "Nothing writes back by itself; merge-branch does.",
        ("pinyon branch draft", "pinyon branch before-may --at 2024-05-01"),
        (
            Parameter("into", "Name of the new space", "text", "argument", is_required=True),
            Parameter("moment", "As it was then", "moment", "option", ("--at",), "TIME"),
        ),
        ("pinyon.timeline:Timeline.branch",),
        _branch,
    ),
    Verb(
        "merge-branch",
        "Bring what was changed in a branch back into the space.",
        "",
        ("pinyon merge-branch draft", "pinyon merge-branch draft --policy theirs"),
        (
            Parameter("branch", "Name of the branched space", "text", "argument", is_required=True),
            Parameter("policy", "Whose version stands where both changed", "choice", "option", ("--policy",),
                      default="newer", choices=("newer", "ours", "theirs")),
        ),
        ("pinyon.timeline:Timeline.merge_branch",),
        _merge_branch,
    ),
)  # fmt: skip
"""Log, diff, undo, rollback, branch, merge-branch."""
