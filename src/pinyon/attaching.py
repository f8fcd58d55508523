"""Answers by a local model that reads on from a state instead of reading the memories again."""

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
from .errors import Damaged, NotFound
from .models import Generator
from .models.base import Message
from .promoting import Promoting
from .reading import Asked, CallerShelf, cited_answer
from .results import Answer, Recall, Saved
from .states import Inside, sources_of
from .text import Context, Hit, Pack, Reason, passage
from .text.cited_prompt import RULES

if TYPE_CHECKING:
    from .models.backbone import Backbone
    from .state.prefix import Attached

__all__ = ["Attaching"]

_LOG = logging.getLogger(__name__)
_MOST_ANSWER = 512  # tokens, as `Generator.generate` has it
_STATE = Reason("state", 0.0, 0)
"""Why a memory stands in a prompt that no search has found for it: it is a part of the state that was attached."""


class Attaching(Promoting):
    """Ask with a state attached."""

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
class _Plan:
    """A prompt that begins with a state.

    Args:
        cube: The state.
        attached: It, ready to be read on from.
        ms: Milliseconds until it was.
        ids: The whole prompt; the first tokens are the state's.
        context: The passages of the whole prompt, those of the state first.
    """

    cube: Cube
    attached: Attached
    ms: float
    ids: Sequence[int]
    context: Context


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
    for candidate in sorted(candidates, key=lambda each: each.order):
        found, reason = _prompt(model, asked, candidate, binding)
        if found is not None:
            return found, ""
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
    from .state.prefix import attach, content_of, digest_of, passages_of, prompt_ids

    parts, state = asked.caller.parts, cast("State", candidate.cube.payload)
    first = "\n".join(passages_of(candidate.sources))
    room = asked.budget_tokens - parts.counter.count(first)
    if room < 0:
        return None, f"its passages exceed the budget of {asked.budget_tokens} tokens"
    rest = _rest(asked, candidate, room, first)
    question = f"Question: {asked.question}"
    turn = f"Passages:\n{rest.text}\n\n{question}" if rest.text else question
    messages = [Message("system", content_of(candidate.sources, RULES)), Message("user", turn)]
    ids = prompt_ids(model, messages)
    if digest_of(ids[: state.tokens]) != state.binding.get("token_ids"):
        return None, "its tokens are not those of this prompt; converting the memories again makes it anew"
    if model.limit is not None and len(ids) >= model.limit:
        return None, f"the prompt would have {len(ids)} tokens and the model reads at most {model.limit}"
    start = time.perf_counter()
    try:
        file = parts.desk.tensors(candidate.cube, parts.store.engine, saving=float(state.tokens))
        attached = attach(model, state, file, binding=binding, share=True)
    except (Damaged, NotFound) as error:
        _LOG.warning("the state %s cannot be attached: %s", candidate.cube.id, error.message)
        return None, f"its tensors cannot be used: {error.message}"
    ms = (time.perf_counter() - start) * 1000
    whole = _context(asked, candidate, first, rest)
    return _Plan(candidate.cube, attached, ms, ids, whole), ""


def _rest(asked: Asked, candidate: _Candidate, room: int, first: str) -> Context:
    """Return the hits that the state does not hold, packed into what is left of the budget."""
    held = {cube.id for cube in candidate.sources}
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


def _context(asked: Asked, candidate: _Candidate, first: str, rest: Context) -> Context:
    """Return everything that stands in the prompt, as one context."""
    known = {hit.cube.id: hit for hit in asked.recalled.hits}
    inside = tuple(known.get(cube.id) or Hit(cube, 0.0, (_STATE,)) for cube in candidate.sources)
    text = f"{first}\n{rest.text}" if rest.text else first
    shown = {hit.cube.id for hit in (*inside, *rest.hits)}
    left = tuple(hit for hit in (*known.values(), *asked.recalled.context.left_out) if hit.cube.id not in shown)
    tokens = asked.caller.parts.counter.count(text)
    footprint = replace(asked.recalled.context.footprint, tokens=tokens, bytes=len(text.encode()))
    return Context(text, (*inside, *rest.hits), left, footprint)


def _answered(model: Backbone, generator: Generator, asked: Asked, plan: _Plan) -> Answer:
    """Let the model read on from the state and answer."""
    count, whole = len(plan.attached.ids), len(plan.ids)
    room = _MOST_ANSWER if model.limit is None else min(_MOST_ANSWER, model.limit - whole)
    model.prefill(plan.ids[count:], plan.attached.cache)
    text = model.continuation([], plan.attached.cache, max_tokens=room).text
    form = cast("State", plan.cube.payload).details.get("form")
    desk, engine = asked.caller.parts.desk, asked.caller.parts.store.engine
    costs = desk.known_costs(model, engine, str(form)) or desk.known_costs(model, engine)  # reading costs the same
    saved = Saved(
        plan.cube.id,
        count,
        whole - count,
        None if costs is None else max(0.0, 1000 * costs.t_direct * count - plan.ms),
        plan.ms,
        plan.attached.is_approximate,
    )
    kind = "approximate state" if saved.is_approximate else "state"
    note = f"attached the {kind} {saved.state[:10]} in {plan.ms:.0f} ms: {count} tokens were not read again"
    note += "" if saved.ms is None else f", about {saved.ms:.0f} ms saved"
    noted = _noted(asked, note)
    recalled = Recall(plan.context, noted.recalled.found, noted.recalled.decision)
    return replace(cited_answer(text, generator, recalled), saved=saved)


def _noted(asked: Asked, note: str) -> Asked:
    """Return a question with one more note on what was found for it."""
    found = asked.recalled.found
    return replace(asked, recalled=replace(asked.recalled, found=replace(found, notes=(*found.notes, note))))
