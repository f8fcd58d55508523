"""The verbs that hand memories over, as a table: seals, publishing, subscribing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from ..errors import BadInput
from . import _later
from .outcomes import Shown
from .verb import FILTERS, Given, Parameter, Verb, span_of

if TYPE_CHECKING:
    from ..core.payload import Json
    from ..memory import Memory
    from ..store import Seal
    from ..store.registry import Publication, Terms
    from ..subscribing import Pulled, Subscription

__all__ = ["SHARE_VERBS", "dumped", "key_in", "seal_of"]


def dumped(memory: Memory, given: Given) -> Shown:
    """Let the queue write archives from now on."""
    from ..dumping import dump_every

    if given.maybe("path", str) is not None or given.is_set("everything") or given.maybe("recipient", str) is not None:
        raise BadInput("an export that recurs goes into a folder", hint="leave out FILE, --everything and --for")
    others = [p.name for p in FILTERS if p.name != "tags" and given.values.get(p.name) not in (None, ())]
    if others:
        raise BadInput(f"an export that recurs chooses by tags alone, not by {others[0]!r}")
    if given.maybe("to", str) is None:
        raise BadInput("nothing says where to", hint="name a folder with --to")
    job = dump_every(
        memory,
        given.text("to"),
        every=span_of(given.maybe("every", str)),
        on_tag=given.maybe("on_tag", str),
        tags=given.texts("tags"),
        seal_file=given.maybe("seal", str),
    )
    said = f"job {job.id} writes into {job.arguments['folder']} whenever something has changed; `pinyon work` does it"
    return Shown({"job": job.id, "folder": job.arguments["folder"], "due": job.due.isoformat()}, (said,))


def seal_of(given: Given) -> Seal | None:
    """Return how an archive is sealed, and for whom."""
    key, recipient = key_in(given, "seal"), given.maybe("recipient", str)
    if key is None and recipient is not None:
        raise BadInput("a mark for a recipient needs a key", hint="add --seal with a file that `pinyon new-key` wrote")
    return None if key is None else _later.Seal(key, recipient)


def key_in(given: Given, name: str) -> bytes | None:
    """Return the key in a file that a parameter names, or None."""
    file = given.maybe(name, str)
    return None if file is None else _later.read_key(Path(file).expanduser())


def _seal(memory: Memory | None, given: Given) -> Shown:
    from ..sealing import examine

    key = key_in(given, "seal_key")
    if key is None:
        raise BadInput("there is no key", hint="give --seal-key with the file that the archive was sealed with")
    task = cast("Literal['check', 'trace']", given.text("task"))
    path = Path(given.text("path")).expanduser()
    if not path.is_file():
        raise BadInput(f"there is no file {str(path)!r}")
    found = examine(task, path, seal_key=key, recipients=given.texts("recipients"), memory=memory)
    said = found.manifest
    data: dict[str, Json] = {
        "path": str(path),
        "is_sealed": not found.trouble,
        "trouble": found.trouble,
        "cubes": said.cubes,
        "created": None if said.created is None else said.created.isoformat(),
    }
    if task == "check":
        recipient = said.seal.recipient if said.seal is not None else ""
        whose = f", written for {recipient}" if recipient else ""
        return Shown({**data, "recipient": recipient or None}, (f"the seal holds: {said.cubes} memories{whose}",))
    data["marks"] = [
        {"mark": each.mark, "recipient": each.recipient, "cubes": each.cubes, "is_own": each.is_own}
        for each in found.marks
    ]
    lines = [found.trouble or "the seal holds"]
    for each in found.marks:
        whose = each.recipient or "somebody who is not named here, or under another key (--for NAME tries a name)"
        what = "this copy was written" if each.is_own else "memories in it came with a copy that was written"
        lines.append(f"{what} for {whose}; {each.cubes} memories bear the mark")
    if not found.marks:
        lines.append("it bears no mark of a recipient")
    return Shown(data, tuple(lines), any(each.recipient for each in found.marks))


def _publish(memory: Memory, given: Given) -> Shown:
    from ..sharing import publish, terms_of

    visible_to = given.texts("visible_to") or ("public",)
    where = given.where()
    done = publish(
        memory,
        given.text("space"),
        given.text("to"),
        name=given.text("name"),
        version=given.maybe("version", str),
        terms=terms_of(given.text("licence"), visible_to, given.text("terms")),
        labels=_listed(given.text("labels")),
        where=where,
        seal_key=key_in(given, "seal_key"),
    )
    latest = done.publication.latest
    what = "published" if done.is_new else "nothing changed since it was published:"
    said = f"{what} {done.publication.name} {latest.version} with {_count(latest.cubes)}{_terms(latest.terms)}"
    return Shown({**_publication(done.publication), "is_new": done.is_new}, (said,))


def _unpublish(memory: Memory, given: Given) -> Shown:
    from ..sharing import unpublish

    done = unpublish(memory, given.text("name"), given.text("place"))
    return Shown(_publication(done), (f"{done.name} is withdrawn; subscribers are told with their next pull",))


def _registry(_memory: Memory | None, given: Given) -> Shown:
    from ..sharing import registry

    task = cast("Literal['list', 'check']", given.text("task"))
    found = registry(task, given.text("place"), tags=given.texts("tags"), query=given.maybe("query", str))
    lines = [_line(each) for each in found] or ["nothing"]
    if task == "check":
        lines.append("every archive is whole")
    return Shown([_publication(each) for each in found], tuple(lines))


def _subscribe(memory: Memory, given: Given) -> Shown:
    from ..subscribing import subscribe

    done = subscribe(
        memory,
        given.text("name"),
        given.text("source"),
        tags=given.texts("tags"),
        query=given.maybe("query", str),
        seal_file=given.maybe("seal_file", str),
    )
    return Shown(_pulled(done), (_pulled_line(done),))


def _unsubscribe(memory: Memory, given: Given) -> Shown:
    from ..subscribing import unsubscribe

    name = given.text("name")
    number = unsubscribe(memory, name)
    return Shown({"name": name, "closed": number}, (f"no more of {name}; {_count(number)} are found no more",))


def _pull(memory: Memory, given: Given) -> Shown:
    from ..subscribing import pull

    done = pull(memory, given.maybe("name", str))
    lines = tuple(map(_pulled_line, done)) or ("there is no subscription",)
    return Shown([_pulled(each) for each in done], lines, not any(each.problem for each in done))


def _subscriptions(memory: Memory, _: Given) -> Shown:
    from ..subscribing import subscriptions

    found = subscriptions(memory)
    return Shown([_subscription(each) for each in found], tuple(map(_subscription_line, found)) or ("nothing",))


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _count(number: int) -> str:
    return f"{number} memories" if number != 1 else "1 memory"


def _terms(terms: Terms) -> str:
    said = []
    if terms.calls is not None:
        said.append(f"{terms.calls} calls")
    if terms.expires is not None:
        said.append(f"until {terms.expires:%Y-%m-%d}")
    if terms.visible_to != ("public",):
        said.append(f"for {', '.join(terms.visible_to)}")
    if terms.text:
        said.append(terms.text)
    return f" ({'; '.join(said)})" if said else ""


def _line(each: Publication) -> str:
    latest = each.latest
    tags = f" [{', '.join(latest.tags)}]" if latest.tags else ""
    state = f", withdrawn on {each.withdrawn:%Y-%m-%d}" if each.withdrawn is not None else ""
    return f"{each.name} {latest.version}: {_count(latest.cubes)}{tags}{_terms(latest.terms)}{state}"


def _publication(each: Publication) -> dict[str, Json]:
    return {
        "name": each.name,
        "withdrawn": None if each.withdrawn is None else each.withdrawn.isoformat(),
        "versions": [
            {
                "version": issue.version,
                "parent": issue.parent,
                "time": issue.time.isoformat(),
                "cubes": issue.cubes,
                "bytes": issue.bytes,
                "sha256": issue.sha256,
                "tags": list(issue.tags),
                "calls": issue.terms.calls,
                "expires": None if issue.terms.expires is None else issue.terms.expires.isoformat(),
                "visible_to": list(issue.terms.visible_to),
                "terms": issue.terms.text,
            }
            for issue in each.issues
        ],
    }


def _pulled(each: Pulled) -> dict[str, Json]:
    return {
        "name": each.name,
        "version": each.version,
        "before": each.before or None,
        "created": each.created,
        "updated": each.updated,
        "closed": each.closed,
        "held": each.held,
        "forgotten": each.forgotten,
        "withdrawn": each.withdrawn,
        "problem": each.problem or None,
    }


def _pulled_line(each: Pulled) -> str:
    if each.problem:
        return f"{each.name}: {each.problem}"
    if each.withdrawn:
        return f"{each.name} was withdrawn; {_count(each.closed)} are found no more"
    counts = (("new", each.created), ("changed", each.updated), ("found no more", each.closed), ("frozen", each.held))
    said = ", ".join(f"{number} {what}" for what, number in counts if number) or "nothing changed"
    return f"{each.name} {each.version}: {said}"


def _subscription(each: Subscription) -> dict[str, Json]:
    return {
        "name": each.name,
        "place": each.place,
        "space": each.space,
        "version": each.version,
        "tags": list(each.tags),
        "query": each.query,
        "calls": each.calls,
        "used": each.used,
        "expires": None if each.expires is None else each.expires.isoformat(),
        "terms": each.text,
        "withdrawn": each.withdrawn,
        "pulled": None if each.pulled is None else each.pulled.isoformat(),
    }


def _subscription_line(each: Subscription) -> str:
    used = f", {each.used} of {each.calls} calls used" if each.calls is not None else ""
    end = f", until {each.expires:%Y-%m-%d}" if each.expires is not None else ""
    state = ", withdrawn" if each.withdrawn else ""
    return f"{each.name} {each.version} from {each.place} in the space {each.space!r}{used}{end}{state}"


_NAME = Parameter("name", "Of the publication", "text", "argument", is_required=True)
_QUERY = "Only {} one of these words; endings of words do not matter"

SHARE_VERBS: tuple[Verb, ...] = (
    Verb(
        "seal",
        "Check the seal of an archive, or find out for whom a copy was written.",
        "check refuses an archive that does not bear the seal of the key, whole. trace names for whom it was written:"
        " as the archive says, as the audit of the memory remembers, or one of those named with --for. The mark is also"
        " found where the seal was removed, and in an archive that was exported again from a memory that had imported"
        " this one. It proves where an archive comes from, and nothing about a text that was copied out of it.",
        ("pinyon seal check work.pinyon --seal-key seal.key",
         "pinyon seal trace found.pinyon --seal-key seal.key --for ann --for bob"),
        (
            Parameter("task", "What to do: check or trace", "choice", "argument", is_required=True,
                      choices=("check", "trace"), shown="TASK"),
            Parameter("path", "The archive", "file", "argument", shown="FILE", is_required=True),
            Parameter("seal_key", "File with the key that it was sealed with", "file", "option", ("--seal-key",),
                      "KEYFILE"),
            Parameter("recipients", "For whom it may have been written; give it again for more", "text", "option",
                      ("--for",), "NAME", is_many=True),
        ),
        ("pinyon.sealing:examine",),
        _seal,
    ),
    Verb(
        "publish",
        "Put what a space holds into a registry, for others to subscribe to.",
        "A registry is a folder; any server of plain files can show it under an address. What leaves are memories as"
        " they are now, without earlier versions and without names of users, sessions and files. A licence limits how"
        " often subscribers read it, and until when. Where nothing changed since the last version, none is added.",
        ("pinyon publish bees --to registry --name bees --tags bees,garden",
         'pinyon publish bees --to registry --name bees --licence "calls=100,expires=2037-01-01" --visible-to'
         ' group:care --terms "not for sale"'),
        (
            Parameter("space", "Whose memories", "text", "argument", is_required=True),
            Parameter("to", "Folder of the registry, made when it is not there", "file", "option", ("--to",), "FOLDER",
                      is_required=True),
            Parameter("name", "Of the publication", "text", "option", ("--name",), "NAME", is_required=True),
            Parameter("version", "Name of this state; the next number when not given", "text", "option",
                      ("--version",), "NAME"),
            Parameter("licence", "calls=100, expires=2037-01-01, or both with a comma", "text", "option",
                      ("--licence",), "TEXT"),
            Parameter("visible_to", "Who may subscribe: public, user:ann, group:care; give it again for more", "text",
                      "option", ("--visible-to",), "WHOM", is_many=True),
            Parameter("labels", "Labels to find it by, divided by commas", "text", "option", ("--tags",), "TAG,TAG"),
            Parameter("terms", "Anything else that subscribers must know", "text", "option", ("--terms",), "TEXT"),
            Parameter("seal_key", "File with a key, as `new-key` writes it, whose seal the archive bears", "file",
                      "option", ("--seal",), "KEYFILE"),
            *FILTERS,
        ),
        ("pinyon.sharing:publish", "pinyon.sharing:terms_of"),
        _publish,
    ),
    Verb(
        "unpublish",
        "Take a publication back.",
        "Its archives go, and with the next pull nobody finds its memories at subscribers any more.",
        ("pinyon unpublish bees --from registry",),
        (
            _NAME,
            Parameter("place", "Folder of the registry", "file", "option", ("--from",), "FOLDER", is_required=True),
        ),
        ("pinyon.sharing:unpublish",),
        _unpublish,
    ),
    Verb(
        "registry",
        "Show what is published in a registry.",
        "list reads its index; check also reads the last archive of each publication, and compares its digest.",
        ("pinyon registry list registry --tag garden", "pinyon registry check registry"),
        (
            Parameter("task", "What to do: list or check", "choice", "argument", is_required=True,
                      choices=("list", "check"), shown="TASK"),
            Parameter("place", "A folder, or an address that begins with http", "text", "argument", is_required=True),
            Parameter("tags", "Only what bears this label; give it again for more, all must hold", "text", "option",
                      ("--tag",), "TAG", is_many=True),
            Parameter("query", _QUERY.format("what holds"), "text", "option", ("--query",), "WORDS"),
        ),
        ("pinyon.sharing:registry",),
        _registry,
    ),
    Verb(
        "subscribe",
        "Take what others publish into the space, now and with every pull.",
        "Its memories become yours and are bound to its terms: nobody uses them after their end, and with a number of"
        " calls every search, recall and ask that finds one of them is counted.",
        ("pinyon subscribe bees --from registry --space bees",
         "pinyon subscribe bees --from http://localhost:8000 --tag hive"),
        (
            _NAME,
            Parameter("source", "The registry: a folder, or an address that begins with http", "text", "option",
                      ("--from",), "PLACE", is_required=True),
            Parameter("tags", "Only memories with this tag; give it again for more, all must hold", "text", "option",
                      ("--tag",), "TAG", is_many=True),
            Parameter("query", _QUERY.format("memories that hold"), "text", "option", ("--query",), "WORDS"),
            Parameter("seal_file", "File with the key whose seal its archives must bear", "file", "option",
                      ("--seal-key",), "KEYFILE"),
        ),
        ("pinyon.subscribing:subscribe",),
        _subscribe,
        can_create=True,
    ),
    Verb(
        "unsubscribe",
        "Take no more of a publication; what was taken of it is found no more.",
        "",
        ("pinyon unsubscribe bees --space bees",),
        (_NAME,),
        ("pinyon.subscribing:unsubscribe",),
        _unsubscribe,
    ),
    Verb(
        "pull",
        "Take new versions of what was subscribed to.",
        "Only what changed is written. What a publication no longer holds is found no more. Doing it again changes"
        " nothing; one publication that cannot be pulled is named, and the others are.",
        ("pinyon pull", "pinyon pull bees --space bees"),
        (Parameter("name", "One publication, in the space; all of them in every space when not given", "text",
                   "argument"),),
        ("pinyon.subscribing:pull",),
        _pull,
    ),
    Verb(
        "subscriptions",
        "Show what was subscribed to, and how often it was read.",
        "",
        ("pinyon subscriptions --json",),
        (),
        ("pinyon.subscribing:subscriptions",),
        _subscriptions,
    ),
)  # fmt: skip
"""Seal, publish, unpublish, registry, subscribe, unsubscribe, pull, subscriptions."""
