"""The verbs of a memory that read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack, cast

from .core.budget import Budget
from .core.clock import micros
from .core.cube import Cube, Version
from .core.payload import Json, Kind, clean, digest
from .core.where import View, Where, where_from
from .errors import BadInput, ModelError, NotFound
from .parts import LICENCES, MOUNTS, Caller, Handle, Parts, Who
from .results import Answer, Citation, Page, Recall, Stats
from .states import check_fusing
from .store.blobs import FileBlobs, MemoryBlobs

if TYPE_CHECKING:
    from .models import Generator
    from .state.fuse import FuseMode
    from .store import Engine
    from .text import Composer, Hit, Hits, SizeRouter

__all__ = ["Asked", "CallerShelf", "Filters", "Reading", "cited_answer", "generated", "where_of"]

Filters = Where | Mapping[str, object] | None
"""A filter: a `Where`, or its fields as a mapping."""

_USED = 0.25  # share of the best score from which on a hit counts as used; a small memory shows all it has
_UNKNOWN = "I find nothing about that in this memory."


class Reading(Handle):
    """Get, list, search, recall, ask, history, stats."""

    def get(self, id: str, **who: Unpack[Who]) -> Cube:
        """Return one cube, in whatever state of its life; what has expired has a history only.

        Args:
            id: Its id, or at least its first four characters.
            who: Who asks.

        Raises:
            NotFound: There is no such cube for this caller, or it has expired, or several begin so.
        """
        caller = self._reader(who)
        cube = caller.parts.one(id, caller)
        if caller.has_expired(cube):
            raise NotFound(
                f"cube {cube.id!r} has expired", hint="`pinyon history` shows what it said until it is dropped"
            )
        with caller.audited("get", [cube]):
            return cube

    def list(
        self,
        *,
        where: Filters = None,
        limit: int = 50,
        cursor: str | None = None,
        newest_first: bool = True,
        **who: Unpack[Who],
    ) -> Page:
        """Return cubes in order of time, page by page.

        Args:
            where: Filter.
            limit: Cubes a page, 1 to 10,000.
            cursor: `Page.cursor` of the page before.
            newest_first: Order.
            who: Who asks.
        """
        caller = self._reader(who)
        if not isinstance(limit, int) or not 1 <= limit <= 10_000:
            raise BadInput(f"a page of {limit!r} cubes is not possible", hint="1 to 10000")
        view = caller.view(where_of(where))
        after = None if cursor is None else _cursor(cursor)
        with caller.audited("list"):
            found = caller.parts.store.engine.find(view, newest_first=newest_first, limit=limit + 1, after=after)
        more = len(found) > limit
        last = found[limit - 1] if more else None
        return Page(tuple(found[:limit]), None if last is None else f"{micros(last.time)}-{last.row}")

    def iterate(self, *, where: Filters = None, **who: Unpack[Who]) -> Iterator[Cube]:
        """Yield every cube that a filter admits, oldest first."""
        yield from self._all(where_of(where), who)

    def _all(self, where: Where, who: Who) -> Iterator[Cube]:
        cursor: str | None = None
        while True:
            page = self.list(where=where, limit=1000, cursor=cursor, newest_first=False, **who)
            yield from page.cubes
            if (cursor := page.cursor) is None:
                return

    def history(self, id: str, **who: Unpack[Who]) -> Sequence[Version]:
        """Return every version of a cube, oldest first.

        Raises:
            NotFound: There is no such cube for this caller.
        """
        caller = self._reader(who)
        cube = caller.parts.one(id, caller, "history")
        with caller.audited("history", [cube]):
            return caller.parts.store.history(cube.id, caller.whole_view())

    def search(self, question: str, *, k: int = 10, where: Filters = None, **who: Unpack[Who]) -> Hits:
        """Return the best hits for a question, with reasons.

        Of several in which one speaker says the same words the latest is shown; a note names the others.

        Args:
            question: Any text; operators have no meaning in it. A text in double quotes must stand in a hit as it is
                if any cube holds it.
            k: How many, >= 1.
            where: Filter.
            who: Who asks.

        Raises:
            BadInput: The question is empty, or k is below 1.
        """
        caller = self._reader(who)
        found = _licensed(self._distinct(question, k, where, caller), caller, "search")
        least = _USED * found.hits[0].score if found.hits else 0.0
        seen = [hit for hit in found.hits if hit.score >= least]
        _told(caller, "search", question, k, found, seen, is_used=False)
        return found

    def _distinct(self, question: str, k: int, where: Filters, caller: Caller) -> Hits:
        from .text.alike import without_repeats

        by_day = isinstance(question, str) and _is_by_day(question)
        return without_repeats(lambda wide: self._found(question, wide, where, caller), k, by_day=by_day)

    def _found(self, question: str, k: int, where: Filters, caller: Caller) -> Hits:
        question = _question(question)
        if not isinstance(k, int) or k < 1:
            raise BadInput(f"k must be a whole number of at least 1, got {k!r}")
        return caller.parts.finder.search(question, k, caller.view(_words(where)))

    def recall(
        self,
        question: str,
        *,
        budget_tokens: int = 2000,
        where: Filters = None,
        router: SizeRouter | None = None,
        composer: Composer | None = None,
        **who: Unpack[Who],
    ) -> Recall:
        """Return what a prompt needs to answer a question, packed to a token budget.

        Everything, in order, when it fits; else the best hits. Each passage has a number, a date and a speaker.

        Args:
            question: What the prompt is about.
            budget_tokens: Most tokens of the context, >= 1; never exceeded.
            where: Filter.
            router: Chooses the form by size, time and price of the caller's model; None reads everything when it fits
                the budget and searches otherwise. What it chose, and why, is `Recall.decision`.
            composer: Lays out what was found; None numbers the passages in order of time, `ReadTwice` shows them twice.
            who: Who asks.
        """
        caller = self._reader(who)
        recalled = self._recalled(question, budget_tokens, where, caller, router, composer)
        _told(caller, "recall", question, budget_tokens, recalled.found, recalled.hits)
        return recalled

    def _recalled(
        self,
        question: str,
        budget_tokens: int,
        where: Filters,
        caller: Caller,
        router: SizeRouter | None = None,
        composer: Composer | None = None,
        *,
        action: str = "recall",
    ) -> Recall:
        from .text import Pack, SizeRouter

        question = _question(question)
        if not isinstance(budget_tokens, int) or budget_tokens < 1:
            raise BadInput(f"a budget of {budget_tokens!r} tokens is not possible", hint="give a whole number above 0")
        shelf = CallerShelf(caller.parts, caller.view(_words(where)))
        budget = Budget(tokens=budget_tokens)
        routed = (router or SizeRouter()).route(question, shelf, budget)
        found = _licensed(_present(routed.hits), caller, action)
        context = (composer or Pack(by_day=_is_by_day(question))).compose(found.hits, shelf, budget)
        return Recall(context, found, routed.decision)

    def ask(
        self,
        question: str,
        *,
        generator: Generator | str | None = None,
        budget_tokens: int = 2000,
        where: Filters = None,
        router: SizeRouter | None = None,
        composer: Composer | None = None,
        fuse: FuseMode | None = None,
        **who: Unpack[Who],
    ) -> Answer:
        """Answer a question from what is remembered, with citations; without evidence, say so.

        Args:
            question: What to answer.
            generator: Writes the answer from the recalled passages: an object, or a word that names one as on the
                command line (``openai:<model>@<base_url>``, ``anthropic:<model>``, ``hf:<id>``, ``local:<model>``),
                with the key of the settings. None quotes the sentences that answer.
            budget_tokens: Most tokens of the passages given to the generator.
            where: Filter.
            router: Chooses the form by size, time and price of the caller's model; None reads everything when it fits
                the budget and searches otherwise. What it chose, and why, is `Recall.decision`.
            composer: Lays out what was found; None numbers the passages in order of time, `ReadTwice` shows them twice.
            fuse: How a local model puts several states of what was found together: ``repair`` or ``reposition``, which
                are approximate, with the error measured on a sample; where it is more than 0.1 nats, one state is
                attached and the rest is read. ``recompute`` always does that, which is exact. None as
                `StateConfig.fuse` has it, which is exact too where nothing was said.
            who: Who asks.

        Raises:
            BadInput: An argument cannot be used.
            ModelError: The generator failed.
        """
        caller = self._reader(who)
        check_fusing(fuse)
        if generator is None:
            answer = self._quote(question, where, caller)
        else:
            writer = caller.parts.generator(generator)
            recalled = self._recalled(question, budget_tokens, where, caller, router, composer, action="ask")
            fuse = fuse or caller.parts.desk.config.fuse
            asked = Asked(question, caller, recalled, budget_tokens, where_of(where), composer is None, fuse)
            answer = self._generated(writer, asked)
        _told(caller, "ask", question, len(answer.citations), answer.recall.found, answer.recall.hits)
        return answer

    def _generated(self, generator: Generator, asked: Asked) -> Answer:
        return generated(asked.question, generator, asked.recalled)

    def _quote(self, question: str, where: Filters, caller: Caller) -> Answer:
        from .text import Extractive, Pack

        found = _licensed(_present(self._distinct(question, 12, where, caller)), caller, "ask")
        finder = caller.parts.finder
        chosen = Extractive().answer(
            question,
            found.hits,
            terms=finder.analyzer.terms,
            likeness=finder.likeness,
            found=found.terms,
            size=found.considered,
        )
        shelf = CallerShelf(caller.parts, caller.view(_words(where)))
        cited = list({s.hit.cube.id: s.hit for s in chosen}.values())
        numbers = {hit.cube.id: number for number, hit in enumerate(cited, 1)}
        recalled = Recall(Pack(by_day=_is_by_day(question)).compose(found.hits, shelf, Budget(tokens=2000)), found)
        if not chosen:
            return Answer(_UNKNOWN, (), recalled)
        citations = tuple(Citation(numbers[s.hit.cube.id], s.hit, s.text) for s in chosen)
        text = "\n".join(f"{citation.quote} [{citation.number}]" for citation in citations)
        return Answer(text, citations, recalled)

    def stats(self, **who: Unpack[Who]) -> Stats:
        """Return what is in the memory, as far as the caller may see."""
        caller = self._reader(who)
        parts = caller.parts
        engine = parts.store.engine
        view = caller.view()
        by_space = _by_space(caller, view)
        return Stats(
            engine.location,
            sum(by_space.values()),
            by_space,
            engine.bytes() + _blob_bytes(engine) + _folder_bytes(parts.folder),
            parts.finder.fingerprint,
            parts.finder.waiting(),
            {**_mounted(parts), **_embedding(parts), **_tiers(parts)},
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that a generator is to answer.

    Args:
        question: What was asked.
        caller: Who asks.
        recalled: What was found, packed.
        budget_tokens: Most tokens of the passages.
        where: Filter.
        is_plain: Whether the passages are laid out as always.
        fuse: How several states of a local model are put together; None reads on from one.
    """

    question: str
    caller: Caller
    recalled: Recall
    budget_tokens: int
    where: Where
    is_plain: bool = True
    fuse: FuseMode | None = None


@dataclass(frozen=True, slots=True)
class CallerShelf:
    """A memory narrowed to one view, for the mechanisms of the text room."""

    parts: Parts
    view: View

    def search(self, question: str, k: int) -> Hits:
        """Return the best hits."""
        return self.parts.finder.search(question, k, self.view)

    def everything(self, limit: int) -> Sequence[Cube]:
        """Return up to `limit` cubes in the order in which they were lived or written."""
        return self.parts.store.engine.find(self.view, newest_first=False, limit=limit, after=None)

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of prompt tokens of each text."""
        return self.parts.counter.count_many(texts)


def generated(question: str, generator: Generator, recalled: Recall) -> Answer:
    """Return what a generator answers from what was recalled; without evidence it is not asked."""
    if not recalled.hits:
        return Answer(_UNKNOWN, (), recalled, by=generator.name)
    from .text import cited_prompt

    return cited_answer(generator.generate(cited_prompt(question, recalled.text)), generator, recalled)


def cited_answer(text: str, generator: Generator, recalled: Recall) -> Answer:
    """Return what a generator wrote, with the passages that it names.

    Raises:
        ModelError: It wrote no text.
    """
    if not isinstance(text, str):
        raise ModelError(f"the generator {generator.name!r} returned a {type(text).__name__} where text was expected")
    numbers = sorted({n for n in _cited(text) if 1 <= n <= len(recalled.hits)})
    citations = tuple(Citation(n, recalled.hits[n - 1]) for n in numbers)
    return Answer(text.strip(), citations, recalled, by=generator.name)


def _present(found: Hits) -> Hits:
    """Leave out what something else that was found has taken the place of, and say so."""
    ids = {hit.cube.id for hit in found.hits}
    kept = tuple(hit for hit in found.hits if hit.cube.header.life.superseded_by not in ids)
    gone = len(found.hits) - len(kept)
    if not gone:
        return found
    note = f"left out {gone} that newer memories have taken the place of; history shows them"
    return replace(found, hits=kept, notes=(*found.notes, note))


def _licensed(found: Hits, caller: Caller, action: str) -> Hits:
    """Count the read of what is under a licence, and leave out what may not be read any more."""
    if not caller.parts.root_engine.setting(LICENCES):
        return found
    from .licences import licensed

    return licensed(found, caller, action)


def _told(
    caller: Caller, action: str, question: str, k: int, found: Hits, used: Sequence[Hit], *, is_used: bool = True
) -> None:
    """Note which memories were used, that is found and put into a prompt, or looked at; and what the audit asks for."""
    parts = caller.parts
    if caller.at is None and not parts.store.engine.is_read_only:
        texts = {hit.cube.row: digest(hit.cube.text) for hit in used}
        parts.heat.note([hit.cube.row for hit in used], texts=texts, by=caller.scope, is_used=is_used)
    parts.auditor.searched(
        caller.scope, action, question, space=caller.space, k=k, hits=len(used), considered=found.considered
    )


def where_of(filters: Filters) -> Where:
    """Return a filter as a `Where`."""
    if filters is None:
        return Where()
    return filters if isinstance(filters, Where) else where_from(filters)


def _words(filters: Filters) -> Where:
    """Return a filter that asks for words where it names no kind: a state or a change of weights has none to find."""
    where = where_of(filters)
    return where if where.kinds else replace(where, kinds=(Kind.TEXT,))


def _by_space(caller: Caller, view: View) -> dict[str, int]:
    """Return the number of cubes in each space of this memory; of one that is mounted, in that space alone."""
    parts, engine = caller.parts, caller.parts.store.engine
    if parts.mount is not None:
        return {parts.mount.name: number} if (number := engine.count(view)) else {}
    counted = {name: engine.count(replace(view, spaces=(name,))) for name in engine.spaces(view)}
    for name in parts.rooms.names if parts.rooms is not None else ():
        room = caller.narrowed({"space": name})
        if number := room.parts.store.engine.count(room.view()):
            counted[name] = number
    return counted


def _mounted(parts: Parts) -> dict[str, Json]:
    """Return where the spaces lie that are mounted; they are counted there, and not here."""
    if parts.home is not parts or not parts.store.engine.setting(MOUNTS):
        return {}
    return {"mounts": {name: mount.place for name, mount in parts.all_mounts().known.items()}}


def _tiers(parts: Parts) -> dict[str, Json]:
    """Return where the tensors of states that this process used are at hand."""
    found = parts.desk.statistics
    return {} if found is None else {"states_at_hand": cast("Json", asdict(found))}


def _is_by_day(question: str) -> bool:
    """Return whether it is asked for the first, the latest or how many: the same words of two days are two answers."""
    from .text.questions import read_question

    cues = read_question(question)
    return cues.order is not None or cues.wants_several


def _question(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise BadInput(f"the question is empty: {text!r}", hint="give at least one word")
    return clean(text)


def _cited(text: str) -> Iterator[int]:
    return (int(n) for n in re.findall(r"\[(\d{1,4})\]", text))


def _blob_bytes(engine: Engine) -> int:
    """Return the bytes of blobs that lie beside the database; a server's own bytes count those in its tables."""
    return engine.blobs.size() if isinstance(engine.blobs, (FileBlobs, MemoryBlobs)) else 0


def _folder_bytes(folder: Path | None) -> int:
    if folder is None or not folder.exists():
        return 0
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


def _embedding(parts: Parts) -> dict[str, Json]:
    """Return what there is to say of an embedder whose vectors searches do not use, or that fails."""
    chosen, failure = parts.finder.chosen(), parts.finder.failure()
    out: dict[str, Json] = {} if chosen == parts.finder.fingerprint else {"chosen_embedder": chosen}
    return out | {"embedder_failure": failure} if failure else out


def _cursor(text: str) -> tuple[int, int]:
    moment, _, row = text.rpartition("-") if isinstance(text, str) else ("", "", "")
    try:
        return int(moment), int(row)
    except ValueError as error:
        raise BadInput(f"{text!r} is no cursor of a page", hint="give `Page.cursor` of the page before") from error
