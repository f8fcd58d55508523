"""What the steps of a pipeline do, each by verbs of a memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

from . import schedule
from .configuring import REDACTION, secret_of
from .core.clock import instant
from .core.cube import Cube, Draft
from .core.header import Header, Lineage, Origin, Parent
from .core.payload import Text
from .core.where import EVERY_STATE
from .errors import BadInput, PinyonError
from .govern.rights import check_owner, joined_rights
from .reading import where_of
from .text.base import Hit

if TYPE_CHECKING:
    from .memory import Memory

__all__ = ["PERFORMED", "Gave", "Work", "perform"]

_MOST_TOKENS: Final = 60  # of a condensed text where a step says nothing; as HEMA's summaries
_SETTLED: Final = {"archive": "archived", "expire": "expired", "freeze": "frozen", "activate": "activated"}
_EXTRA: Final = ("tags", "metadata", "expires", "priority", "time")


@dataclass(frozen=True, slots=True)
class Gave:
    """What a step gives to those after it.

    Args:
        cubes: Memories, each once.
        text: A text, or an empty one.
    """

    cubes: tuple[Cube, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """What a step works with.

    Args:
        memory: The caller's, in the space of the step.
        step: What is to be done, with values in place.
        cubes: What earlier steps gave, as it is now.
        text: The texts that they gave, one after the other.
    """

    memory: Memory
    step: schedule.Step
    cubes: tuple[Cube, ...] = ()
    text: str = ""

    @property
    def options(self) -> Mapping[str, Any]:
        """Options of the step, checked when it was read."""
        return self.step.options

    def some(self, *names: str) -> dict[str, Any]:
        """Return those of some options that were given."""
        return {name: self.options[name] for name in names if name in self.options}

    def texts(self, name: str) -> tuple[str, ...]:
        """Return an option that takes one text or several."""
        value = self.options.get(name, ())
        return (value,) if isinstance(value, str) else tuple(value)

    def at(self, cube: Cube) -> Memory:
        """Return the memory in the space of a cube."""
        return self.memory if cube.space == self.memory.space else self.memory.at(space=cube.space)

    def each(self, change: Callable[[Memory, Cube], Cube]) -> Gave:
        """Return what a change makes of every memory."""
        return Gave(tuple(change(self.at(cube), cube) for cube in self.cubes), self.text)


def perform(work: Work) -> Gave:
    """Do one step.

    Raises:
        PinyonError: It failed.
    """
    if isinstance(work.step.do, str):
        return PERFORMED[work.step.do](work)
    try:
        return _given_back(work, work.step.do(work.memory, work.cubes))
    except PinyonError:
        raise
    except Exception as error:
        raise StepError(f"{work.step.verb} failed: {type(error).__name__}: {error}") from error


class StepError(PinyonError, RuntimeError):
    """A function that a step calls failed; the cause is chained."""


def _given_back(work: Work, found: object) -> Gave:
    """Return what a function of a caller gave back: memories, their ids, or None for those it was given."""
    if found is None:
        return Gave(work.cubes, work.text)
    if isinstance(found, str) or not isinstance(found, Iterable):
        raise BadInput(f"{work.step.verb} returned a {type(found).__name__}", hint="return memories, ids, or None")
    return Gave(tuple(each if isinstance(each, Cube) else work.memory.get(each) for each in found))


# --- reading --------------------------------------------------------------------------------------------------------


def _search(work: Work) -> Gave:
    asked = work.some("k", "where")
    return Gave(tuple(hit.cube for hit in work.memory.search(work.options["question"], **asked).hits))


def _list(work: Work) -> Gave:
    found = work.memory.iterate(where=work.options.get("where"))
    return Gave(tuple(islice(found, work.options.get("limit"))))


def _get(work: Work) -> Gave:
    return Gave(tuple(work.memory.get(id) for id in work.texts("ids")))


def _recall(work: Work) -> Gave:
    found = work.memory.recall(work.options["question"], **work.some("where", "budget_tokens"))
    return Gave(tuple(hit.cube for hit in found.hits), found.text)


def _ask(work: Work) -> Gave:
    answer = work.memory.ask(work.options["question"], **work.some("where", "budget_tokens", "generator"))
    return Gave(tuple(each.hit.cube for each in answer.citations), answer.text if answer.citations else "")


def _changed(work: Work) -> Gave:
    where = work.options.get("where") or {"states": list(EVERY_STATE)}
    found = work.memory.diff(work.options["since"], work.options.get("until"), where=where)
    return Gave((*found.created, *(new for _, new in (*found.changed, *found.moved))))


def _pick(work: Work) -> Gave:
    where = where_of({"states": list(EVERY_STATE), **work.options.get("where", {})})
    found = [cube for cube in work.cubes if where.matches(cube)]
    return Gave(tuple(found[: work.options.get("limit")]))


def _repeats(work: Work) -> Gave:
    from .text.alike import distinct_hits

    groups = distinct_hits([Hit(cube, 0.0) for cube in work.cubes])
    return Gave(tuple(hit.cube for _, others in groups for hit in others))


def _condense(work: Work) -> Gave:
    from .text.summarize import ExtractiveSummarizer, LLMSummarizer, Summarizer

    parts = work.memory.caller.parts
    most, by = work.options.get("tokens") or _MOST_TOKENS, work.options.get("by")
    summarizer: Summarizer
    if by:
        summarizer = LLMSummarizer(parts.generator(by), most)
    else:
        summarizer = ExtractiveSummarizer(
            parts.counter.count_many, most_tokens=most, recency=0.0, analyzer=parts.finder.analyzer
        )
    texts = [cube.text for cube in sorted(work.cubes, key=lambda cube: (cube.time, cube.row)) if cube.text.strip()]
    held = Counter(term for text in texts for term in set(parts.finder.analyzer.terms(text)))

    def weigh(term: str) -> float:  # what several texts say matters more
        return math.log1p(held[term]) / math.log1p(max(1, len(texts)))

    return Gave(work.cubes, summarizer.summarize(texts, "rewrite", weigh) if texts else "")


# --- writing --------------------------------------------------------------------------------------------------------


def _add(work: Work) -> Gave:
    text = work.options.get("text") or work.text or "\n\n".join(cube.text for cube in work.cubes)
    if not text.strip():
        return Gave()
    made_of = [cube.id for cube in work.cubes]
    return Gave(work.memory.add(text, derived_from=made_of, **work.some(*_EXTRA)).cubes, text)


def _copy(work: Work) -> Gave:
    """Write texts into another space, bound to what they are copies of."""
    there = work.memory.at(space=work.options["to"]).caller
    strange = next((cube for cube in work.cubes if not isinstance(cube.payload, Text)), None)
    if strange is not None:
        raise BadInput(f"cube {strange.id!r} is of kind {strange.kind.value}, and only texts are copied here")
    same = next((cube for cube in work.cubes if cube.space == there.space), None)
    if same is not None:
        raise BadInput(f"cube {same.id!r} lies in the space {there.space!r} already", hint="copy into another space")
    check_owner(there.scope, work.cubes)
    there.check_space()
    drafts = [_copied(cube, work.texts("tags")) for cube in work.cubes]
    with there.audited("copy") as touched:
        placed = there.parts.store.put(
            drafts,
            owner=there.scope,
            space=there.space,
            now=there.now(),
            access=there.access(),
            sources=work.cubes,
        )
        touched.extend(each.cube for each in placed if each.outcome != "unchanged")
    there.parts.finder.wrote()
    return Gave(tuple(each.cube for each in placed))


def _copied(cube: Cube, tags: Sequence[str]) -> Draft:
    """Return a copy of a text: what it says, when and by whom, with no more rights and no longer life."""
    old = cube.header
    life = replace(old.life, state="generated", stale=False, thaws_to=None, superseded_by=None)
    header = Header(
        replace(old.provenance, origin=Origin.CONVERSION),
        joined_rights([cube]),
        life,
        Lineage((Parent(cube.id, cube.version, "copied"),)),
        tuple(dict.fromkeys((*old.tags, *tags))),
        old.metadata,
    )
    return Draft(cube.payload, header, key=f"copy\x00{cube.id}", session=cube.owner.session)


def _update(work: Work) -> Gave:
    given = work.some("text", *_EXTRA)
    if not given:
        raise BadInput("nothing says what to update", hint=f"give one of text, {', '.join(_EXTRA)}")
    if "tags" in given:
        given["tags"] = work.texts("tags")
    return work.each(lambda memory, cube: memory.update(cube.id, **given))


def _tag(work: Work) -> Gave:
    return work.each(lambda memory, cube: _labelled(memory, cube, (*cube.header.tags, *work.texts("tags"))))


def _untag(work: Work) -> Gave:
    gone = work.texts("tags")
    return work.each(lambda memory, cube: _labelled(memory, cube, [t for t in cube.header.tags if t not in gone]))


def _labelled(memory: Memory, cube: Cube, tags: Sequence[str]) -> Cube:
    wanted = tuple(dict.fromkeys(tags))
    return cube if wanted == cube.header.tags else memory.update(cube.id, tags=wanted)


def _redact(work: Work) -> Gave:
    from .govern.redact import RedactionRule, Redactor

    parts, kinds = work.memory.caller.parts, work.texts("kinds")
    keep = work.options.get("keep_last") or 0
    rules = [RedactionRule(kind, "mask", keep_last=keep) for kind in kinds]
    redactor = Redactor(rules, key=secret_of(parts.root_engine, REDACTION)) if rules else None

    def covered(memory: Memory, cube: Cube) -> Cube:
        if not isinstance(cube.payload, Text):
            return cube
        given = [Draft(cube.payload, cube.header)]
        tenant = memory.caller.scope.tenant
        (draft,) = redactor.apply(given) if redactor is not None else parts.redacted(given, tenant)
        return cube if (draft.payload, draft.header) == (cube.payload, cube.header) else _said(memory, cube, draft)

    return work.each(covered)


def _said(memory: Memory, cube: Cube, draft: Draft) -> Cube:
    """Return the next version of a cube, which says what a draft says."""
    caller = memory.caller
    with caller.audited("redact", [cube]):
        return caller.parts.store.update(
            cube.id,
            lambda old: replace(old, payload=draft.payload, header=draft.header),
            view=caller.whole_view(),
            actor=caller.scope,
            now=caller.now(),
            expected=cube.version,
        )


def _merge(work: Work) -> Gave:
    if len(work.cubes) < 2:
        return Gave(work.cubes, work.text)
    text = work.options.get("text") or work.text or "\n\n".join(cube.text for cube in work.cubes)
    ids = [cube.id for cube in work.cubes]
    return Gave((work.at(work.cubes[0]).merge(ids, text, **work.some("why")),), text)


def _moved(work: Work) -> Gave:
    """Move each in its life; what stands there already stays as it is."""
    verb = str(work.step.do)

    def move(memory: Memory, cube: Cube) -> Cube:
        if cube.header.life.state == _SETTLED.get(verb):
            return cube
        return cast("Cube", getattr(memory, verb)(cube.id, **work.some("why")))

    return work.each(move)


def _rollback(work: Work) -> Gave:
    moment = instant(work.options["to"])

    def back(memory: Memory, cube: Cube) -> Cube:
        engine = memory.caller.parts.store.engine
        then = engine.by_rows([cube.row], engine.seq_at(moment)).get(cube.row)
        if then is None:
            return cube if cube.header.life.state == "archived" else memory.archive(cube.id, why="rollback")
        return cube if then.version == cube.version else memory.rollback(cube.id, then.version)

    return work.each(back)


def _forget(work: Work) -> Gave:
    for space in dict.fromkeys(cube.space for cube in work.cubes):
        ids = [cube.id for cube in work.cubes if cube.space == space]
        work.memory.at(space=space).forget(ids, **work.some("derived"))
    return Gave()


def _convert(work: Work) -> Gave:
    given = work.some("backbone", "form")
    made = work.at(work.cubes[0]).convert([cube.id for cube in work.cubes], **given)
    return Gave((made.cube,))


PERFORMED: Final[Mapping[str, Callable[[Work], Gave]]] = {
    "search": _search,
    "list": _list,
    "get": _get,
    "recall": _recall,
    "ask": _ask,
    "changed": _changed,
    "pick": _pick,
    "repeats": _repeats,
    "condense": _condense,
    "add": _add,
    "copy": _copy,
    "update": _update,
    "tag": _tag,
    "untag": _untag,
    "redact": _redact,
    "merge": _merge,
    **dict.fromkeys(("archive", "restore", "activate", "expire", "freeze", "thaw", "pin", "unpin"), _moved),
    "rollback": _rollback,
    "forget": _forget,
    "convert": _convert,
}
"""By name of the operation."""
