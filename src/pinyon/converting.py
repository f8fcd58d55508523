"""The verb that converts memories into states of a local model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Unpack

from .core.cube import Cube, Draft
from .core.header import Life
from .core.payload import Blob, Json, Kind, State, Text
from .core.where import Where
from .errors import BadInput, Damaged, Denied, NotFound
from .govern.rights import check_owner, joined_expiry, joined_rights
from .parts import Caller, Who
from .reading import Filters, where_of
from .results import Converted
from .states import StateForm, blob_of, sources_of
from .store import Engine, Placed
from .text import passage
from .text.cited_prompt import RULES
from .timeline import Timeline

if TYPE_CHECKING:
    from .models.backbone import Backbone
    from .state.prefix import Attached, Segment

__all__ = ["Conversion", "Converting", "states_of"]

_MOST_TEXTS = 2000  # texts of one state at most: more are beyond what a local model reads


class Converting(Timeline):
    """Convert."""

    def convert(
        self,
        ids: Sequence[str] = (),
        *,
        query: str | None = None,
        k: int = 10,
        where: Filters = None,
        to: Literal["state"] = "state",
        backbone: Backbone | str | None = None,
        form: StateForm | None = None,
        progress: Callable[[int], object] | None = None,
        **who: Unpack[Who],
    ) -> Converted:
        """Let a local model read memories once and keep what it then knows, for `ask` to attach instead of reading.

        The state may be used by whoever may use all of its texts, expires with the first of them, is stale when one
        changes and is forgotten with them. Converting the same texts again makes it anew where it is stale, and keeps
        what an older state of them has read before the first change.

        Args:
            ids: Texts, or states that are to be made again, in the order of their passages.
            query: Instead, the best hits of a question.
            k: How many hits.
            where: Filter of the hits; without ids and query, everything that it admits.
            to: Into what.
            backbone: The model: a `Backbone`, or "smollm2", a hub id, a folder, a GGUF file; None takes that which the
                memory was opened with.
            form: ``full`` is exact; ``int8`` and ``int4`` take a fraction of the bytes and are approximate, with the
                measured error in the payload's details.
            progress: Told the number of tokens that were read, now and then.
            who: Whose state it is; with a space and nothing else, all texts of the space.

        Raises:
            BadInput: There is no text, the model cannot be used, or the texts are longer than it can read.
            Denied: The caller may not write into this space, or the texts may never be used together.
            Conflict: A text was changed or forgotten while it was read.
            StoreError: The state could not be written; nothing of it is left.
        """
        if to != "state":
            raise BadInput(f"there is no conversion to {to!r}", hint='use "state"')
        caller = self._writer(who)
        start = time.perf_counter()
        sources = self._sources(ids, query, k, where, caller)
        model = caller.parts.desk.backbone(backbone)
        with caller.audited("convert", sources):
            found = Conversion(caller, model, sources, form or caller.parts.desk.config.form).run(progress)
        caller.parts.let_go()
        return replace(found, ms=(time.perf_counter() - start) * 1000)

    def _sources(
        self, ids: Sequence[str], query: str | None, k: int, where: Filters, caller: Caller
    ) -> tuple[Cube, ...]:
        """Return the texts that are to be read, as far as the caller sees them now."""
        engine, view = caller.parts.store.engine, caller.view(Where(kinds=(Kind.TEXT,)))
        if ids and query is not None:
            raise BadInput("ids and a query exclude each other", hint="convert them one after the other")
        if query is not None:
            return _in_order([hit.cube for hit in self._found(query, k, where, caller).hits])
        if not ids:
            wanted = replace(where_of(where), kinds=(Kind.TEXT,))
            found = engine.find(caller.view(wanted), newest_first=False, limit=_MOST_TEXTS + 1, after=None)
            if len(found) > _MOST_TEXTS:
                raise BadInput(f"more than {_MOST_TEXTS} texts cannot be one state", hint="name fewer, or a filter")
            if not found:
                raise BadInput("there is no text to convert", hint="name ids, a query, a filter or a space")
            return _in_order(found)
        named: dict[str, Cube] = {}
        for id in [ids] if isinstance(ids, str) else ids:
            cube = caller.parts.one(id, caller)
            texts = [cube.id] if isinstance(cube.payload, Text) else list(sources_of(cube))
            for text in texts:
                source = engine.get(text, view)
                if source is None:
                    raise NotFound(
                        f"the text {text[:10]!r} is not there, or not in use", hint="restore it, or leave it out"
                    )
                named[source.id] = source
            if not texts:
                raise BadInput(f"cube {cube.id!r} is of kind {cube.kind.value} and names no texts it was made of")
        return tuple(named.values())


@dataclass(frozen=True, slots=True)
class Conversion:
    """Some texts that a model is to read.

    Args:
        caller: Whose state it is.
        model: The model.
        sources: The texts, in the order of their passages.
        form: How numbers rest.
        metadata: Of the state.
    """

    caller: Caller
    model: Backbone
    sources: tuple[Cube, ...]
    form: StateForm
    metadata: Mapping[str, Json] = field(default_factory=dict)

    def run(self, progress: Callable[[int], object] | None = None) -> Converted:
        """Read the texts, write the state, and let states of the same texts go whose place it takes."""
        from .state.prefix import build, in_common, segment_of

        check_owner(self.caller.scope, self.sources)
        segment = segment_of(self.model, self.sources, instructions=RULES)
        older = states_of(self.caller, [cube.id for cube in self.sources])
        binding = self.model.binding()
        if (same := self._same(older, segment, binding)) is not None:
            return self._result(same, "unchanged", 0, ())
        base = self._base(older, segment, binding)
        gone = [] if base is None else [id for id in base.origins.sources if id not in segment.origins.sources]
        reused = 0 if base is None else in_common(base, segment, gone)
        draft = build(
            self.model,
            self.sources,
            self._engine.blobs,
            form=self.form,
            instructions=RULES,
            base=base,
            gone=gone,
            progress=None if progress is None else lambda done: _tell(progress, done),
        )
        placed = self._put(self._dressed(draft))
        replaced = self._replace(older, placed.cube)
        outcome = "created" if placed.outcome == "created" else "rewritten"
        return self._result(placed.cube, outcome, reused, replaced)

    @property
    def _engine(self) -> Engine:
        return self.caller.parts.store.engine

    def _dressed(self, draft: Draft) -> Draft:
        """Lay over a draft what its texts allow."""
        life = Life(expires=joined_expiry(self.sources))
        header = replace(draft.header, rights=joined_rights(self.sources), life=life, metadata=dict(self.metadata))
        return replace(draft, header=header)

    def _put(self, draft: Draft) -> Placed:
        """Write the cube, or leave nothing of its tensors."""
        caller, store = self.caller, self.caller.parts.store
        try:
            (placed,) = store.put(
                [draft],
                owner=caller.scope,
                space=caller.space,
                now=caller.now(),
                access=caller.access(),
                sources=self.sources,
            )
        except BaseException:
            for blob in draft.payload.blobs if isinstance(draft.payload, State) else ():
                drop_unnamed(self._engine, blob)
            raise
        return placed

    def _same(self, older: Sequence[Cube], segment: Segment, binding: Mapping[str, Json]) -> Cube | None:
        """Return a state that is already what would be made, with sound tensors."""
        from .state.prefix import why_not

        rights, expires = joined_rights(self.sources), joined_expiry(self.sources)
        for cube in older:
            state, header = cube.payload, cube.header
            if (
                isinstance(state, State)
                and header.life.standing in ("generated", "activated", "merged")
                and (header.rights, header.life.expires) == (rights, expires)
                and state.binding.get("token_ids") == segment.digest
                and state.details.get("form") == self.form
                and cube.owner == self.caller.scope
                and not why_not(state, binding)
            ):
                with suppress(Damaged, NotFound):
                    self.caller.parts.desk.tensors(cube, self._engine)
                    return cube
        return None

    def _base(self, older: Sequence[Cube], segment: Segment, binding: Mapping[str, Json]) -> Attached | None:
        """Return the exact state that shares most with what is to be read; None where none shares a passage."""
        from .state.prefix import attach, in_common, why_not

        best: Attached | None = None
        most = 0
        for cube in older:
            state = cube.payload
            if not isinstance(state, State) or why_not(state, binding) or state.details.get("approximate", True):
                continue
            with suppress(Damaged, NotFound):
                found = attach(self.model, state, self.caller.parts.desk.tensors(cube, self._engine), binding=binding)
                gone = [id for id in found.origins.sources if id not in segment.origins.sources]
                common = in_common(found, segment, gone)
                if common > max(most, segment.origins.spans[0].start):  # more than the instructions
                    best, most = found, common
        return best

    def _replace(self, older: Sequence[Cube], made: Cube) -> tuple[str, ...]:
        """Forget the caller's own states of the very same texts by the same model; what is frozen stays."""
        wanted = {cube.id for cube in self.sources}
        gone: list[str] = []
        for cube in older:
            state = cube.payload
            is_same = isinstance(state, State) and isinstance(made.payload, State) and set(sources_of(cube)) == wanted
            if not is_same or cube.id == made.id or cube.owner != made.owner or not _is_same_model(cube, made):
                continue
            with suppress(Denied):
                gone += [each.id for each in forget_state(self.caller, cube, "replaced")]
        return tuple(gone)

    def _result(self, cube: Cube, outcome: str, reused: int, replaced: tuple[str, ...]) -> Converted:
        tokens = cube.payload.tokens if isinstance(cube.payload, State) else 0
        return Converted(cube, self.sources, outcome, tokens, reused, blob_of(cube).bytes, 0.0, replaced)


def states_of(caller: Caller, ids: Sequence[str]) -> list[Cube]:
    """Return the states that were made of any of some memories, as far as the caller sees them, stale ones included."""
    view = caller.whole_view()
    found = caller.parts.store.engine.children(list(ids)) if ids else []
    wanted = set(ids)
    return [
        cube
        for cube in found
        if cube.kind is Kind.STATE and view.admits(cube) and not wanted.isdisjoint(sources_of(cube))
    ]


def forget_state(caller: Caller, cube: Cube, why: str) -> list[Cube]:
    """Remove one state with its tensors; the texts stay.

    Raises:
        Denied: The caller may not change it, or it is frozen.
    """
    view = replace(caller.whole_view(), spaces=(cube.space,))
    detail: dict[str, Json] = {"why": why}
    gone = caller.parts.store.remove([cube.id], view=view, actor=caller.scope, now=caller.now(), detail=detail)
    caller.parts.let_go()
    return gone


def drop_unnamed(engine: Engine, blob: Blob) -> None:
    """Remove tensors unless a cube names them."""
    if not engine.names_blob(blob.sha256):
        engine.blobs.remove(blob)


def _is_same_model(one: Cube, other: Cube) -> bool:
    mine, theirs = (
        {**cube.payload.binding, "token_ids": ""} for cube in (one, other) if isinstance(cube.payload, State)
    )
    return mine == theirs


def _tell(progress: Callable[[int], object], done: int) -> None:
    progress(done)


def _in_order(cubes: Sequence[Cube]) -> tuple[Cube, ...]:
    """Return texts in the order in which they were written or happened, documents in reading order."""
    if not cubes:
        raise BadInput("there is no text to convert", hint="name ids, a query, a filter or a space")

    def place(cube: Cube) -> tuple[str, float, int, int]:
        p = cube.header.provenance
        document = (p.thread or "") if p.unit == "chunk" else ""
        return document, 0.0 if document else cube.time.timestamp(), p.position or 0, cube.row

    return tuple(sorted((cube for cube in cubes if passage(cube).strip()), key=place))
