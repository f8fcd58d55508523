"""Which memories take the place of which, found while they are added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .core.clock import micros
from .core.cube import Cube, Draft, seal_id
from .core.events import EventOp
from .core.payload import Json
from .core.where import Condition, Where
from .govern.conflict import Fact, Statement, Supersession, find_conflicts, superseded, superseding
from .parts import Caller, ConflictMode
from .store import Change, Placed

__all__ = ["Claims"]

_NEAR = 50  # memories near in words or meaning, and latest ones, that may state the same attribute
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

        Cost: nothing where no draft states a fact; else one look-up a fact.
        """
        if mode == "off" or (mode == "explicit" and not any(_is_explicit(draft) for draft in drafts)):
            return cls(drafts)
        ids = tuple(seal_id(draft, caller.scope, caller.space) for draft in drafts)
        first = caller.parts.store.engine.head().seq + 1
        owner, now = caller.scope.user or caller.scope.agent or "", caller.now()
        told = [
            Statement.of_draft(draft, id=id, owner=owner, now=now, order=first + place)
            for place, (draft, id) in enumerate(zip(drafts, ids, strict=True))
        ]
        wanted = [s for s in told if any(f.is_explicit or mode == "rules" for f in s.facts)]
        lookup = _Lookup(caller, drafts)
        found = tuple(find_conflicts(wanted, lookup.candidates)) if wanted else ()
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

    def _same(self, subject: str, attribute: str) -> Sequence[Cube]:
        said = (Condition("subject", "eq", subject), Condition("attribute", "eq", attribute))
        view = self._caller.view(Where(metadata=said))
        return self._caller.parts.store.engine.find(view, newest_first=True, limit=_SAME, after=None)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
