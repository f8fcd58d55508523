"""The verbs that keep a memory: stages of life, retention, purging, audit, background work, as a table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING, Any, cast

from ..errors import BadInput
from . import _later
from .outcomes import Shown
from .verb import FILTERS, ID, Given, Parameter, Verb, span_of

if TYPE_CHECKING:
    from ..configuring import Configuration
    from ..core.cube import Cube
    from ..govern.purge import PurgeLevel
    from ..govern.retention import Drop, Rule
    from ..memory import Memory
    from ..parts import AuditLevel, ConflictMode
    from ..store.side import Job

__all__ = ["KEEP_VERBS"]

_ID_SHOWN = 10  # as lists of memories show them
_JOBS = 100  # jobs that are shown when nothing else is asked
_PAGE = 1000  # jobs that are read at once
_LISTED = 50  # moves that are named one by one


def _move(name: str) -> Any:
    def run(memory: Memory, given: Given) -> Cube:
        moved: Cube = getattr(memory, name)(given.text("id"), why=given.text("why"))
        return moved

    return run


def _restore(memory: Memory, given: Given) -> Cube:
    return memory.restore(given.text("id"), given.maybe("version", int), why=given.text("why"))


def _merge(memory: Memory, given: Given) -> Cube:
    return memory.merge(given.texts("ids"), given.text("text"), why=given.text("why"))


def _sweep(memory: Memory, given: Given) -> Shown:
    is_dry = given.is_set("dry_run")
    swept = memory.sweep(dry_run=is_dry, limit=given.maybe("limit", int), after=given.integer("after"))
    moves = [
        {"id": m.id, "space": m.space, "before": m.before, "after": m.after, "trigger": m.trigger, "why": m.why}
        for m in swept.moves
    ]
    data: dict[str, Any] = {"moves": moves, "looked": swept.looked, "counts": swept.counts, "is_done": swept.is_done}
    data["reached"] = swept.reached
    lines = [f"{m.id[:_ID_SHOWN]}  {m.before} → {m.after or 'forgotten'}  ({m.why})" for m in swept.moves[:_LISTED]]
    if len(swept.moves) > _LISTED:
        lines.append(f"… and {len(swept.moves) - _LISTED} more")
    verb = "would move" if is_dry else "moved"
    lines.append(f"looked at {swept.looked} memories, {verb} {len(swept.moves)}")
    return Shown(data, tuple(lines))


def _configure(memory: Memory, given: Given) -> Shown:
    audit, conflicts = given.maybe("audit", str), given.maybe("conflicts", str)
    life: dict[str, Any] = {
        name: None if said == "never" else span_of(said)
        for name in ("archive_after", "expire_after", "purge_after")
        if (said := given.maybe(name, str)) is not None
    }
    if (most := given.maybe("capacity", str)) is not None:
        life["capacity"] = None if most == "none" else _number(most)
    if audit is None and conflicts is None and not life:
        return _configured(memory.configuration())
    lifecycle = replace(memory.configuration().lifecycle, **life) if life else None
    return _configured(
        memory.configure(
            audit=cast("AuditLevel | None", audit),
            conflicts=cast("ConflictMode | None", conflicts),
            lifecycle=lifecycle,
        )
    )


def _number(text: str) -> int:
    if not text.isdecimal():
        raise BadInput(f"{text!r} is no number of memories", hint="write 10000, or none")
    return int(text)


def _configured(found: Configuration) -> Shown:
    life = found.lifecycle
    spans = {"archive_after": life.archive_after, "expire_after": life.expire_after, "purge_after": life.purge_after}
    said = {name.replace("_", " "): "never" if span is None else _spelled(span) for name, span in spans.items()}
    said = {"audit": found.audit, "conflicts": found.conflicts, **said}
    said["capacity"] = "none" if life.capacity is None else str(life.capacity)
    seconds = {name: None if span is None else span.total_seconds() for name, span in spans.items()}
    data = {"audit": found.audit, "conflicts": found.conflicts, **seconds, "capacity": life.capacity}
    return Shown(cast("Any", data), tuple(f"{name}: {value}" for name, value in said.items()))


def _retention(memory: Memory, given: Given) -> Shown:
    if not given.is_set("due"):
        return _rules(memory.retention())
    found = memory.retention_report()
    data = [
        {"id": line.id, "space": line.space, "state": line.state, "action": line.action, "rule": line.rule}
        for line in found.lines
    ]
    lines = [f"{line.id[:_ID_SHOWN]}  {line.action}  ({line.why})" for line in found.lines]
    return Shown(cast("Any", data), tuple(lines) or ("no rule is about any memory here",))


def _retain(memory: Memory, given: Given) -> Shown:
    name = given.text("name")
    others = [rule for rule in memory.retention() if rule.name != name]
    if given.is_set("remove"):
        return _rules(memory.retain(others))
    rule = _later.Rule(
        name,
        given.where() or _later.Where(),
        tuple(given.texts("spaces")),
        span_of(given.maybe("max_age", str)),
        span_of(given.maybe("max_idle", str)),
        cast("Drop", given.text("action")),
        given.is_set("hold"),
        given.text("reason"),
    )
    return _rules(memory.retain([*others, rule]))


def _rules(rules: tuple[Rule, ...]) -> Shown:
    lines = []
    for rule in rules:
        word = "until" if rule.hold else "after"
        times = [f"{word} {_spelled(rule.max_age)}{' old' if rule.hold else ''}"] if rule.max_age else []
        idle = "until unused for" if rule.hold else "unused for"
        times += [f"{idle} {_spelled(rule.max_idle)}"] if rule.max_idle else []
        what = "hold" if rule.hold else rule.action
        lines.append(
            f"{rule.name}: {what} {' and '.join(times)}".rstrip() + (f"  ({rule.reason})" if rule.reason else "")
        )
    return Shown(cast("Any", _later.rules_to_json(rules)), tuple(lines) or ("there are no rules of retention",))


def _spelled(span: timedelta) -> str:
    return f"{span.days} days" if span % timedelta(days=1) == timedelta(0) else str(span)


def _purge(memory: Memory, given: Given) -> Shown:
    done = memory.purge(level=cast("PurgeLevel", given.text("level")))
    data: dict[str, Any] = {
        "level": done.level, "before": done.before, "after": done.after, "snapshots": done.snapshots,
        "orphans": done.orphans, "is_log_empty": done.is_log_empty,
    }  # fmt: skip
    gone = f"{done.snapshots} index snapshots and {done.orphans} orphaned blobs removed"
    said = f"{done.before} bytes before, {done.after} after; {gone}"
    log = "the log is empty" if done.is_log_empty else "another process reads an older state: the log is not empty yet"
    return Shown(data, (said, log), done.is_log_empty)


def _audit(memory: Memory, given: Given) -> Shown:
    if given.is_set("rules"):
        changes = list(memory.rule_changes())
        data = [
            {"seq": c.seq, "time": c.time.isoformat(), "space": c.space, "cube": c.cube, "what": dict(c.what)}
            for c in changes
        ]
        return Shown(cast("Any", data), tuple(map(str, changes)) or ("no rule was ever changed",))
    decided = {"allow": True, "deny": False}.get(given.text("allowed"))
    entries = list(
        memory.audit(
            since=given.moment("since"),
            until=given.moment("until"),
            actions=given.texts("actions"),
            cube=given.maybe("cube", str),
            allowed=decided,
            by=given.maybe("by", str),
        )
    )
    lines = []
    for entry in entries:
        line = entry.line
        who = line.actor.user or line.actor.agent or "somebody"
        verdict = "allowed" if line.allowed else "denied"
        cube = f" {line.cube[:_ID_SHOWN]}" if line.cube else ""
        lines.append(
            f"{line.time:%Y-%m-%d %H:%M:%S}  {verdict:<7}  {line.action}{cube}  {who}  ({line.rule}, {line.space})"
        )
    data = [json.loads(text) for text in _later.audit_json_lines(entries)]
    if given.is_set("csv"):
        return Shown(cast("Any", data), tuple(text.rstrip("\r\n") for text in _later.audit_csv(entries)))
    return Shown(cast("Any", data), tuple(lines) or ("nothing is written in the audit",))


def _work(memory: Memory, given: Given) -> Shown:
    stop = Event() if given.is_set("forever") else None
    if (every := span_of(given.maybe("promote_every", str))) is not None:
        memory.jobs.add("state", key="state", every=every)
    begun = memory.caller.now()
    done = memory.work(sweep_every=span_of(given.maybe("sweep_every", str)), stop=stop)
    failed = [job for job in _all_jobs(memory) if job.error and job.updated >= begun]
    said = [f"job {job.id} ({job.kind}) failed: {job.error}" for job in failed]
    data: dict[str, Any] = {
        "done": done - len(failed),
        "failed": [{"id": job.id, "kind": job.kind, "state": job.state, "error": job.error} for job in failed],
    }
    count = f"did {done - len(failed)} jobs"
    return Shown(data, (*said, f"{count}, {len(failed)} failed" if failed else count), not failed)


def _all_jobs(memory: Memory) -> Iterator[Job]:
    after = 0
    while page := memory.store.engine.jobs.find(limit=_PAGE, after=after):
        yield from page
        after = page[-1].id


def _jobs(memory: Memory, given: Given) -> Shown:
    if given.is_set("decisions"):
        return _decisions(memory, given.maybe("limit", int) or _JOBS)
    queue = memory.jobs
    if (number := given.maybe("cancel", int)) is not None:
        memory.cancel_job(number)
    if (number := given.maybe("requeue", int)) is not None:
        memory.requeue_job(number)
    jobs = memory.store.engine.jobs.find(limit=given.maybe("limit", int) or _JOBS)
    data = [
        {
            "id": j.id,
            "kind": j.kind,
            "state": j.state,
            "attempts": j.attempts,
            "done": j.done,
            "total": j.total,
            "due": j.due.isoformat(),
            "error": j.error,
        }
        for j in jobs
    ]
    lines = [
        f"{j.id}  {j.kind}  {j.state}  attempt {j.attempts} of {j.most_attempts}" + (f"  {j.error}" if j.error else "")
        for j in jobs
    ]
    counts = ", ".join(f"{number} {state}" for state, number in queue.counts().items() if number)
    return Shown(cast("Any", {"jobs": data, "counts": queue.counts()}), (*lines, counts or "there are no jobs"))


def _decisions(memory: Memory, limit: int) -> Shown:
    data, lines = [], []
    for noted in memory.decisions()[-limit:]:
        is_same = noted.is_replayed()
        data.append({"number": noted.number, "time": noted.time.isoformat(), **noted.record, "is_replayed": is_same})
        again = "decided the same again" if is_same else "would be decided otherwise by the rules of today"
        lines.append(
            f"{noted.number}  {noted.time:%Y-%m-%d %H:%M:%S}  {noted.rule}  {len(noted.outcome)} decided  ({again})"
        )
    return Shown(cast("Any", data), tuple(lines) or ("nothing was decided yet",))


_WHY = Parameter("why", "Reason, for the journal; never content", "text", "option", ("--because",), "TEXT")


def _life(name: str, summary: str, help: str = "") -> Verb:
    return Verb(
        name, summary, help, (f"pinyon {name} 3f9a1c2b",), (ID, _WHY), (f"pinyon.keeping:Keeping.{name}",), _move(name)
    )


KEEP_VERBS: tuple[Verb, ...] = (
    _life("activate", "Bring a memory to work that was only written, merged or archived."),
    _life("expire", "End a memory's life: it is found no more, and a sweep forgets it in time."),
    _life("archive", "Put a memory away, so that only who asks for the archive finds it."),
    Verb(
        "restore",
        "Bring an archived memory back, or take a merged one apart.",
        "",
        ("pinyon restore 3f9a1c2b", "pinyon restore 3f9a1c2b 2"),
        (ID, Parameter("version", "As that version had it", "integer", "argument", least=1), _WHY),
        ("pinyon.keeping:Keeping.restore",),
        _restore,
    ),
    _life("freeze", "Hold a memory as it is: nothing changes or forgets it until it is thawed.", "For a legal hold."),
    _life("thaw", "Let a frozen memory be what it was before."),
    _life("pin", "Keep a memory from being archived or dropped by itself."),
    _life("unpin", "Let a memory be archived or dropped by itself again."),
    Verb(
        "merge",
        "Make one memory of several, and archive those.",
        "The new one has no more rights than any of them, and expires with the first of them.",
        ('pinyon merge 3f9a1c2b 77ab01cd --text "The key hangs in the shed."',),
        (
            Parameter("ids", "Ids, at least two", "text", "argument", is_many=True, is_required=True),
            Parameter("text", "What it says", "text", "option", ("--text",), is_required=True),
            _WHY,
        ),
        ("pinyon.keeping:Keeping.merge",),
        _merge,
    ),
    Verb(
        "sweep",
        "Archive what is idle, expire what is over, forget what has long expired.",
        "By default after 30 days without use, 365 days in the archive, and 30 days more; rules of retention go before"
        " that. What is pinned, frozen or held stays.",
        ("pinyon sweep --dry-run", "pinyon sweep"),
        (
            Parameter("dry_run", "Show what would move, and stop", "flag", "option", ("--dry-run",)),
            Parameter("limit", "Most moves", "integer", "option", ("--limit",), "N", least=1),
            Parameter("after", "Go on where a limited sweep ended: its \"reached\"", "integer", "option", ("--after",),
                      "N", 0, least=0),
        ),
        ("pinyon.keeping:Keeping.sweep",),
        _sweep,
    ),
    Verb(
        "configure",
        "Show or change what holds for the whole memory, whoever works with it.",
        "What is written to the audit, whose contradictions are looked for, and when a sweep moves memories. A span is"
        " 30m, 12h, 90d, 8w or 2y; never and none switch it off. Once somebody has rules here, administrators of the"
        " whole memory alone may change it, and the change itself is always written to the audit.",
        (
            "pinyon configure",
            "pinyon configure --audit changes",
            "pinyon configure --archive-after 365d --purge-after never",
        ),
        (
            Parameter("audit", "What is written to the audit, beside refusals", "choice", "option", ("--audit",),
                      choices=("denials", "changes", "all")),
            Parameter("conflicts", "Whose contradictions are looked for: nobody's, of memories that name subject and"
                      " attribute, or also of what people say of themselves", "choice", "option", ("--conflicts",),
                      choices=("off", "explicit", "rules")),
            Parameter("archive_after", "Idle time after which a memory is archived", "text", "option",
                      ("--archive-after",), "SPAN"),
            Parameter("expire_after", "Time in the archive after which it expires", "text", "option",
                      ("--expire-after",), "SPAN"),
            Parameter("purge_after", "Time since it expired after which it is forgotten for good", "text", "option",
                      ("--purge-after",), "SPAN"),
            Parameter("capacity", "Most memories at work in one space; those of low priority are archived first",
                      "text", "option", ("--capacity",), "N"),
        ),
        ("pinyon.configuring:Configuring.configure", "pinyon.configuring:Configuring.configuration",
         "pinyon.schedule.due:LifecycleConfig"),
        _configure,
        can_create=True,
    ),
    Verb(
        "retention",
        "Show the rules of retention, or what they would do.",
        "",
        ("pinyon retention", "pinyon retention --due"),
        (Parameter("due", "Show what they say about each memory of the space", "flag", "edge", ("--due",)),),
        ("pinyon.keeping:Keeping.retention", "pinyon.keeping:Keeping.retention_report"),
        _retention,
    ),
    Verb(
        "retain",
        "Write, replace or remove a rule of retention.",
        "The first rule that is about a memory decides; a new one goes to the end.",
        (
            "pinyon retain logs --tag log --older-than 90d --action forget",
            "pinyon retain case-7 --tag case-7 --hold --reason 'legal hold'",
            "pinyon retain logs --remove",
        ),
        (
            Parameter("name", "Of the rule", "text", "argument", is_required=True),
            Parameter("max_age", "Time since it was recorded: 30m, 12h, 90d, 8w, 2y", "text", "option",
                      ("--older-than",), "SPAN"),
            Parameter("max_idle", "Time since it was last used or changed", "text", "option", ("--idle-for",), "SPAN"),
            Parameter("action", "What is done then", "choice", "option", ("--action",), default="archive",
                      choices=("archive", "expire", "forget")),
            Parameter("hold", "Keep from every automatic drop instead", "flag", "option", ("--hold",)),
            Parameter("spaces", "Only in this space; give it again for more", "text", "option", ("--in-space",),
                      is_many=True),
            Parameter("reason", "For people and the journal", "text", "option", ("--reason",)),
            Parameter("remove", "Remove the rule", "flag", "edge", ("--remove",)),
            *FILTERS,
        ),
        ("pinyon.govern.retention:Rule", "pinyon.keeping:Keeping.retain"),
        _retain,
        can_create=True,
    ),
    Verb(
        "purge",
        "Let no file hold anything of what was forgotten.",
        "Empties the log, drops index snapshots and orphaned blobs, and writes the database anew, for which the disk"
        " needs room for two copies.",
        ("pinyon purge", "pinyon purge --level log"),
        (Parameter("level", "log leaves the database file as it is", "choice", "option", ("--level",), default="file",
                   choices=("log", "file")),),
        ("pinyon.keeping:Keeping.purge",),
        _purge,
    ),
    Verb(
        "audit",
        "Show what was asked for and decided.",
        "Refusals are always written; changes and reads too, after `pinyon configure --audit changes` or `all`. Once"
        " there is an administrator, administrators alone may look.",
        ("pinyon audit --decision deny", "pinyon audit --by ann --csv", "pinyon audit --rules"),
        (
            Parameter("since", "Only from this moment on", "moment", "option", ("--since",), "TIME"),
            Parameter("until", "Only before this moment", "moment", "option", ("--until",), "TIME"),
            Parameter("actions", "Only this verb; give it again for more", "text", "option", ("--action",),
                      is_many=True),
            Parameter("cube", "Only about this memory, by its whole id", "text", "option", ("--id",), "ID"),
            Parameter("allowed", "Only what was decided so", "choice", "option", ("--decision",),
                      choices=("allow", "deny")),
            Parameter("by", "Only what this user asked for; --user is who looks", "text", "option", ("--by",), "NAME"),
            Parameter("csv", "Print comma-separated values with a header, all columns", "flag", "edge", ("--csv",)),
            Parameter("rules", "Show who changed which rights and rules", "flag", "edge", ("--rules",)),
        ),
        ("pinyon.keeping:Keeping.audit", "pinyon.keeping:Keeping.rule_changes"),
        _audit,
    ),
    Verb(
        "work",
        "Do the jobs that are due.",
        "Several processes may work at once; a job of one that was killed is done by another. With --promote-every,"
        " texts that prompts of the local model hold together again and again become states of it, as far as that"
        " pays; it needs a model: --model, or PINYON_BACKBONE.",
        (
            "pinyon work",
            "pinyon work --sweep-every 1d --forever",
            "pinyon work --promote-every 1h --model smollm2 --forever",
        ),
        (
            Parameter("backbone", "Local model that states are made with: smollm2, an id of the Hugging Face hub, a"
                      " folder or a GGUF file, with @device:type behind it where it is to be another one;"
                      " PINYON_BACKBONE when not given", "text", "edge", ("--model",), "MODEL"),
            Parameter("promote_every", "Let the rule that makes states recur so often: 1h, 1d", "text", "edge",
                      ("--promote-every",), "SPAN"),
            Parameter("sweep_every", "Let a sweep recur so often: 12h, 1d", "text", "option", ("--sweep-every",),
                      "SPAN"),
            Parameter("forever", "Go on until interrupted", "flag", "edge", ("--forever",)),
        ),
        ("pinyon.keeping:Keeping.work",),
        _work,
    ),
    Verb(
        "jobs",
        "Show the jobs, cancel one, or let a dead one begin anew.",
        "",
        ("pinyon jobs", "pinyon jobs --requeue 17"),
        (
            Parameter("limit", "Most jobs", "integer", "edge", ("--limit",), "N", least=1),
            Parameter("decisions", "Show the latest decisions of sweeps and of the job state instead; with --json, what"
                      " went into them; each is decided again to see that it can be followed", "flag", "edge",
                      ("--decisions",)),
            Parameter("cancel", "Number of a job to cancel", "integer", "edge", ("--cancel",), "N", least=1),
            Parameter("requeue", "Number of a dead job", "integer", "edge", ("--requeue",), "N", least=1),
        ),
        ("pinyon.keeping:Keeping.jobs", "pinyon.keeping:Keeping.cancel_job",
         "pinyon.keeping:Keeping.requeue_job", "pinyon.keeping:Keeping.decisions"),
        _jobs,
    ),
)  # fmt: skip
"""Archive, restore, freeze, thaw, pin, unpin, merge, sweep, retention, retain, purge, audit, work, jobs."""
