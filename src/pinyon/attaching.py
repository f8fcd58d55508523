"""Answers by a local model that reads on from states instead of reading the memories again."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from .core.budget import Budget
from .core.cube import Cube
from .core.payload import Json, Kind, State
from .core.where import Where
from .errors import BadInput, Damaged, NotFound
from .models import Generator
from .models.base import Message
from .promoting import Promoting
from .reading import Asked, CallerShelf, cited_answer
from .results import Answer, Recall, Saved, SavedState
from .states import Inside, sources_of
from .text import Context, Hit, Pack, Reason, passage
from .text.cited_prompt import RULES

if TYPE_CHECKING:
    from .models.backbone import Backbone
    from .state.fuse import FuseMode
    from .state.fuse_segment import FusedSegment
    from .state.prefix import Attached

__all__ = ["Attaching"]

_LOG = logging.getLogger(__name__)
_ID_SHOWN = 10  # as lists of memories show them
_MOST_ANSWER = 512  # tokens, as `Generator.generate` has it
_STATE = Reason("state", 0.0, 0)
"""Why a memory stands in a prompt that no search has found for it: it is a part of the state that was attached."""


class Attaching(Promoting):
    """Ask with states attached."""

    def _generated(self, generator: Generator, asked: Asked) -> Answer:
        if not isinstance(generator, Inside) or not asked.recalled.hits:
            return super()._generated(generator, asked)
        from .prompts import note_prompt

        model = cast("Backbone", generator)  # the one class with such an inside
        asked.caller.parts.desk.follow(asked.caller.parts.store.engine)
        plan, why = _plan(model, asked)
        if plan is None:
            answer = super()._generated(generator, _noted(asked, f"no state was attached: {why}"))
        else:
            answer = _answered(model, generator, asked, plan)
        if asked.is_plain:  # else no state could have been attached
            note_prompt(asked.caller, [hit.cube for hit in asked.recalled.hits if _can_be_read(hit.cube)])
        return answer


def _can_be_read(cube: Cube) -> bool:
    """Return whether a text may be a part of a state."""
    return cube.kind is Kind.TEXT and cube.header.life.superseded_by is None


@dataclass(frozen=True, slots=True)
class _Part:
    """A state at hand.

    Args:
        cube: It.
        sources: Its texts as they are now, in the order of their passages.
        attached: It, ready to be read on from.
        ms: Milliseconds until it was.
    """

    cube: Cube
    sources: tuple[Cube, ...]
    attached: Attached
    ms: float


@dataclass(frozen=True, slots=True)
class _Layout:
    """A prompt that begins with some texts.

    Args:
        ids: Its tokens.
        context: Its passages, those texts first.
    """

    ids: Sequence[int]
    context: Context


@dataclass(frozen=True, slots=True)
class _Plan:
    """A prompt that begins with what states hold.

    Args:
        parts: The states.
        kept: Tokens that are taken from each.
        attached: What the model reads on from; the prompt begins with its tokens.
        ms: Milliseconds until that was ready.
        layout: The prompt.
        fused: How several were put together; None for a single one.
        said: Why several were not, where that was wanted.
    """

    parts: tuple[_Part, ...]
    kept: tuple[int, ...]
    attached: Attached
    ms: float
    layout: _Layout
    fused: FusedSegment | None = None
    said: str = ""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A state that could be attached.

    Args:
        cube: It.
        sources: Its texts as they are now, in the order of their passages.
        covered: How many hits are among them.
    """

    cube: Cube
    sources: tuple[Cube, ...]
    covered: int

    @property
    def order(self) -> tuple[int, bool, int, int]:
        """Sort key: the most hits, then the exact one, then the shortest, then the oldest."""
        state = cast("State", self.cube.payload)
        return -self.covered, bool(state.details.get("approximate", True)), state.tokens, self.cube.row


def _plan(model: Backbone, asked: Asked) -> tuple[_Plan | None, str]:
    """Return the best prompt that begins with a state, or why there is none."""
    if not asked.is_plain:
        return None, "the passages are laid out in a way of their own"
    if asked.caller.at is not None:
        return None, "the memory is looked at as of an earlier time"
    binding = model.binding()
    candidates, why = _candidates(asked, binding)
    candidates.sort(key=lambda each: each.order)
    why_alone = ""
    if asked.fuse in ("reposition", "repair") and len(candidates) > 1:
        together, why_alone = _together(model, asked, candidates, binding)
        if together is not None:
            return together, ""
    for candidate in candidates:
        found, reason = _prompt(model, asked, candidate, binding)
        if found is not None:
            return replace(found, said=why_alone), ""
        why = reason
    return None, why


def _candidates(asked: Asked, binding: Mapping[str, Json]) -> tuple[list[_Candidate], str]:
    """Return the states that the caller may use with this model, and why others were passed over."""
    from .state.prefix import why_not

    caller, why = asked.caller, "none was made of any of these memories"
    engine = caller.parts.store.engine
    hits = {hit.cube.id for hit in asked.recalled.hits}
    seen = caller.whole_view()
    live, texts = caller.view(Where(kinds=(Kind.STATE,))), caller.view(replace(asked.where, kinds=(Kind.TEXT,)))
    out: list[_Candidate] = []
    for cube in engine.children(sorted(hits)):
        state = cube.payload
        if not isinstance(state, State) or not seen.admits(cube) or hits.isdisjoint(sources_of(cube)):
            continue
        if not live.admits(cube):
            why = "the state of them is stale or not in use; converting them again makes it anew"
            continue
        if reason := why_not(state, binding):
            why = reason
            continue
        sources = [engine.get(id, texts) for id in sources_of(cube)]
        if any(one is None or one.header.life.superseded_by is not None for one in sources):
            why = "the state holds memories that this question is not about, or that others took the place of"
            continue
        found = tuple(one for one in sources if one is not None)
        out.append(_Candidate(cube, found, len(hits.intersection(one.id for one in found))))
    return out, why


def _prompt(
    model: Backbone, asked: Asked, candidate: _Candidate, binding: Mapping[str, Json]
) -> tuple[_Plan | None, str]:
    """Return the prompt that begins with a state, or why it cannot."""
    layout, why = _laid_out(model, asked, candidate.sources)
    if layout is None:
        return None, why
    part, why = _part(model, asked, candidate, binding, layout.ids)
    if part is None:
        return None, why
    return _Plan((part,), (len(part.attached.ids),), part.attached, part.ms, layout), ""


def _together(
    model: Backbone, asked: Asked, candidates: Sequence[_Candidate], binding: Mapping[str, Json]
) -> tuple[_Plan | None, str]:
    """Return the prompt that begins with several states of different texts, put together, or why it cannot."""
    from .state.fuse_segment import fuse_segment
    from .state.prefix import segment_of

    if model.cache().rope is None:
        return None, "the keys of this model cannot be moved"
    start = time.perf_counter()
    parts = _disjoint(model, asked, candidates, binding)
    if len(parts) < 2:
        return None, "no two of them hold different texts of these within the budget"
    sources = [cube for part in parts for cube in part.sources]
    layout, why = _laid_out(model, asked, sources)
    if layout is None:
        return None, why
    try:
        segment = segment_of(model, sources, instructions=RULES)
    except BadInput as error:
        return None, error.message
    if tuple(layout.ids[: len(segment.ids)]) != segment.ids:
        return None, "the question changes the tokens before it"
    desk, mode = asked.caller.parts.desk, cast("FuseMode", asked.fuse)
    names = tuple(str(cast("State", part.cube.payload).binding.get("token_ids")) for part in parts)
    key = (model.fingerprint.digest, mode, *names)
    fused = fuse_segment(model, segment, [part.attached for part in parts], mode, known=desk.nats(key))
    desk.keep_nats(key, fused.measured)
    ms = (time.perf_counter() - start) * 1000
    return _Plan(tuple(parts), fused.kept, fused.read, ms, layout, fused), ""


def _disjoint(
    model: Backbone, asked: Asked, candidates: Sequence[_Candidate], binding: Mapping[str, Json]
) -> list[_Part]:
    """Return states that share no text and fit the budget together, the best first."""
    from .state.prefix import content_of, passages_of, prompt_ids

    parts: list[_Part] = []
    held: list[Cube] = []
    for candidate in candidates:
        more = [*held, *candidate.sources]
        if len({cube.id for cube in more}) < len(more):
            continue
        if asked.caller.parts.counter.count("\n".join(passages_of(more))) > asked.budget_tokens:
            continue
        turns = [Message("system", content_of(candidate.sources, RULES)), Message("user", asked.question)]
        part, _ = _part(model, asked, candidate, binding, prompt_ids(model, turns))
        if part is not None:
            parts.append(part)
            held = more
    return parts


def _laid_out(model: Backbone, asked: Asked, sources: Sequence[Cube]) -> tuple[_Layout | None, str]:
    """Return the prompt that begins with some texts, or why it cannot."""
    from .state.prefix import content_of, passages_of, prompt_ids

    first = "\n".join(passages_of(sources))
    room = asked.budget_tokens - asked.caller.parts.counter.count(first)
    if room < 0:
        return None, f"its passages exceed the budget of {asked.budget_tokens} tokens"
    rest = _rest(asked, sources, room, first)
    question = f"Question: {asked.question}"
    turn = f"Passages:\n{rest.text}\n\n{question}" if rest.text else question
    ids = prompt_ids(model, [Message("system", content_of(sources, RULES)), Message("user", turn)])
    if model.limit is not None and len(ids) >= model.limit:
        return None, f"the prompt would have {len(ids)} tokens and the model reads at most {model.limit}"
    return _Layout(ids, _context(asked, sources, first, rest)), ""


def _part(
    model: Backbone, asked: Asked, candidate: _Candidate, binding: Mapping[str, Json], ids: Sequence[int]
) -> tuple[_Part | None, str]:
    """Return a state with its tensors, or why it cannot stand at the beginning of a prompt."""
    from .state.prefix import attach, digest_of

    parts, state = asked.caller.parts, cast("State", candidate.cube.payload)
    if digest_of(ids[: state.tokens]) != state.binding.get("token_ids"):
        return None, "its tokens are not those of this prompt; converting the memories again makes it anew"
    start = time.perf_counter()
    try:
        file = parts.desk.tensors(candidate.cube, parts.store.engine, saving=float(state.tokens))
        attached = attach(model, state, file, binding=binding, share=True)
    except (Damaged, NotFound) as error:
        _LOG.warning("the state %s cannot be attached: %s", candidate.cube.id, error.message)
        return None, f"its tensors cannot be used: {error.message}"
    return _Part(candidate.cube, candidate.sources, attached, (time.perf_counter() - start) * 1000), ""


def _rest(asked: Asked, sources: Sequence[Cube], room: int, first: str) -> Context:
    """Return the hits that are not among some texts, packed into what is left of the budget."""
    held = {cube.id for cube in sources}
    hits = [hit for hit in asked.recalled.hits if hit.cube.id not in held]
    view = asked.caller.view(asked.where)
    shelf = CallerShelf(asked.caller.parts, view)
    while hits:
        packed = Pack().compose(hits, shelf, Budget(tokens=room))
        lines = [f"[{number}] {passage(hit.cube)}" for number, hit in enumerate(packed.hits, 1)]
        if not packed.hits or packed.text != "\n".join(lines):  # not even one fits whole
            break
        numbered = [f"[{len(held) + n}] {passage(hit.cube)}" for n, hit in enumerate(packed.hits, 1)]
        text = "\n".join(numbered)
        if shelf.tokens([f"{first}\n{text}"])[0] <= asked.budget_tokens:
            return replace(packed, text=text)
        hits = sorted(packed.hits, key=lambda hit: -hit.score)[:-1]  # longer numbers took the last token
    return Context("", (), tuple(hits), replace(asked.recalled.context.footprint, tokens=0, bytes=0))


def _context(asked: Asked, sources: Sequence[Cube], first: str, rest: Context) -> Context:
    """Return everything that stands in the prompt, as one context."""
    known = {hit.cube.id: hit for hit in asked.recalled.hits}
    inside = tuple(known.get(cube.id) or Hit(cube, 0.0, (_STATE,)) for cube in sources)
    text = f"{first}\n{rest.text}" if rest.text else first
    shown = {hit.cube.id for hit in (*inside, *rest.hits)}
    left = tuple(hit for hit in (*known.values(), *asked.recalled.context.left_out) if hit.cube.id not in shown)
    tokens = asked.caller.parts.counter.count(text)
    footprint = replace(asked.recalled.context.footprint, tokens=tokens, bytes=len(text.encode()))
    return Context(text, (*inside, *rest.hits), left, footprint)


def _answered(model: Backbone, generator: Generator, asked: Asked, plan: _Plan) -> Answer:
    """Let the model read on from what the states hold and answer."""
    count, ids = len(plan.attached.ids), plan.layout.ids
    room = _MOST_ANSWER if model.limit is None else min(_MOST_ANSWER, model.limit - len(ids))
    model.prefill(ids[count:], plan.attached.cache)
    text = model.continuation([], plan.attached.cache, max_tokens=room).text
    saved = _saved(model, asked, plan)
    noted = _noted(asked, _said(plan, saved))
    recalled = Recall(plan.layout.context, noted.recalled.found, noted.recalled.decision)
    return replace(cited_answer(text, generator, recalled), saved=saved)


def _saved(model: Backbone, asked: Asked, plan: _Plan) -> Saved:
    """Return what was not read again, state by state."""
    desk, engine = asked.caller.parts.desk, asked.caller.parts.store.engine
    first = plan.parts[0]
    form = cast("State", first.cube.payload).details.get("form")
    costs = desk.known_costs(model, engine, str(form)) or desk.known_costs(model, engine)  # reading costs the same
    each = None if costs is None else 1000 * costs.t_direct
    states = tuple(
        SavedState(
            part.cube.id,
            tuple(cube.id for cube in part.sources),
            kept,
            None if each is None else max(0.0, each * kept - part.ms),
            part.ms,
            part.attached.is_approximate or part is not first,  # a later one has not seen the texts before it
        )
        for part, kept in zip(plan.parts, plan.kept, strict=True)
        if kept
    )
    reused, ready = sum(plan.kept), len(plan.attached.ids)
    return Saved(
        first.cube.id,
        reused,
        len(plan.layout.ids) - reused,
        None if each is None else max(0.0, each * ready - plan.ms),
        plan.ms,
        plan.attached.is_approximate,
        states,
        plan.fused.mode if plan.fused is not None and len(states) > 1 else None,
        None if plan.fused is None else plan.fused.measured,
    )


def _said(plan: _Plan, saved: Saved) -> str:
    """Return what a person is told of the states that were attached."""
    kind = "approximate state" if saved.is_approximate else "state"
    if saved.fused is None:
        said = f"attached the {kind} {saved.state[:_ID_SHOWN]} in {saved.attached_ms:.0f} ms"
    else:
        nats = "" if saved.nats is None else f", {saved.nats:.2g} nats off on a sample"
        names = ", ".join(f"{state.id[:_ID_SHOWN]} ({state.tokens} tokens)" for state in saved.states)
        said = f"put {len(saved.states)} states together by {saved.fused} in {saved.attached_ms:.0f} ms"
        said += f" (approximate{nats}): {names}"
    said += f"{';' if saved.fused else ':'} {saved.tokens} tokens were not read again"
    if saved.ms is not None:
        said += f", about {saved.ms:.0f} ms saved" if saved.ms >= 1 else ", no time was saved"
    if plan.fused is not None and saved.fused is None and saved.nats is not None:
        others = len(plan.parts) - 1
        said += f"; with {others} more it would be {saved.nats:.2g} nats off, so their texts were read"
    return said + (f"; several were not put together: {plan.said}" if plan.said else "")


def _noted(asked: Asked, note: str) -> Asked:
    """Return a question with one more note on what was found for it."""
    found = asked.recalled.found
    return replace(asked, recalled=replace(asked.recalled, found=replace(found, notes=(*found.notes, note))))
