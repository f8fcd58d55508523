"""Everything a cube knows about itself beside its payload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Literal

from ..errors import BadInput
from .clock import from_micros, micros
from .payload import Json, canonical

__all__ = [
    "Bound",
    "Header",
    "Life",
    "Lineage",
    "Origin",
    "Parent",
    "Priority",
    "Provenance",
    "Rights",
    "State_",
    "header_from_json",
    "header_text",
    "header_to_json",
    "priority_of",
    "rights_from_json",
    "rights_to_json",
]


class Origin(StrEnum):
    """How a cube came to be."""

    USER_INPUT = "user_input"
    EXTERNAL = "external_retrieval"
    INFERENCE = "inference_extraction"
    FINETUNING = "parameter_finetuning"
    CONVERSION = "conversion"
    IMPORT = "import"
    MERGE = "merge"


Unit = Literal["note", "turn", "chunk"]
State_ = Literal["generated", "activated", "merged", "archived", "expired", "frozen"]


Priority = Literal["low", "middle", "high"]
"""How much a place is worth to a cube: 0, 0.5 or 1."""
_PRIORITIES: Mapping[object, float] = {"low": 0.0, "middle": 0.5, "high": 1.0}


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a cube came from, precise enough to go back there.

    Args:
        origin: How it came to be.
        unit: What the text is a unit of: a note, a turn of a conversation, a chunk of a document.
        source: The file, address or export it was read from, or None.
        title: Title of the document or conversation, or None.
        thread: The sequence it belongs to (a session, a document); neighbours are neighbours in a thread.
        position: Its place in the thread, from 0; None lets the store give the next one.
        section: Headings above it, outermost first.
        span: Character offsets (start, end) in the text of the source, end exclusive, or None.
        page: Page number in the source, from 1, or None.
        speaker: Who said it, or None.
        role: Role in a chat (``user``, ``assistant``, ``system``, ``tool``), or None.
    """

    origin: Origin = Origin.USER_INPUT
    unit: Unit = "note"
    source: str | None = None
    title: str | None = None
    thread: str | None = None
    position: int | None = None
    section: tuple[str, ...] = ()
    span: tuple[int, int] | None = None
    page: int | None = None
    speaker: str | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Rights:
    """Who may use a cube, beside its owner, and under which conditions; `access.decide` says how they are read.

    Principals are written ``user:ann``, ``agent:bot``, ``session:s1``, ``group:sales``, ``role:auditor`` or ``*`` for
    everyone of the tenant.

    Args:
        sensitivity: Labels for which a caller other than the owner must be cleared; they travel with everything that is
            made of it.
        read: Principals that may read it.
        write: Principals that may change, archive and forget it.
        share: Principals that may widen its rights.
        freeze: Principals that may freeze and thaw it.
        deny: Principals that may do nothing with it, whatever else they hold.
        purposes: Purposes one of which a caller must state; empty asks for none.
        opens: Nobody uses it before.
        closes: Nobody uses it from then on.
        hours: Minutes of the UTC day between which it may be used, start inclusive, end exclusive; a start after the
            end spans midnight.
        tasks: Tasks one of which a caller must be at; empty asks for none.
        bounds: Rules of what it was made of, all of which must let a caller read today, too. The store writes them;
            what lies beside it, belongs to the same owner and allows no less needs none.
    """

    sensitivity: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    share: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    opens: datetime | None = None
    closes: datetime | None = None
    hours: tuple[int, int] | None = None
    tasks: tuple[str, ...] = ()
    bounds: tuple[Bound, ...] = ()

    @property
    def is_timed(self) -> bool:
        """Whether what they allow changes with the time, bounds aside."""
        return self.opens is not None or self.closes is not None or self.hours is not None


@dataclass(frozen=True, slots=True)
class Bound:
    """Where something that a cube was made of rests, whose it is, and its own rights: whoever reads the cube must pass.

    Args:
        space: Its space.
        user: The person it belongs to, or None.
        agent: The program it belongs to, or None.
        rights: Its own, without bounds.
        gone: Ids of sources that were forgotten and had these rules last.
    """

    space: str
    user: str | None = None
    agent: str | None = None
    rights: Rights = Rights()
    gone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Life:
    """When a cube holds and how long it stays.

    Args:
        state: Stage of its life.
        valid_from: When what it says happened or began to hold (event time), or None.
        valid_to: When it ceased to hold, or None.
        expires: When it is to be forgotten, or None.
        pinned: Never dropped by automatic rules.
        priority: 0 low, 0.5 middle, 1 high.
        stale: Something it was made of has changed since; it is not found until it is made again.
        thaws_to: What it was before it was frozen; None while it is not.
        superseded_by: Id of the cube that took its place, or None.
    """

    state: State_ = "generated"
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    expires: datetime | None = None
    pinned: bool = False
    priority: float = 0.5
    stale: bool = False
    thaws_to: State_ | None = None
    superseded_by: str | None = None

    @property
    def standing(self) -> str:
        """What filters look at: the state, or ``stale`` for a live cube whose sources have changed."""
        return "stale" if self.stale and self.state in ("generated", "activated", "merged") else self.state


@dataclass(frozen=True, slots=True)
class Parent:
    """One cube that another was made of.

    Args:
        id: Its id.
        version: Its version at that time, from 1.
        relation: What was done with it. ``copied`` is what branches do: a copy is forgotten with what it was made of,
            and does not become stale when that changes.
    """

    id: str
    version: int
    relation: Literal["derived", "merged", "converted", "supersedes", "copied"] = "derived"


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a cube was made of; forgetting follows these edges."""

    parents: tuple[Parent, ...] = ()


_OPEN = Rights()


@dataclass(frozen=True, slots=True)
class Header:
    """`Provenance`, `Rights`, `Life` and `Lineage`, with the user's own tags and metadata."""

    provenance: Provenance = Provenance()
    rights: Rights = _OPEN
    life: Life = Life()
    lineage: Lineage = Lineage()
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Json] = field(default_factory=dict)
    _text: str = field(default="", init=False, repr=False, compare=False)  # see `header_text`


def priority_of(said: Priority | float) -> float:
    """Return a priority as a number.

    Args:
        said: Its name, or a number from 0 to 1.

    Raises:
        BadInput: It is neither.

    Example:
        >>> priority_of("high")
        1.0
    """
    if isinstance(said, str) and said in _PRIORITIES:
        return _PRIORITIES[said]
    if isinstance(said, bool) or not isinstance(said, (int, float)) or not 0 <= said <= 1:
        raise BadInput(f"{said!r} is no priority", hint=f"use {', '.join(map(str, _PRIORITIES))}, or 0 to 1")
    return float(said)


_PROVENANCE = tuple((f.name, f.default) for f in fields(Provenance))
_TIMES = ("valid_from", "valid_to", "expires")


def header_to_json(header: Header) -> dict[str, Json]:
    """Return a header as a JSON object without its defaults; `header_from_json` is its inverse."""
    out: dict[str, Json] = {}
    p = header.provenance
    if p is not _UNKNOWN:
        if p.origin is not Origin.USER_INPUT:
            out["origin"] = p.origin.value
        if p.unit != "note":
            out["unit"] = p.unit
        if p.section:
            out["section"] = list(p.section)
        if p.span is not None:
            out["span"] = list(p.span)
        for name, value in (
            ("source", p.source),
            ("title", p.title),
            ("thread", p.thread),
            ("position", p.position),
            ("page", p.page),
            ("speaker", p.speaker),
            ("role", p.role),
        ):
            if value is not None:
                out[name] = value
    life = header.life
    if life is not _BORN:
        for name in _TIMES:
            moment = getattr(life, name)
            if moment is not None:
                out[name] = micros(moment)
        if life.state != "generated":
            out["state"] = life.state
        if life.pinned:
            out["pinned"] = True
        if life.priority != 0.5:
            out["priority"] = life.priority
        if life.stale:
            out["stale"] = True
        if life.thaws_to is not None:
            out["thaws_to"] = life.thaws_to
        if life.superseded_by is not None:
            out["superseded_by"] = life.superseded_by
    if header.rights is not _OPEN and header.rights != _OPEN:
        out.update(rights_to_json(header.rights))
    if header.lineage.parents:
        out["parents"] = [[q.id, q.version, q.relation] for q in header.lineage.parents]
    if header.tags:
        out["tags"] = list(header.tags)
    if header.metadata:
        out["metadata"] = dict(header.metadata)
    return out


_BORN = Life()
_UNKNOWN = Provenance()
_LISTS = ("sensitivity", "read", "write", "share", "freeze", "deny", "purposes", "tasks")


def rights_to_json(rights: Rights) -> dict[str, Json]:
    """Return rights as a JSON object without their defaults; `rights_from_json` is its inverse."""
    out: dict[str, Json] = {name: list(named) for name in _LISTS if (named := getattr(rights, name))}
    for name in ("opens", "closes"):
        moment = getattr(rights, name)
        if moment is not None:
            out[name] = micros(moment)
    if rights.hours is not None:
        out["hours"] = list(rights.hours)
    if rights.bounds:
        out["bounds"] = [_bound_to_json(bound) for bound in rights.bounds]
    return out


def _bound_to_json(bound: Bound) -> Json:
    said: list[Json] = [bound.space, bound.user, bound.agent, rights_to_json(bound.rights), list[Json](bound.gone)]
    return said


def _bound_from_json(said: list[Json]) -> Bound:
    space, user, agent, rights, gone = said
    return Bound(space, user, agent, rights_from_json(rights), tuple(gone))  # type: ignore[arg-type]  # as written above


def rights_from_json(data: Mapping[str, Json]) -> Rights:
    """Return the rights that `rights_to_json` wrote, from an object that may hold more."""
    given: dict[str, object] = {name: tuple(data[name]) for name in _LISTS if name in data}  # type: ignore[arg-type]  # JSON lists
    given |= {name: from_micros(int(data[name])) for name in ("opens", "closes") if name in data}  # type: ignore[arg-type]
    if "hours" in data:
        given["hours"] = tuple(data["hours"])  # type: ignore[arg-type]
    if "bounds" in data:
        given["bounds"] = tuple(map(_bound_from_json, data["bounds"]))  # type: ignore[arg-type]  # a JSON list
    return Rights(**given) if given else _OPEN  # type: ignore[arg-type]  # names and types as written above


def header_text(header: Header) -> str:
    """Return a header as its one JSON text, made once for each header."""
    if not header._text:
        object.__setattr__(header, "_text", canonical(header_to_json(header)))
    return header._text


def header_from_json(data: Mapping[str, Json]) -> Header:
    """Return the header that `header_to_json` wrote."""
    known = {name: data[name] for name, _ in _PROVENANCE if name in data}
    if "origin" in known:
        known["origin"] = Origin(str(known["origin"]))
    for name in ("section", "span"):
        if name in known:
            known[name] = tuple(known[name])  # type: ignore[arg-type,assignment]  # a JSON list
    times = {name: from_micros(int(data[name])) for name in _TIMES if name in data}  # type: ignore[arg-type]
    return Header(
        provenance=Provenance(**known),  # type: ignore[arg-type]  # names and types as written above
        rights=rights_from_json(data),
        life=Life(
            state=data.get("state", "generated"),  # type: ignore[arg-type]
            pinned=bool(data.get("pinned", False)),
            priority=float(data.get("priority", 0.5)),  # type: ignore[arg-type]
            stale=bool(data.get("stale", False)),
            thaws_to=data.get("thaws_to"),  # type: ignore[arg-type]
            superseded_by=data.get("superseded_by"),  # type: ignore[arg-type]
            **times,
        ),
        lineage=Lineage(tuple(Parent(*q) for q in data["parents"])) if "parents" in data else Lineage(),  # type: ignore[misc,union-attr]
        tags=tuple(data.get("tags", ())),  # type: ignore[arg-type]
        metadata=data.get("metadata", {}),  # type: ignore[arg-type]
    )
