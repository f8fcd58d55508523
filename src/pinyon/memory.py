"""The facade: a memory, its verbs, and the only place where its parts are wired together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack, cast

from .attaching import Attaching
from .configuring import conflict_mode, keep_life, kept, level_of, secret_of
from .core.clock import Clock, Instant, SystemClock
from .core.cube import Cube
from .core.scope import Scope
from .errors import BadInput
from .following import Following
from .govern.audit import Auditor
from .index import Analyzer, IndexConfig
from .models import Embedder, StaticEmbedder, StaticTokenCounter, TokenCounter, embedder_from
from .parts import AuditLevel, Caller, ConflictMode, Parts, Who
from .places import check_whole, file_of, is_server
from .reading import Filters, where_of
from .schedule import Heat
from .searching import Finder
from .states import StateConfig, StateDesk
from .store import SqliteEngine, Store
from .talking import Talking

if TYPE_CHECKING:
    from .govern.conflict import Judge
    from .govern.receipts import Receipt
    from .models import Generator
    from .models.backbone import Backbone
    from .pipelining import PipelineNote, PipelineRun, StepRun
    from .rights_desk import RightsDesk
    from .schedule import LifecycleConfig, Pipeline, Spreading
    from .store import Engine, Keys, Room, UserKey
    from .store.sqlite import Durability
    from .verifying import Problem, Progress, Verified

__all__ = ["Filters", "Memory", "Who", "engine_at", "is_server", "where_of"]


class Memory(Attaching, Following, Talking):
    """A memory: add, search, recall, ask, update, forget.

    Safe for use by several threads; several processes may open the same file.

    Example:
        >>> with Memory.open(":memory:") as memory:
        ...     added = memory.add("Ann keeps bees behind the old mill.")
        ...     memory.search("Where are the bees?").hits[0].cube.text
        'Ann keeps bees behind the old mill.'
    """

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
        key: UserKey | Keys | None = None,
        language: str | None = None,
        index: IndexConfig | None = None,
        audit: AuditLevel | None = None,
        conflicts: ConflictMode | None = None,
        judge: Judge | Generator | str | None = None,
        lifecycle: LifecycleConfig | None = None,
        backbone: Backbone | str | None = None,
        states: StateConfig | None = None,
        mount_keys: Mapping[str, UserKey] | None = None,
        **who: Unpack[Who],
    ) -> Memory:
        """Open a memory, making it when it is not there.

        Args:
            path: A file, a folder (then ``memory.db`` in it), an address (``sqlite:///notes.db``,
                ``postgresql://user@host/database``), or ``":memory:"`` for one that goes with the process.
            embedder: An embedder, its short name (``static``, ``minilm``, ``e5``, ``hf:<id>`` …), or None for the one
                the memory was made with, at first the static one that comes with pinyon. With another one than before,
                searches go on with the old vectors while a background job makes the new ones.
            api_key: Key of the endpoint of an embedder that is given by its name, where it wants one.
            tokens: Counts prompt tokens; None counts with the tokenizer of the static embedder.
            clock: Where record time comes from.
            durability: ``full`` survives loss of power, ``normal`` only a killed process.
            key: A passphrase or 32 bytes encrypt everything on the disk; or the keys of a room that a vault gave.
            language: Of the stemmer, as Snowball names it; None takes that of the last time, at first English.
            index: Weights and constants of the ranking; None takes the measured ones.
            audit: What is written to the audit: ``denials``, ``changes`` or ``all``; None takes that of the last time,
                at first ``denials``.
            conflicts: Whose contradictions are looked for when something is added: ``off``, ``explicit`` (of memories
                whose metadata say ``subject`` and ``attribute``) or ``rules`` (also of what people say of themselves
                and of each other); None takes that of the last time, at first ``explicit``.
            judge: A model that is asked whether two statements exclude each other: a `Judge`, a generator, or a word
                that names one as on the command line. It strikes out what the rules claim, and with `conflicts`
                ``rules`` looks at the five memories nearest to each thing that is added, too; each is one call. Where
                it fails the rules stand. None asks nobody.
            lifecycle: When memories are archived, expire and are forgotten by a sweep; None takes that of the last
                time, at first 30 days without use, 365 days in the archive, and 30 days more.
            backbone: A local model whose states are kept, as `convert` and the job ``state`` use it: a `Backbone`, or
                "smollm2", a hub id, a folder, a GGUF file, which is loaded when it is first needed.
            states: How states are kept: form, budgets of bytes, when a text is worth one; None takes the usual ones.
            mount_keys: Keys of encrypted memories that are mounted, by name; what is missing is looked for in the
                variables ``PINYON_MOUNT_<NAME>_KEY_FILE`` and ``PINYON_MOUNT_<NAME>_KEY``.
            who: Whose memory it is by default, and its default space.

        Raises:
            Damaged: The file is no sound pinyon database.
            TooNew: It was written by a later pinyon.
            WrongKey: It is encrypted and the key is missing or another one, or it is not and there is a key.
            StoreError: It cannot be opened or written.
        """
        make = partial(
            _assembled,
            embedder=embedder,
            api_key=api_key,
            tokens=tokens,
            clock=clock or SystemClock(),
            language=language,
            index=index or IndexConfig(),
            audit=audit,
            conflicts=conflicts,
            lifecycle=lifecycle,
            judge=judge,
            states=StateDesk(backbone, states or StateConfig()),
        )
        parts = _opened(path, key, durability, make)
        parts.mount_keys.update(mount_keys or {})
        parts.elsewhere = partial(_elsewhere, parts, make, durability)
        try:
            return cls(Caller(parts)).at(**who)
        except BaseException:  # its space may be that of a memory that is out of reach
            parts.close()
            raise

    def at(self, **who: Unpack[Who]) -> Memory:
        """Return the same memory for another caller or space; it shares everything with this one.

        Example:
            >>> ann = Memory.open(":memory:").at(user="ann")
            >>> len(ann.add("I am allergic to peanuts.").cubes)
            1
        """
        return Memory(self._caller.anywhere(who))

    def as_of(self, moment: Instant) -> Memory:
        """Return the same memory as it was at a moment of record time: what it held then, found as it was found then.

        What was forgotten since is not in it, and whoever may not read something today may not read what it was.

        Args:
            moment: After everything that was recorded by then.

        Example:
            >>> from pinyon.testing import FixedClock
            >>> memory = Memory.open(":memory:", clock=FixedClock("2024-05-01"))
            >>> len(memory.add("Ann keeps bees.").cubes)
            1
            >>> memory.as_of("2024-04-30").search("bees").hits
            ()
        """
        return self.at(as_of=moment)

    @property
    def rights(self) -> RightsDesk:
        """Who may do what: groups, roles, spaces, clearances, single memories."""
        from .rights_desk import RightsDesk

        return RightsDesk(self.caller, self._share)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write the index's snapshot, end background work and close the file; closing twice is no error."""
        self._caller.parts.home.close()

    @property
    def scope(self) -> Scope:
        """Who asks by default."""
        return self._caller.scope

    @property
    def space(self) -> str:
        """The default space, by its name here."""
        return self._caller.space if self._caller.parts.mount is None else self._caller.parts.mount.name

    @property
    def store(self) -> Store:
        """The store itself, for tools that go below the verbs."""
        return self.caller.parts.store

    # --- upkeep ------------------------------------------------------------------------------------------------

    def catch_up(
        self,
        progress: Callable[[int], object] | None = None,
        *,
        over: Spreading = "here",
        workers: int | None = None,
    ) -> int:
        """Embed everything that waits for its vector, now, and return the number of cubes.

        Args:
            progress: Told the number of cubes after each batch.
            over: Where: in this process, in several (``process``), or on the cluster that ``ray`` is connected to. A
                script that asks for others does so under ``if __name__ == "__main__"``.
            workers: Processes; None takes as many as there are cores.

        Raises:
            BadInput: The embedder is an endpoint and cannot be spread.
            ItemFailed: A worker failed; what was embedded before stays.
            MissingExtra: `over` is ``ray`` and it is not installed.
        """
        parts = self.caller.check_open()
        return parts.finder.catch_up(progress, over, workers)

    def reindex(self, progress: Callable[[int], object] | None = None) -> int:
        """Throw the index away and build it again from the journal; return the number of cubes in it."""
        parts = self.caller.check_open()
        return parts.finder.rebuild(progress)

    def check(self) -> Sequence[str]:
        """Return every problem of store and index, and why vectors are lacking; an empty list when all is sound."""
        parts = self.caller.check_open()
        store = parts.store
        found = list(store.check())
        seq = -1
        while not found and store.engine.head().seq != seq:  # what others write between the two looks is no problem
            seq = store.engine.head().seq
            live = {event.row: event.version for event in store.journal()}
            found = list(parts.finder.problems(row for row, version in live.items() if version))
            if found and store.engine.head().seq != seq:
                found = []
        trouble = parts.finder.trouble()
        return [*found, trouble] if trouble else found

    def verify(
        self,
        *,
        archives: Sequence[Path] = (),
        receipts: Sequence[Receipt] = (),
        heads: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> Verified:
        """Look at everything, change nothing, and say what is wrong and how bad it is.

        The journal's chain, every seal, every blob, the rules, the audit, the index, and what else is given.

        Args:
            archives: Archives to look at, too.
            receipts: Receipts of forgetting to look at, too.
            heads: `Verified.head` of earlier times, kept elsewhere: the journal must still hold each.
            progress: Told what is looked at, how much is done, and how much there is.
        """
        from .verifying import verify

        parts = self.caller.check_open()
        return verify(
            parts.store,
            finder=parts.finder,
            archives=archives,
            receipts=receipts,
            heads=heads,
            now=self._caller.now(),
            progress=progress,
        )

    def repair(self, problem: Problem) -> int:
        """Make again what is derived where `verify` found it wrong, and return how much; what is sealed is not touched.

        Args:
            problem: One that says how it can be repaired.

        Raises:
            BadInput: It says nothing of the kind.
        """
        from .verifying import repair

        parts = self.caller.check_now()
        return repair(problem, store=parts.store, finder=parts.finder)

    # --- several verbs as one ----------------------------------------------------------------------------------

    def pipeline(
        self,
        what: Pipeline | str | Path,
        *,
        values: Mapping[str, object] | None = None,
        dry_run: bool = False,
        progress: Callable[[StepRun], object] | None = None,
        **who: Unpack[Who],
    ) -> PipelineRun:
        """Run several verbs as one: all of them, or nothing. Others wait with their writing until it is over.

        Args:
            what: A `pinyon.schedule.Pipeline`, the name of one that comes with pinyon, or a file ending in ``.toml``.
            values: What it is to work with, by name.
            dry_run: Only say what would happen. A model that a step asks is asked all the same.
            progress: Told of each step when it is over.
            who: Who runs it; each step needs its rights.

        Raises:
            BadInput: It is no pipeline, or a value is missing or cannot be used.
            NotFound: There is none of this name.
            PipelineFailed: A step failed; nothing of the run is left.

        Example:
            >>> memory = Memory.open(":memory:", user="ann")
            >>> len(memory.add("Ann keeps bees.", tags=["bees"]).cubes)
            1
            >>> memory.pipeline("transfer", values={"to": "farm", "tag": "bees"}).status
            'done'
        """
        from .pipelining import run
        from .schedule.pipeline import pipeline_of

        caller = self._writer(who)
        return run(pipeline_of(what), caller, Memory, values=values or {}, dry_run=dry_run, progress=progress)

    def pipeline_runs(self, *, limit: int = 20, **who: Unpack[Who]) -> Sequence[PipelineNote]:
        """Return the latest runs of pipelines with their inputs, the latest first, as far as the caller may see them.

        Args:
            limit: How many, at most 200, which are kept.
            who: Who looks.
        """
        from .pipelining import notes

        return notes(self._for(who), limit)

    def _share(self, id: str, change: Callable[[Cube], Cube], caller: Caller) -> Cube:
        caller.check_now()
        return self._change(id, change, caller, verb="share", action="share", detail={"rights": "changed"})


def _elsewhere(
    home: Parts, make: Callable[..., Parts], durability: Durability, place: str, key: UserKey | None, is_read_only: bool
) -> Parts:
    """Return the parts of another memory, by its own settings, for one that it is mounted in.

    Neither questions nor keys are sent to an address that the other memory alone names.
    """
    from .mounting import Untouched

    def made(engine: Engine, folder: Path | None, **rest: object) -> Parts:
        word = engine.setting("embedder") or "static"
        is_ours = word == home.store.engine.setting("embedder")
        embedder = StaticEmbedder() if word.startswith("openai:") and not is_ours else None
        seen = cast("Engine", Untouched(engine)) if is_read_only else engine  # what is not there is the engine's
        kept: dict[str, object] = dict.fromkeys(("language", "audit", "conflicts", "lifecycle", "judge"))
        return make(seen, folder, **kept, embedder=embedder, states=StateDesk(), **rest)

    return _opened(place, key, durability, made, is_read_only=is_read_only)


def _opened(
    path: str | os.PathLike[str],
    key: UserKey | Keys | None,
    durability: Durability,
    make: Callable[..., Parts],
    *,
    is_read_only: bool = False,
) -> Parts:
    """Return the parts of the memory at a place, made there when there is none."""
    if str(path) == ":memory:":
        if key is not None:
            raise BadInput("a memory in memory has no file to encrypt", hint="give a path, or no key")
        from .store import MemoryEngine

        return make(MemoryEngine(), None)
    if is_server(path):
        if key is not None:
            raise BadInput("a server keeps its own files", hint="encrypt its disk; a key is for a memory in a file")
        server = _server(str(path), is_read_only=is_read_only)
        return make(server, _cache_of(server))
    file = file_of(path)
    check_whole(file)
    if key is None:
        return make(SqliteEngine(file, durability=durability, is_read_only=is_read_only), _index_of(file))
    return _encrypted(file, key, durability, make, is_read_only=is_read_only)


def _encrypted(
    file: Path, key: UserKey | Keys, durability: Durability, make: Callable[..., Parts], *, is_read_only: bool
) -> Parts:
    """Return the parts of an encrypted memory, with its rooms where the user's own key opens it."""
    from .rooms import Rooms
    from .store import EncryptedEngine, Keys, Vault

    vault = None if isinstance(key, Keys) else (Vault.look if is_read_only else Vault.at)(file, key)
    keys = key if isinstance(key, Keys) else vault.keys  # type: ignore[union-attr]  # one of the two
    engine = EncryptedEngine(file, keys, durability=durability, is_read_only=is_read_only)
    parts = make(engine, _index_of(file), keys=keys)
    if vault is not None:
        parts.rooms = Rooms(vault, partial(_room, make, durability, parts, is_read_only))
    return parts


def _auditor(engine: Engine, clock: Clock, level: AuditLevel) -> Auditor:
    """Return what writes the audit of a store, at the level that was last kept by any process."""
    key = secret_of(engine, "audit")
    return Auditor(engine.audit, clock, key=key, level=level, kept=lambda: engine.setting("audit_level"))


def _assembled(
    engine: Engine,
    folder: Path | None,
    *,
    embedder: Embedder | str | None,
    api_key: str | None,
    tokens: TokenCounter | None,
    clock: Clock,
    language: str | None,
    index: IndexConfig,
    audit: AuditLevel | None,
    conflicts: ConflictMode | None,
    lifecycle: LifecycleConfig | None,
    judge: Judge | Generator | str | None,
    states: StateDesk,
    keys: Keys | None = None,
    root: Parts | None = None,
) -> Parts:
    """Return the parts of a memory over an engine; those of a room share rules and audit with the memory's."""
    analyzer = Analyzer(kept(engine, "language", language) or "english")
    sealer = None if keys is None else keys.index
    chosen = _chosen_embedder(engine, embedder, api_key)
    finder = Finder(engine, chosen, analyzer, folder, index, sealer)
    keep_life(engine, lifecycle)
    mode = conflict_mode(kept(engine, "conflicts", None if conflicts is None else conflict_mode(conflicts)))
    level = level_of(kept(engine, "audit_level", None if audit is None else level_of(audit)))
    auditor = root.auditor if root is not None else _auditor(engine, clock, level)
    return Parts(
        Store(engine),
        finder,
        tokens or (chosen.counter if isinstance(chosen, StaticEmbedder) else StaticTokenCounter()),
        clock,
        folder,
        auditor,
        Heat(engine.usage, clock),
        conflicts=mode if root is None else root.conflicts,
        root=root,
        states=states,
        judged_by=judge,
    )


def _room(make: Callable[..., Parts], durability: Durability, root: Parts, is_read_only: bool, room: Room) -> Parts:
    """Return the parts of a space with a key of its own."""
    from .store import EncryptedEngine

    engine = EncryptedEngine(room.path, room.keys, durability=durability, is_read_only=is_read_only)
    return make(engine, _index_of(room.path), keys=room.keys, root=root)


def engine_at(path: str | os.PathLike[str]) -> Engine:
    """Return the store at a path or address, made when it is not there; close it when you are done."""
    if is_server(path):
        return _server(str(path))
    file = file_of(path)
    check_whole(file)
    return SqliteEngine(file)


def _server(address: str, *, is_read_only: bool = False) -> Engine:
    from .store.postgres import PostgresEngine  # half a hundred modules that a file needs none of

    return PostgresEngine(address, is_read_only=is_read_only)


def _cache_of(engine: Engine) -> Path:
    """Return where the index of a server's memory is kept on this machine; it can be made again."""
    return Path("~/.cache/pinyon").expanduser() / f"{engine.identity}.index"


def _index_of(file: Path) -> Path:
    return file.with_name(file.name + ".index")


def _chosen_embedder(engine: Engine, wanted: Embedder | str | None, api_key: str | None) -> Embedder:
    if wanted is not None and not isinstance(wanted, str):
        return wanted
    spec = wanted or engine.setting("embedder") or "static"
    chosen = embedder_from(spec, api_key=api_key)
    if wanted is not None and not engine.is_read_only and engine.setting("embedder") != wanted:
        engine.set_setting("embedder", wanted)
    return chosen
