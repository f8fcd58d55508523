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
from .errors import BadInput, Damaged, Denied, NotFound, StoreError
from .govern.rights import check_owner, joined_expiry, joined_rights
from .parts import Caller, Who
from .reading import Filters, where_of
from .results import Converted
from .schedule import CostModel
from .states import StateForm, TooLarge, blob_of, sources_of
from .store import Engine, Placed
from .text import passage
from .text.cited_prompt import RULES
from .timeline import Timeline

if TYPE_CHECKING:
    from .models.backbone import Backbone
    from .state.fuse import FuseMode
    from .state.prefix import Attached, Segment

__all__ = ["Conversion", "Converting", "in_order", "states_of"]

_MOST_TEXTS = 2000  # texts of one state at most: more are beyond what a local model reads
_LEAST_TIMED = 64  # tokens that must be read for the time to say what reading costs; ours


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
        fuse: FuseMode | None = None,
        repaired: int = 16,
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
            where: Filter of the hits; without ids and query, everything that it admits. Ids that are named need none.
            to: Into what.
            backbone: The model: a `Backbone`, or "smollm2", a hub id, a folder, a GGUF file; None takes that which the
                memory was opened with.
            form: ``full`` is exact; ``int8`` and ``int4`` take a fraction of the bytes and are approximate, with the
                measured error in the payload's details.
            fuse: Make it of the states that are named instead of reading their texts again: ``reposition`` moves what
                they hold to its place and reads only the numbers of the passages, ``repair`` reads the first tokens of
                each later state too. Both are approximate; the measured divergence stands in the payload's details,
                and where it is more than 0.1 nats everything is read. ``recompute`` reads everything after the first
                state and is exact. A state of another model, a stale one and one whose tensors are gone are not used:
                their texts are read, and the details say why.
            repaired: Tokens of each later state that ``repair`` reads again, >= 0.
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
        sources = self._sources(ids, query, k, where, caller)
        states = self._states(ids, fuse, repaired, caller)
        begun = time.perf_counter()
        model = caller.parts.desk.backbone(backbone)
        start = time.perf_counter()
        fusion = None if fuse is None else Fusion(fuse, repaired, states)
        with caller.audited("convert", sources):
            form = form or caller.parts.desk.config.form
            found = Conversion(caller, model, sources, form, fusion=fusion).run(progress)
        caller.parts.desk.follow(caller.parts.store.engine)
        return replace(found, ms=(time.perf_counter() - start) * 1000, loading_ms=(start - begun) * 1000)

    def _sources(
        self, ids: Sequence[str], query: str | None, k: int, where: Filters, caller: Caller
    ) -> tuple[Cube, ...]:
        """Return the texts that are to be read, as far as the caller sees them now."""
        engine, view = caller.parts.store.engine, caller.view(Where(kinds=(Kind.TEXT,)))
        if ids and query is not None:
            raise BadInput("ids and a query exclude each other", hint="convert them one after the other")
        if ids and where is not None:
            raise BadInput(
                "ids and a filter exclude each other", hint="name the ids that are meant, or the filter alone"
            )
        if query is not None:
            return in_order([hit.cube for hit in self._found(query, k, where, caller).hits])
        if not ids:
            wanted = replace(where_of(where), kinds=(Kind.TEXT,))
            found = engine.find(caller.view(wanted), newest_first=False, limit=_MOST_TEXTS + 1, after=None)
            if len(found) > _MOST_TEXTS:
                raise BadInput(f"more than {_MOST_TEXTS} texts cannot be one state", hint="name fewer, or a filter")
            if not found:
                raise BadInput("there is no text to convert", hint="name ids, a query, a filter or a space")
            return in_order(found)
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

    def _states(self, ids: Sequence[str], fuse: FuseMode | None, repaired: int, caller: Caller) -> tuple[Cube, ...]:
        """Return the states that are to be fused, at least two; none where none is asked for."""
        if fuse is None:
            return ()
        if fuse not in ("recompute", "reposition", "repair"):
            raise BadInput(f"states cannot be fused by {fuse!r}", hint="use recompute, reposition or repair")
        if repaired < 0:
            raise BadInput(f"repaired must be >= 0, got {repaired!r}")
        named = dict.fromkeys([ids] if isinstance(ids, str) else ids)
        found = {cube.id: cube for id in named if (cube := caller.parts.one(id, caller)).kind is Kind.STATE}
        if len(found) < 2:
            raise BadInput(
                f"at least two states are fused, {len(found)} were named", hint="convert their texts into states first"
            )
        return tuple(found.values())


@dataclass(frozen=True, slots=True)
class Fusion:
    """How states become one.

    Args:
        mode: How.
        repaired: Tokens of each later one that ``repair`` reads again, >= 0.
        states: Which, in the order of their passages.
    """

    mode: FuseMode
    repaired: int
    states: tuple[Cube, ...]

    @property
    def said(self) -> dict[str, Json]:
        """What the payload's details say of it; states that were fused alike agree in it."""
        return {"mode": self.mode, **({"repaired": self.repaired} if self.mode == "repair" else {})}


@dataclass(frozen=True, slots=True)
class Conversion:
    """Some texts that a model is to read.

    Args:
        caller: Whose state it is.
        model: The model.
        sources: The texts, in the order of their passages.
        form: How numbers rest.
        metadata: Of the state.
        fusion: Which states it is made of; None reads the texts.
        most_bytes: Most bytes of its tensors; None for no bound.
    """

    caller: Caller
    model: Backbone
    sources: tuple[Cube, ...]
    form: StateForm
    metadata: Mapping[str, Json] = field(default_factory=dict)
    fusion: Fusion | None = None
    most_bytes: int | None = None

    def run(self, progress: Callable[[int], object] | None = None) -> Converted:
        """Read the texts, write the state, and let states of the same texts go whose place it takes.

        What reading, writing and attaching took is kept for later, where nothing is known of it.
        """
        from .state.prefix import draft_of, in_common, read_segment, segment_of

        check_owner(self.caller.scope, self._made_of)
        segment = segment_of(self.model, self.sources, instructions=RULES)
        older = states_of(self.caller, [cube.id for cube in self.sources])
        binding = self.model.binding()
        if (same := self._same(older, segment, binding)) is not None:
            return self._result(same, "unchanged", 0, ())
        if self.fusion is not None and (fused := self._fused(self.fusion, segment, binding, progress)) is not None:
            return self._written(*fused, older)
        base = self._base(older, segment, binding)
        gone = [] if base is None else [id for id in base.origins.sources if id not in segment.origins.sources]
        reused = 0 if base is None else in_common(base, segment, gone)
        told = None if progress is None else lambda done: _tell(progress, done)
        if not self._are_costs_known:
            self.model.prefill(segment.ids[:8], self.model.cache())  # what is slow at first is slow once
        start = time.perf_counter()
        read = read_segment(self.model, segment, base=base, gone=gone, progress=told)
        read_s = time.perf_counter() - start
        self._check_room(read)
        start = time.perf_counter()
        draft = draft_of(self.model, read, self.sources, self._engine.blobs, form=self.form, instructions=RULES)
        written_s = time.perf_counter() - start
        made = self._written(draft, reused, older)
        if len(read.ids) - reused >= _LEAST_TIMED:
            self._note_costs(made.cube, read_s / (len(read.ids) - reused), written_s / len(read.ids))
        return made

    @property
    def _are_costs_known(self) -> bool:
        return self.caller.parts.desk.known_costs(self.model, self._engine, self.form) is not None

    def _check_room(self, read: Attached) -> None:
        """Refuse what would be larger than it may be, before anything of it is written."""
        if self.most_bytes is None:
            return
        from .state.tensor_file import state_bytes

        size = len(state_bytes(read.cache, self.form, {"ids": "0" * 64}))
        if size > self.most_bytes:
            raise TooLarge(size, len(read.ids), max(0, self.most_bytes))

    def _note_costs(self, cube: Cube, read_s: float, written_s: float) -> None:
        """Keep what a token took to be read, written and attached, where nothing is known of it."""
        from .state.prefix import attach
        from .state.tensor_file import read_tensors

        desk, state = self.caller.parts.desk, cube.payload
        if not isinstance(state, State) or self._are_costs_known:
            return
        with suppress(Damaged, NotFound, StoreError):
            start = time.perf_counter()
            attach(self.model, state, read_tensors(self._engine.blobs.view(blob_of(cube))), share=True)
            cached_s = (time.perf_counter() - start) / state.tokens
            costs = CostModel(read_s, cached_s, read_s + written_s, -(-blob_of(cube).bytes // state.tokens))
            desk.keep_costs(self.model, self._engine, costs, self.form)

    def _written(self, draft: Draft, reused: int, older: Sequence[Cube]) -> Converted:
        """Write a state, and let those go whose place it takes."""
        placed = self._put(self._dressed(draft))
        replaced = self._replace(older, placed.cube)
        outcome = "created" if placed.outcome == "created" else "rewritten"
        return self._result(placed.cube, outcome, reused, replaced)

    def _fused(
        self,
        fusion: Fusion,
        segment: Segment,
        binding: Mapping[str, Json],
        progress: Callable[[int], object] | None,
    ) -> tuple[Draft, int] | None:
        """Return the draft of a state made of others, and the tokens that were kept; None where none can be used."""
        from .state.fuse_segment import fuse_segment
        from .state.prefix import draft_of

        parts, read_again = self._parts(fusion, binding)
        if not parts:
            return None
        told = None if progress is None else lambda done: _tell(progress, done)
        made = fuse_segment(
            self.model, segment, list(parts.values()), fusion.mode, repaired=fusion.repaired, progress=told
        )
        said: dict[str, Json] = {
            **fusion.said,
            "made_by": made.mode,
            "states": list(parts),
            "read_again": read_again,
            "reused": made.reused,
            "divergence": float(f"{made.divergence:.4g}"),
            "measured": None if made.measured is None else float(f"{made.measured:.4g}"),
            "sampled": made.sampled,
        }
        draft = draft_of(
            self.model,
            made.read,
            self.sources,
            self._engine.blobs,
            form=self.form,
            instructions=RULES,
            said={"fused": said},
        )
        return draft, made.reused

    def _parts(self, fusion: Fusion, binding: Mapping[str, Json]) -> tuple[dict[str, Attached], dict[str, Json]]:
        """Return the states that can be used, and why others cannot, so that their texts are read."""
        from .state.prefix import attach, segment_of, why_not

        texts = {cube.id: cube for cube in self.sources}
        parts: dict[str, Attached] = {}
        passed: dict[str, Json] = {}
        for cube in fusion.states:
            state = cube.payload
            assert isinstance(state, State)  # as its kind says
            if cube.header.life.stale:
                passed[cube.id] = "one of its texts was changed"
            elif reason := why_not(state, binding):
                passed[cube.id] = reason
            elif segment_of(
                self.model, [texts[id] for id in sources_of(cube)], instructions=RULES
            ).digest != state.binding.get("token_ids"):
                passed[cube.id] = "its tokens are not those that its texts make today"
            else:
                try:
                    file = self.caller.parts.desk.tensors(cube, self._engine)
                    parts[cube.id] = attach(self.model, state, file, binding=binding, share=True)
                except (Damaged, NotFound) as error:
                    passed[cube.id] = f"its tensors cannot be used: {error.message}"
        return parts, passed

    @property
    def _made_of(self) -> tuple[Cube, ...]:
        """The texts, and the states that are fused: whatever bounds who may use the new one, and how long."""
        return self.sources if self.fusion is None else (*self.sources, *self.fusion.states)

    @property
    def _engine(self) -> Engine:
        return self.caller.parts.store.engine

    def _dressed(self, draft: Draft) -> Draft:
        """Lay over a draft what its texts allow."""
        life = Life(expires=joined_expiry(self._made_of))
        header = replace(draft.header, rights=joined_rights(self._made_of), life=life, metadata=dict(self.metadata))
        payload = draft.payload
        if isinstance(payload, State):
            payload = replace(payload, details={**payload.details, "model": self.model.name})
        return replace(draft, header=header, payload=payload)

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
                sources=self._made_of,
            )
        except BaseException:
            for blob in draft.payload.blobs if isinstance(draft.payload, State) else ():
                drop_unnamed(self._engine, blob)
            raise
        return placed

    def _same(self, older: Sequence[Cube], segment: Segment, binding: Mapping[str, Json]) -> Cube | None:
        """Return a state that is already what would be made, with sound tensors."""
        from .state.prefix import why_not

        rights, expires = joined_rights(self._made_of), joined_expiry(self._made_of)
        for cube in older:
            state, header = cube.payload, cube.header
            if (
                isinstance(state, State)
                and header.life.standing in ("generated", "activated", "merged")
                and (header.rights, header.life.expires) == (rights, expires)
                and state.binding.get("token_ids") == segment.digest
                and state.details.get("form") == self.form
                and self._is_as_wanted(state)
                and cube.owner == self.caller.scope
                and not why_not(state, binding)
            ):
                with suppress(Damaged, NotFound):
                    self.caller.parts.desk.tensors(cube, self._engine)
                    return cube
        return None

    def _is_as_wanted(self, state: State) -> bool:
        """Return whether a state was read, or fused in the very way that is asked for."""
        fused = _fused_by(state)
        wanted = {} if self.fusion is None else self.fusion.said
        return not fused or (bool(wanted) and wanted.items() <= fused.items())

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
            if _fused_by(made.payload) and not _fused_by(cube.payload) and not cube.header.life.stale:
                continue  # what was read is worth more than what was put together
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
    caller.parts.desk.follow(caller.parts.store.engine)
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


def _fused_by(payload: object) -> dict[str, Json]:
    """Return how a state was put together of others, if it is approximate for that."""
    said = payload.details.get("fused") if isinstance(payload, State) else None
    return said if isinstance(said, dict) and said.get("made_by") != "recompute" else {}


def _tell(progress: Callable[[int], object], done: int) -> None:
    progress(done)


def in_order(cubes: Sequence[Cube]) -> tuple[Cube, ...]:
    """Return texts in the order in which they were written or happened, documents in reading order."""
    if not cubes:
        raise BadInput("there is no text to convert", hint="name ids, a query, a filter or a space")

    def place(cube: Cube) -> tuple[str, float, int, int]:
        p = cube.header.provenance
        document = (p.thread or "") if p.unit == "chunk" else ""
        return document, 0.0 if document else cube.time.timestamp(), p.position or 0, cube.row

    return tuple(sorted((cube for cube in cubes if passage(cube).strip()), key=place))
