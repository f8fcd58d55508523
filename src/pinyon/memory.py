"""The facade: a memory, its verbs, and the only place where its parts are wired together."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict, Unpack

from .core.budget import Budget
from .core.clock import Clock, Instant, SystemClock, instant, micros
from .core.cube import Cube, Draft, Version, check_metadata
from .core.experience import Document, Experience, Note
from .core.payload import Text, clean
from .core.scope import DEFAULT_SPACE, Scope, check_name
from .core.where import EVERY_STATE, LIVE_STATES, View, Where, where_from
from .errors import BadInput, NotFound
from .index import Analyzer, IndexConfig
from .intake import BATCH, batches, dressed, experience_of
from .models import Embedder, Generator, StaticTokenCounter, TokenCounter, embedder_from
from .results import Added, Answer, Citation, Forgotten, Page, Recall, Stats
from .searching import Finder
from .store import Archived, Engine, MemoryEngine, Placed, SourceMark, SqliteEngine, Store
from .store.sqlite import Durability
from .text import Extractive, Hits, Pack, SizeRouter, Verbatim, cited_prompt

__all__ = ["Filters", "Memory", "Who", "where_of"]

Filters = Where | Mapping[str, object] | None
"""A filter: a `Where`, or its fields as a mapping."""

_SHORTEST_PREFIX = 4  # hexadecimal digits by which a cube may be named


class Who(TypedDict, total=False):
    """Who asks and where; what is not given is as the memory was opened."""

    tenant: str | None
    user: str | None
    agent: str | None
    session: str | None
    space: str


@dataclass(slots=True)
class _Parts:
    """Everything that a memory and its narrowed copies share."""

    store: Store
    finder: Finder
    counter: TokenCounter
    clock: Clock
    folder: Path | None
    is_closed: bool = False


class Memory:
    """A memory: add, search, recall, ask, update, forget.

    Safe for use by several threads; several processes may open the same file.

    Example:
        >>> with Memory.open(":memory:") as memory:
        ...     added = memory.add("Ann keeps bees behind the old mill.")
        ...     memory.search("Where are the bees?").hits[0].cube.text
        'Ann keeps bees behind the old mill.'
    """

    def __init__(self, parts: _Parts, scope: Scope, space: str) -> None:
        self._parts = parts
        self._scope = scope
        self._space = space

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] = ":memory:",
        *,
        embedder: Embedder | str | None = None,
        api_key: str | None = None,
        tokens: TokenCounter | None = None,
        clock: Clock | None = None,
        durability: Durability = "full",
        language: str | None = None,
        index: IndexConfig | None = None,
        **who: Unpack[Who],
    ) -> Memory:
        """Open a memory, making it when it is not there.

        Args:
            path: A file, a folder (then ``memory.db`` in it), an address (``sqlite:///notes.db``), or ``":memory:"``
                for one that goes with the process.
            embedder: An embedder, its short name (``static``, ``minilm``, ``e5``, ``hf:<id>`` …), or None for the one
                the memory was made with, at first the static one that comes with pinyon. With another one than before,
                searches go on with the old vectors while a background job makes the new ones.
            api_key: Key of the endpoint of an embedder that is given by its name, where it wants one.
            tokens: Counts prompt tokens; None counts with the tokenizer of the static embedder.
            clock: Where record time comes from.
            durability: ``full`` survives loss of power, ``normal`` only a killed process.
            language: Of the stemmer, as Snowball names it; None takes that of the last time, at first English.
            index: Weights and constants of the ranking; None takes the measured ones.
            who: Whose memory it is by default, and its default space.

        Raises:
            Damaged: The file is no sound pinyon database.
            TooNew: It was written by a later pinyon.
            StoreError: It cannot be opened or written.
        """
        engine: Engine
        folder: Path | None = None
        if os.fspath(path) == ":memory:":
            engine = MemoryEngine()
        else:
            file = _file_of(path)
            engine = SqliteEngine(file, durability=durability)
            folder = file.with_name(file.name + ".index")
        analyzer = Analyzer(language or engine.setting("language") or "english")
        if language is not None and engine.setting("language") != language:
            engine.set_setting("language", language)
        finder = Finder(engine, _chosen_embedder(engine, embedder, api_key), analyzer, folder, index or IndexConfig())
        parts = _Parts(Store(engine), finder, tokens or StaticTokenCounter(), clock or SystemClock(), folder)
        return cls(parts, Scope(), DEFAULT_SPACE).at(**who)

    def at(self, **who: Unpack[Who]) -> Memory:
        """Return the same memory for another caller or space; it shares everything with this one.

        Example:
            >>> ann = Memory.open(":memory:").at(user="ann")
            >>> len(ann.add("I am allergic to peanuts.").cubes)
            1
        """
        scope, space = self._who(who)
        return Memory(self._parts, scope, space)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write the index's snapshot, end background work and close the file; closing twice is no error."""
        parts = self._parts
        if not parts.is_closed:
            parts.is_closed = True
            try:
                parts.finder.close()
            finally:
                parts.store.engine.close()

    @property
    def scope(self) -> Scope:
        """Who asks by default."""
        return self._scope

    @property
    def space(self) -> str:
        """The default space."""
        return self._space

    @property
    def store(self) -> Store:
        """The store itself, for tools that go below the verbs."""
        return self._parts.store

    # --- writing -----------------------------------------------------------------------------------------------

    def add(
        self,
        what: str | Experience | Sequence[Mapping[str, object]],
        *,
        time: Instant | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, object] | None = None,
        **who: Unpack[Who],
    ) -> Added:
        """Remember something, word for word; on return it has reached the disk.

        Args:
            what: A text, chat messages (``[{"role": …, "content": …, "name"?: …, "time"?: …}]``), or an experience.
            time: When it happened, if that is known; for messages, those that have no time of their own.
            tags: Labels to filter by.
            metadata: Any JSON object to filter by.
            who: Whose memory it is.

        Raises:
            BadInput: It is empty, or cannot be read.
        """
        scope, space = self._who(who)
        experience = dressed(experience_of(what, scope), time, tags, check_metadata(metadata or {}))
        return self._write([experience], scope, space)

    def add_many(
        self,
        experiences: Iterable[Experience],
        *,
        progress: Callable[[int], object] | None = None,
        **who: Unpack[Who],
    ) -> Added:
        """Remember many things, in transactions of about a thousand cubes; the result counts them only.

        Args:
            experiences: Read once; may be a generator.
            progress: Told the number of cubes after each transaction.
            who: Whose memory it is.
        """
        scope, space = self._who(who)
        start = time.perf_counter()
        created = updated = unchanged = 0
        for batch in batches(experiences):
            added = self._write(batch, scope, space)
            created, updated = created + added.created, updated + added.updated
            unchanged += added.unchanged
            if progress is not None:
                progress(len(added.cubes))
        return Added((), created, updated, unchanged, _since(start))

    def add_source(self, experiences: Sequence[Experience], mark: SourceMark, **who: Unpack[Who]) -> Added:
        """Remember what one source says now; what it said before and says no longer is archived.

        Args:
            experiences: Everything read from it.
            mark: Its name and the digest of its bytes.
            who: Whose memory it is.
        """
        scope, space = self._who(who)
        return self._write(experiences, scope, space, mark=mark)

    def adopt(self, things: Sequence[Archived], **who: Unpack[Who]) -> int:
        """Take in cubes from an archive as they are; return how many were not here before.

        Args:
            things: Cubes with their past.
            who: Who imports.
        """
        self._check_open()
        scope, _ = self._who(who)
        parts = self._parts
        for thing in things:
            for data in thing.blobs:
                parts.store.engine.blobs.put(data)
        placed = parts.store.adopt(
            [(*thing.versions, thing.cube) for thing in things],
            actor=scope,
            now=parts.clock.now(),
        )
        parts.finder.wrote()
        return sum(p.outcome == "created" for p in placed)

    def source(self, name: str, content: str, **who: Unpack[Who]) -> SourceMark | None:
        """Return what is known of a source by its name, or of another one with the same content.

        Args:
            name: Its name.
            content: SHA-256 of its bytes.
            who: Whose memory it is.
        """
        scope, space = self._who(who)
        engine = self._parts.store.engine
        return engine.source(space, scope, name) or engine.source_of(space, scope, content)

    def _write(
        self, experiences: Sequence[Experience], scope: Scope, space: str, *, mark: SourceMark | None = None
    ) -> Added:
        self._check_open()
        start = time.perf_counter()
        drafts: list[Draft] = []
        for experience in experiences:
            drafts.extend(Verbatim().write(experience))
        parts = self._parts
        is_document = any(isinstance(e, (Document, Note)) for e in experiences)
        retire = mark.key if mark is not None and is_document else None
        placed = parts.store.put(
            drafts,
            owner=scope,
            space=space,
            now=parts.clock.now(),
            source=mark,
            retire=retire,
        )
        parts.finder.wrote()
        return _added(placed, start)

    def update(
        self,
        id: str,
        *,
        text: str | None = None,
        time: Instant | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, object] | None = None,
        **who: Unpack[Who],
    ) -> Cube:
        """Write the next version of a cube; the versions before stay in its history.

        Args:
            id: Its id, or the first characters of it.
            text: Its words from now on, or None to keep them.
            time: When it happened, or None to keep that.
            tags: Its labels from now on, or None to keep them.
            metadata: Its metadata from now on, or None to keep it.
            who: Who does it.

        Raises:
            NotFound: There is no such cube for this caller.
            BadInput: The text is empty, or the cube is no text.
        """
        scope, space = self._who(who)
        if text is not None and not clean(text).strip():
            raise BadInput("the new text is empty", hint="to remove a memory, forget it")
        moment = None if time is None else instant(time)
        plain = None if metadata is None else check_metadata(metadata)
        labels = None if tags is None else tuple(dict.fromkeys(check_name(clean(tag), "tag") for tag in tags))

        def change(old: Cube) -> Cube:
            if text is not None and not isinstance(old.payload, Text):
                raise BadInput(f"cube {old.id!r} is of kind {old.kind.value}, it has no words to change")
            payload = old.payload if text is None else Text(clean(text))
            header = old.header
            header = header if moment is None else replace(header, life=replace(header.life, valid_from=moment))
            header = header if labels is None else replace(header, tags=labels)
            header = header if plain is None else replace(header, metadata=plain)
            return replace(old, payload=payload, header=header)

        cube = self.get(id, **who)
        parts = self._parts
        changed = parts.store.update(
            cube.id,
            change,
            view=self._view(scope, space, Where(states=EVERY_STATE)),
            actor=scope,
            now=parts.clock.now(),
        )
        parts.finder.wrote()
        return changed

    def plan_forget(
        self,
        ids: Sequence[str] = (),
        *,
        where: Filters = None,
        query: str | None = None,
        k: int = 10,
        **who: Unpack[Who],
    ) -> Forgotten:
        """Return what `forget` with the same arguments would remove, without removing it."""
        return Forgotten(tuple(self._doomed(ids, where, query, k, who)), is_done=False)

    def forget(
        self,
        ids: Sequence[str] = (),
        *,
        where: Filters = None,
        query: str | None = None,
        k: int = 10,
        **who: Unpack[Who],
    ) -> Forgotten:
        """Remove cubes with all their versions and vectors; the journal keeps only that they went.

        Args:
            ids: Ids, or their first characters.
            where: Everything that a filter admits; needs at least one condition.
            query: The k best hits of a question.
            k: For `query`.
            who: Who does it.

        Raises:
            NotFound: An id does not exist for this caller.
            BadInput: Nothing says what to forget.
        """
        scope, space = self._who(who)
        doomed = self._doomed(ids, where, query, k, who)
        parts = self._parts
        gone: list[Cube] = []
        view = self._view(scope, space, Where(states=EVERY_STATE))
        for start in range(0, len(doomed), BATCH):
            part = [cube.id for cube in doomed[start : start + BATCH]]
            gone.extend(parts.store.remove(part, view=view, actor=scope, now=parts.clock.now()))
        if gone:
            parts.finder.forgot()
        return Forgotten(tuple(gone), is_done=True)

    def _doomed(self, ids: Sequence[str], where: Filters, query: str | None, k: int, who: Who) -> list[Cube]:
        if isinstance(ids, str):
            ids = [ids]
        doomed = [self.get(id, **who) for id in ids]
        if query is not None:
            doomed.extend(hit.cube for hit in self.search(query, k=k, where=where, **who).hits)
        elif where is not None:
            wanted = where_of(where)
            if wanted == Where():
                raise BadInput("a filter that admits everything forgets nothing", hint="name a source, a tag, a time …")
            if wanted.states == LIVE_STATES:  # what a source said before goes with what it says now
                wanted = replace(wanted, states=EVERY_STATE)
            doomed.extend(self._all(wanted, who))
        elif not ids:
            raise BadInput("nothing says what to forget", hint="give ids, a filter or a query")
        return list({cube.id: cube for cube in doomed}.values())

    # --- reading -----------------------------------------------------------------------------------------------

    def get(self, id: str, **who: Unpack[Who]) -> Cube:
        """Return one cube, in whatever state of its life.

        Args:
            id: Its id, or at least its first four characters.
            who: Who asks.

        Raises:
            NotFound: There is no such cube for this caller, or several begin so.
        """
        self._check_open()
        scope, space = self._who(who)
        view = self._view(scope, space, Where(states=EVERY_STATE))
        wanted = id.strip().lower() if isinstance(id, str) else ""
        found: list[Cube] = []
        if len(wanted) >= _SHORTEST_PREFIX and not set(wanted) - set("0123456789abcdef"):
            found = self._parts.store.engine.matching(wanted, view, 2)
        if len(found) > 1:
            raise NotFound(f"several cubes begin with {id!r}", hint="give more characters")
        if not found:
            raise NotFound(f"there is no cube {id!r} here", hint="`pinyon list` shows what there is")
        return found[0]

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
        self._check_open()
        scope, space = self._who(who)
        if not 1 <= limit <= 10_000:
            raise BadInput(f"a page of {limit} cubes is not possible", hint="1 to 10000")
        view = self._view(scope, space, where_of(where))
        after = None if cursor is None else _cursor(cursor)
        found = self._parts.store.engine.find(view, newest_first=newest_first, limit=limit + 1, after=after)
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
        scope, space = self._who(who)
        cube = self.get(id, **who)
        return self._parts.store.history(cube.id, self._view(scope, space, Where(states=EVERY_STATE)))

    def search(self, question: str, *, k: int = 10, where: Filters = None, **who: Unpack[Who]) -> Hits:
        """Return the best hits for a question, with reasons.

        Args:
            question: Any text; operators have no meaning in it. A text in double quotes must stand in a hit as it is
                if any cube holds it.
            k: How many, >= 1.
            where: Filter.
            who: Who asks.

        Raises:
            BadInput: The question is empty, or k is below 1.
        """
        self._check_open()
        question = _question(question)
        if not isinstance(k, int) or k < 1:
            raise BadInput(f"k must be a whole number of at least 1, got {k!r}")
        scope, space = self._who(who)
        return self._parts.finder.search(question, k, self._view(scope, space, where_of(where)))

    def recall(self, question: str, *, budget_tokens: int = 2000, where: Filters = None, **who: Unpack[Who]) -> Recall:
        """Return what a prompt needs to answer a question, packed to a token budget.

        Everything, in order, when it fits; else the best hits. Each passage has a number, a date and a speaker.

        Args:
            question: What the prompt is about.
            budget_tokens: Most tokens of the context, >= 1; never exceeded.
            where: Filter.
            who: Who asks.
        """
        self._check_open()
        question = _question(question)
        if not isinstance(budget_tokens, int) or budget_tokens < 1:
            raise BadInput(f"a budget of {budget_tokens!r} tokens is not possible", hint="give a whole number above 0")
        scope, space = self._who(who)
        shelf = _Shelf(self, self._view(scope, space, where_of(where)))
        budget = Budget(tokens=budget_tokens)
        found = SizeRouter().retrieve(question, shelf, budget)
        return Recall(Pack().compose(found.hits, shelf, budget), found)

    def ask(
        self,
        question: str,
        *,
        generator: Generator | None = None,
        budget_tokens: int = 2000,
        where: Filters = None,
        **who: Unpack[Who],
    ) -> Answer:
        """Answer a question from what is remembered, with citations; without evidence, say so.

        Args:
            question: What to answer.
            generator: Writes the answer from the recalled passages; None quotes the sentences that answer.
            budget_tokens: Most tokens of the passages given to the generator.
            where: Filter.
            who: Who asks.

        Raises:
            ModelError: The generator failed.
        """
        if generator is None:
            return self._quote(question, where, who)
        recalled = self.recall(question, budget_tokens=budget_tokens, where=where, **who)
        if not recalled.hits:
            return Answer(_UNKNOWN, (), recalled, by=generator.name)
        text = generator.generate(cited_prompt(question, recalled.text))
        numbers = sorted({n for n in _cited(text) if 1 <= n <= len(recalled.hits)})
        citations = tuple(Citation(n, recalled.hits[n - 1]) for n in numbers)
        return Answer(text.strip(), citations, recalled, by=generator.name)

    def _quote(self, question: str, where: Filters, who: Who) -> Answer:
        found = self.search(question, k=12, where=where, **who)
        finder = self._parts.finder
        chosen = Extractive().answer(
            question,
            found.hits,
            terms=finder.analyzer.terms,
            likeness=finder.likeness,
            found=found.terms,
            size=found.considered,
        )
        scope, space = self._who(who)
        shelf = _Shelf(self, self._view(scope, space, where_of(where)))
        cited = list({s.hit.cube.id: s.hit for s in chosen}.values())
        numbers = {hit.cube.id: number for number, hit in enumerate(cited, 1)}
        recalled = Recall(Pack().compose(found.hits, shelf, Budget(tokens=2000)), found)
        if not chosen:
            return Answer(_UNKNOWN, (), recalled)
        citations = tuple(Citation(numbers[s.hit.cube.id], s.hit, s.text) for s in chosen)
        text = "\n".join(f"{citation.quote} [{citation.number}]" for citation in citations)
        return Answer(text, citations, recalled)

    # --- upkeep ------------------------------------------------------------------------------------------------

    def stats(self, **who: Unpack[Who]) -> Stats:
        """Return what is in the memory, as far as the caller may see."""
        self._check_open()
        scope, _ = self._who(who)
        engine = self._parts.store.engine
        by_space = {name: engine.count(View(scope, (name,))) for name in engine.spaces(scope)}
        index = self._parts.finder.index()
        return Stats(
            engine.location,
            sum(by_space.values()),
            by_space,
            engine.bytes() + _folder_bytes(self._parts.folder),
            self._parts.finder.fingerprint,
            index.lacking,
        )

    def catch_up(self, progress: Callable[[int], object] | None = None) -> int:
        """Embed everything that waits for its vector, now, and return the number of cubes.

        Args:
            progress: Told the number of cubes after each batch.
        """
        self._check_open()
        return self._parts.finder.catch_up(progress)

    def reindex(self, progress: Callable[[int], object] | None = None) -> int:
        """Throw the index away and build it again from the journal; return the number of cubes in it."""
        self._check_open()
        return self._parts.finder.rebuild(progress)

    def check(self) -> Sequence[str]:
        """Return every problem of store and index; an empty list when all is sound."""
        self._check_open()
        store = self._parts.store
        found = list(store.check())
        seq = -1
        while not found and store.engine.head().seq != seq:  # what others write between the two looks is no problem
            seq = store.engine.head().seq
            live = {event.row: event.version for event in store.journal()}
            found = list(self._parts.finder.problems(row for row, version in live.items() if version))
            if found and store.engine.head().seq != seq:
                found = []
        return found

    # --- inside ------------------------------------------------------------------------------------------------

    def _who(self, who: Who) -> tuple[Scope, str]:
        strange = sorted(set(who) - set(Who.__annotations__))
        if strange:
            raise TypeError(f"unexpected argument {strange[0]!r}")
        space = check_name(who.get("space") or self._space, "space")
        named = {name: value for name, value in who.items() if name != "space"}
        return (replace(self._scope, **named) if named else self._scope), space  # type: ignore[arg-type]  # names of Who

    def _view(self, scope: Scope, space: str, where: Where | None) -> View:
        return View(scope, (space,), where or Where())

    def _check_open(self) -> None:
        if self._parts.is_closed:
            raise BadInput("this memory is closed", hint="open it again")


_UNKNOWN = "I find nothing about that in this memory."


@dataclass(frozen=True, slots=True)
class _Shelf:
    """A memory narrowed to one view, for the mechanisms of the text room."""

    memory: Memory
    view: View

    def search(self, question: str, k: int) -> Hits:
        return self.memory._parts.finder.search(question, k, self.view)

    def everything(self, limit: int) -> Sequence[Cube]:
        return self.memory.store.engine.find(self.view, newest_first=False, limit=limit, after=None)

    def tokens(self, texts: Sequence[str]) -> list[int]:
        return self.memory._parts.counter.count_many(texts)


def _file_of(path: str | os.PathLike[str]) -> Path:
    """Return the file behind a path, a folder or an address."""
    text = os.fspath(path)
    scheme, found, rest = text.partition("://")
    if found:
        if scheme != "sqlite":
            raise BadInput(f"there is no store for {scheme!r} addresses", hint="give a path, or sqlite:///notes.db")
        text = rest.removeprefix("/")  # three slashes before a relative path, four before an absolute one
    if not text.strip() or "\x00" in text:
        raise BadInput(f"{text!r} cannot be a path", hint="give the name of a file")
    file = Path(text).expanduser()
    return file / "memory.db" if file.is_dir() or text.endswith(("/", os.sep)) else file


def _chosen_embedder(engine: Engine, wanted: Embedder | str | None, api_key: str | None) -> Embedder:
    if wanted is not None and not isinstance(wanted, str):
        return wanted
    spec = wanted or engine.setting("embedder") or "static"
    chosen = embedder_from(spec, api_key=api_key)
    if wanted is not None and not engine.is_read_only and engine.setting("embedder") != wanted:
        engine.set_setting("embedder", wanted)
    return chosen


def _added(placed: Sequence[Placed], start: float) -> Added:
    outcomes = [p.outcome for p in placed]
    return Added(
        tuple(p.cube for p in placed),
        outcomes.count("created"),
        outcomes.count("updated"),
        outcomes.count("unchanged"),
        _since(start),
    )


def where_of(filters: Filters) -> Where:
    """Return a filter as a `Where`."""
    if filters is None:
        return Where()
    return filters if isinstance(filters, Where) else where_from(filters)


def _question(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise BadInput(f"the question is empty: {text!r}", hint="give at least one word")
    return clean(text)


def _cited(text: str) -> Iterator[int]:
    return (int(n) for n in re.findall(r"\[(\d{1,4})\]", text))


def _cursor(text: str) -> tuple[int, int]:
    moment, _, row = text.rpartition("-")
    try:
        return int(moment), int(row)
    except ValueError as error:
        raise BadInput(f"{text!r} is no cursor of a page") from error


def _since(start: float) -> float:
    return (time.perf_counter() - start) * 1000


def _folder_bytes(folder: Path | None) -> int:
    if folder is None or not folder.exists():
        return 0
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
