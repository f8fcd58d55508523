"""Which memories take the place of which, found while they are added."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from .core.access import Access
from .core.clock import micros
from .core.cube import Cube, Draft, seal_id
from .core.events import EventOp
from .core.payload import Json
from .core.where import LIVE_STATES, Condition, View, Where
from .errors import Denied, NotFound
from .govern.conflict import Fact, Statement, Supersession, find_conflicts, superseded, superseding
from .parts import Caller, ConflictMode
from .store import Change, Placed

__all__ = ["Claims", "bring_back", "same_facts"]

_NEAR = 50  # memories near in words or meaning, and latest ones, that may state the same attribute
_JUDGED = 5  # memories near in meaning that a judge is asked about, each one call of a model
_SAME = 200  # memories with the same subject and attribute


@dataclass(frozen=True, slots=True)
class Claims:
    """What drafts take the place of, or are too late for.

    Args:
        drafts: With their headers saying so.
        found: All of it.
        expected: Ids that the drafts should have, in order.
    """

    drafts: list[Draft]
    found: tuple[Supersession, ...] = ()
    expected: tuple[str, ...] = ()

    @classmethod
    def of(cls, drafts: list[Draft], caller: Caller, mode: ConflictMode) -> Claims:
        """Look for contradictions between drafts and what the caller may see of its space.

        Args:
            drafts: What is about to be added.
            caller: Who adds it, and where.
            mode: Which facts count.

        Cost: nothing where no draft states a fact; else one look-up a fact, and what the memory's judge takes.
        """
        if mode == "off" or (mode == "explicit" and not any(_is_explicit(draft) for draft in drafts)):
            return cls(drafts)
        ids = tuple(seal_id(draft, caller.scope, caller.space) for draft in drafts)
        first = caller.parts.store.engine.head().seq + 1
        owner, now = caller.scope.user or caller.scope.agent or "", caller.now()
        told = [
            Statement.of_draft(draft, id=id, owner=owner, now=now, order=first + place, scope=caller.scope)
            for place, (draft, id) in enumerate(zip(drafts, ids, strict=True))
        ]
        # What is over where it comes from claims nothing.
        told = [statement for statement in told if statement.header.life.state in LIVE_STATES]
        judge = caller.parts.judge()
        is_asked = judge is not None and mode == "rules"
        wanted = [s for s in told if is_asked or any(f.is_explicit or mode == "rules" for f in s.facts)]
        lookup = _Lookup(caller, drafts)
        similar = lookup.similar if is_asked else None
        found = tuple(find_conflicts(wanted, lookup.candidates, judge=judge, similar=similar)) if wanted else ()
        return cls([_marked(draft, id, found) for draft, id in zip(drafts, ids, strict=True)], found, ids)

    def then(self, placed: Sequence[Placed]) -> Sequence[Change]:
        """Return the changes of stored memories that follow, given what became of the drafts."""
        actual = dict(zip(self.expected, (p.cube.id for p in placed), strict=True))
        return [
            _closing(claim, actual[claim.new.id])
            for claim in self.found
            if claim.new.id in actual and claim.old.id not in actual
        ]


def _is_explicit(draft: Draft) -> bool:
    return "subject" in draft.header.metadata and "attribute" in draft.header.metadata


def _marked(draft: Draft, id: str, found: Sequence[Supersession]) -> Draft:
    """Return a draft whose header says what it takes the place of, and what takes its."""
    header = draft.header
    mine = [claim for claim in found if claim.new.id == id]
    header = superseding(header, mine) if mine else header
    for claim in found:
        if claim.old.id == id:
            header = superseded(header, claim, archive=claim.is_explicit)
    return draft if header is draft.header else replace(draft, header=header)


def _closing(claim: Supersession, by: str) -> Change:
    named = replace(claim, new=replace(claim.new, id=by))
    detail: dict[str, Json] = {"why": "superseded", "by": by, "at": micros(claim.at)}
    op: EventOp = "state"

    def close(old: Cube) -> Cube:
        return replace(old, header=superseded(old.header, named, archive=claim.is_explicit))

    return claim.old.id, close, op, detail


class _Lookup:
    """Finds what may state the same attribute of the same subject."""

    def __init__(self, caller: Caller, drafts: Sequence[Draft]) -> None:
        self._caller = caller
        self._spelled: dict[tuple[str, str], set[tuple[str, str]]] = {}
        for draft in drafts:
            subject, attribute = (draft.header.metadata.get(name) for name in ("subject", "attribute"))
            if isinstance(subject, str) and isinstance(attribute, str):
                self._spelled.setdefault((_plain(subject), _plain(attribute)), set()).add((subject, attribute))

    def candidates(self, fact: Fact) -> Sequence[Cube]:
        """Return stored memories that may be about the same; more do no harm."""
        found = [cube for pair in self._spelled.get((fact.subject, fact.attribute), ()) for cube in self._same(*pair)]
        if not fact.is_explicit:
            parts, view = self._caller.parts, self._caller.view()
            question = f"{fact.subject} {fact.attribute} {fact.value}"
            found += [hit.cube for hit in parts.finder.search(question, _NEAR, view).hits]
            found += parts.store.engine.find(view, newest_first=True, limit=_NEAR, after=None)
        return found

    def similar(self, statement: Statement) -> Sequence[Cube]:
        """Return the stored memories nearest in meaning, for a judge to look at."""
        if not statement.text.strip():
            return []
        found = self._caller.parts.finder.search(statement.text, _JUDGED, self._caller.view())
        return [hit.cube for hit in found.hits]

    def _same(self, subject: str, attribute: str) -> Sequence[Cube]:
        return same_facts(self._caller.view(), subject, attribute, self._caller)


def same_facts(view: View, subject: Json, attribute: Json, caller: Caller) -> list[Cube]:
    """Return what states an attribute of a subject, or did until something took its place; nothing where none is."""
    if not isinstance(subject, str) or not isinstance(attribute, str):
        return []
    said = (Condition("subject", "eq", subject), Condition("attribute", "eq", attribute))
    view = replace(view, where=Where(metadata=said, states=(*LIVE_STATES, "archived")))
    found = caller.parts.store.engine.find(view, newest_first=True, limit=_SAME, after=None)
    return [cube for cube in found if cube.header.life.state != "archived" or cube.header.life.superseded_by]


def bring_back(gone: Sequence[Cube], caller: Caller) -> list[Cube]:
    """Let hold again what something took the place of that was forgotten, until what came next.

    Args:
        gone: What was forgotten, as it was.
        caller: Who forgot it; the memory itself does this, whatever the caller may change.
    """
    steward = Access.steward(caller.scope.tenant, caller.now())
    view = replace(caller.whole_view(), access=steward)
    engine, by_id = caller.parts.store.engine, {cube.id: cube for cube in gone}
    old: dict[str, Cube] = {}
    for cube in gone:
        here = replace(view, spaces=(cube.space,))
        found = [engine.get(parent.id, here) for parent in cube.header.lineage.parents]
        found += same_facts(here, *_said(cube), caller)
        old |= {each.id: each for each in found if each is not None and each.header.life.superseded_by in by_id}
    out: list[Cube] = []
    for cube in old.values():
        here = replace(view, spaces=(cube.space,))
        change = _reopening(cube, by_id[cube.header.life.superseded_by or ""], here, caller)
        with suppress(Denied, NotFound):  # frozen, or forgotten with the rest
            out += caller.parts.store.change([change], view=here, actor=caller.scope, now=caller.now())
    return out


def _reopening(old: Cube, by: Cube, view: View, caller: Caller) -> Change:
    """Return the change by which something holds again, until what came next, when what took its place is gone."""
    life = old.header.life
    state = "activated" if life.state == "archived" else life.state
    end = None if life.valid_to == by.time else life.valid_to
    header = replace(old.header, life=replace(life, superseded_by=None, valid_to=end, state=state))
    stands = Statement.of(replace(old, header=header))
    others = [cube for cube in same_facts(view, *_said(old), caller) if cube.id != old.id]
    for claim in find_conflicts([stands], lambda _: others):
        if claim.old.id == old.id:
            header = superseded(header, claim, archive=claim.is_explicit)
    detail: dict[str, Json] = {"why": "brought back", "forgotten": by.id}
    return old.id, lambda now: replace(now, header=replace(now.header, life=header.life)), "state", detail


def _said(cube: Cube) -> tuple[Json, Json]:
    """Return the subject and the attribute that the metadata of a cube name."""
    return cube.header.metadata.get("subject"), cube.header.metadata.get("attribute")


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
