"""The work that keeps the texts as states for which it pays, within a budget of bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from . import schedule
from .converting import Conversion, Converting, forget_state, in_order
from .core.budget import Budget, Footprint
from .core.cube import Cube, Draft
from .core.payload import Json, Kind, State, digest
from .core.where import EVERY_STATE, Where
from .errors import BadInput, Denied, NotFound
from .govern.rights import check_owner, joined_rights
from .parts import Caller
from .states import TooLarge, blob_of, sources_of
from .text.cited_prompt import RULES

if TYPE_CHECKING:
    from .models.backbone import Backbone

__all__ = ["Promoting"]

_PROMOTED = "promoted_for_s"
"""Entry of the metadata of a state that the rule made: the seconds that it was expected to save."""

_MOST_STATES = 5000
_ROW_DIGITS = 12  # of a hash, for the number of a group of texts


class Promoting(Converting):
    """The jobs ``state``, ``convert`` and ``drop``.

    A job ``state`` decides: it measures once what reading and attaching cost with the model that the memory was opened
    with, looks at which texts stood in prompts of local models together and how often, and queues a ``convert`` for
    each group of texts that is worth a state and a ``drop`` for each state that is worth it no more. States that
    somebody converted by hand are left alone, and what they save already is no reason for another one.
    """

    def _own_work(self) -> dict[str, schedule.Work]:
        return {**super()._own_work(), "state": self._promote, "convert": self._build, "drop": self._drop}

    def _promote(self, task: schedule.Task) -> Mapping[str, Json]:
        from .prompts import known_prompts

        caller = self._caller
        parts, desk = caller.parts, caller.parts.desk
        model = desk.backbone()
        costs = desk.costs(model, parts.store.engine)
        task.renew()
        prompts, texts = known_prompts(caller)
        built, given, lost = _states_of(caller, model, texts)
        for state in lost:
            self._demote(state)
        groups: Sequence[schedule.Group] = ()
        if texts:
            room = desk.config.budget_bytes
            sizes = _sizes(model, texts, costs, caller)
            held = {rows: blob_of(state).bytes for rows, state in built.items()}
            exact = _length_of(model, texts, caller, task)
            groups = schedule.best_groups(prompts, held, given, sizes, costs, desk.config.rules, room, exact)
        items = [_item(group, texts, costs) for group in groups]
        rests = [
            schedule.Built(item.row, item.digest, _saving(built[group.rows]))
            for group, item in zip(groups, items, strict=True)
            if group.is_built
        ]
        log = schedule.DecisionLog(parts.root_engine, parts.clock).note
        budget = Budget(bytes=desk.config.budget_bytes)
        promoter = schedule.Promoter(self.jobs, costs, desk.config.rules, budget, sink=log)
        verbs = [each.verb for each in promoter.states(items, rests)]
        demoted = verbs.count("demote") + len(lost)
        return {"promoted": verbs.count("promote"), "demoted": demoted, "looked": len(texts), "prompts": len(prompts)}

    def _build(self, task: schedule.Task) -> Mapping[str, Json]:
        """Convert some texts that were found to be worth it, as far as there is room."""
        caller = self._caller
        desk, engine = caller.parts.desk, caller.parts.store.engine
        model = desk.backbone()
        ids = _ids(task)
        sources = tuple(caller.parts.one(id, caller) for id in ids)
        others = [state for state in _promoted(caller) if set(sources_of(state)) != set(ids)]
        room = desk.config.budget_bytes - sum(blob_of(state).bytes for state in others)
        saving = task.arguments.get("saving", 0.0)
        done = Conversion(caller, model, sources, desk.config.form, {_PROMOTED: saving}, most_bytes=room)
        try:
            with caller.audited("convert", list(sources)):
                made = done.run(lambda _: task.renew())
        except TooLarge as error:  # a short state takes more for each token than was measured
            costs = desk.costs(model, engine)
            bytes_per_token = max(costs.bytes_per_token, -(-error.bytes // max(1, error.tokens)))
            desk.keep_costs(model, engine, replace(costs, bytes_per_token=bytes_per_token))
            return {"passed": error.message}
        return {"id": made.cube.id, "tokens": made.tokens, "bytes": made.bytes}

    def _drop(self, task: schedule.Task) -> Mapping[str, Json]:
        """Let the states of some texts go that the rule made."""
        wanted = set(_ids(task))
        states = [state for state in _promoted(self._caller) if set(sources_of(state)) == wanted]
        return {"dropped": [cold for state in states for cold in self._demote(state)]}

    def _demote(self, state: Cube) -> list[str]:
        """Drop the tensors of a state and keep what it was bound to, to be built again; return its new id."""
        caller, payload = self._caller, state.payload
        if not isinstance(payload, State) or not payload.blobs:
            return []
        cold = Draft(replace(payload, blobs=()), state.header)
        store = caller.parts.store
        with suppress(Denied, NotFound), caller.audited("convert", [state], {"to": "text"}):
            (placed,) = store.put(
                [cold], owner=caller.scope, space=state.space, now=caller.now(), access=caller.access()
            )
            forget_state(caller, state, "demoted")
            return [placed.cube.id]
        return []


def _states_of(
    caller: Caller, model: Backbone, texts: dict[int, Cube]
) -> tuple[dict[frozenset[int], Cube], list[frozenset[int]], list[Cube]]:
    """Return what the rule has built and what others have, each by the rows of its texts, and what cannot be used.

    The texts of those states are added to the texts at hand.
    """
    from .state.prefix import why_not

    engine, binding = caller.parts.store.engine, model.binding()
    view = caller.view(Where(kinds=(Kind.TEXT,)))
    made = {state.id for state in _promoted(caller)}
    live = caller.view(Where(kinds=(Kind.STATE,)))
    others = [
        state for state in engine.find(live, newest_first=True, limit=_MOST_STATES, after=None) if state.id not in made
    ]
    built: dict[frozenset[int], Cube] = {}
    given: list[frozenset[int]] = []
    lost: list[Cube] = []
    for state in [*_promoted(caller), *others]:
        sources = [engine.get(id, view) for id in sources_of(state)]
        found = {cube.row: cube for cube in sources if cube is not None}
        is_sound = bool(found) and len(found) == len(sources) and not state.header.life.stale
        usable = is_sound and isinstance(state.payload, State) and not why_not(state.payload, binding)
        if usable and state.id not in made:
            given.append(frozenset(found))
        elif usable and frozenset(found) not in built:
            built[frozenset(found)] = state
        elif state.id in made:
            lost.append(state)
        if usable:
            texts.update(found)
    return built, given, lost


def _sizes(model: Backbone, texts: Mapping[int, Cube], costs: schedule.CostModel, caller: Caller) -> schedule.Sizes:
    """Measure how many tokens texts have as passages, and what else is in a state."""
    from .state.prefix import passages_of, segment_of
    from .state.tensor_file import state_bytes

    lengths = {row: len(model.encode("\n" + passages_of([cube], first=10)[0])) for row, cube in texts.items()}
    shortest = min(lengths, key=lambda row: lengths[row])
    base = len(segment_of(model, [texts[shortest]], instructions=RULES).ids) - lengths[shortest]
    cache, few = model.cache(), model.encode("a b")[:2]
    model.prefill(few, cache)
    overhead = len(state_bytes(cache, caller.parts.desk.config.form, {"ids": "0" * 64}))
    return schedule.Sizes(max(0, base), lengths, max(0, overhead - len(few) * costs.bytes_per_token))


def _length_of(
    model: Backbone, texts: Mapping[int, Cube], caller: Caller, task: schedule.Task
) -> Callable[[frozenset[int]], int | None]:
    """Return what says how many tokens a state of some texts has; None where there can be none."""
    from .state.prefix import segment_of

    def length(rows: frozenset[int]) -> int | None:
        cubes = in_order([texts[row] for row in sorted(rows)])
        task.renew()
        try:
            check_owner(caller.scope, cubes)
            joined_rights(cubes)
            return len(segment_of(model, cubes, instructions=RULES).ids)
        except (BadInput, Denied):
            return None

    return length


def _item(group: schedule.Group, texts: Mapping[int, Cube], costs: schedule.CostModel) -> schedule.Item:
    """Return a group of texts as the rule takes it: at a rate that saves as much as all its prompts do."""
    from .prompts import digest_of_texts

    cubes = in_order([texts[row] for row in sorted(group.rows)])
    ids = ",".join(cube.id for cube in cubes)
    gain = group.tokens * (costs.t_direct - costs.t_cached)
    return schedule.Item(
        int(digest(ids)[:_ROW_DIGITS], 16),
        ids,
        Footprint(tokens=group.tokens, bytes=group.bytes),
        rate=group.saving / gain if gain > 0 else 0.0,
        sessions=group.sessions,
        digest=digest_of_texts(cubes),
    )


def _ids(task: schedule.Task) -> list[str]:
    return str(task.arguments["id"]).split(",")


def _promoted(caller: Caller) -> list[Cube]:
    """Return the caller's own states that the rule made and that still have their tensors."""
    view = replace(caller.whole_view(), where=Where(kinds=(Kind.STATE,), states=EVERY_STATE))
    found = caller.parts.store.engine.find(view, newest_first=True, limit=_MOST_STATES, after=None)
    return [
        cube
        for cube in found
        if isinstance(cube.payload, State)
        and cube.owner == caller.scope
        and cube.payload.blobs
        and _PROMOTED in cube.header.metadata
        and cube.header.life.state != "frozen"
        and not cube.header.life.pinned
    ]


def _saving(state: Cube) -> float:
    found = state.header.metadata.get(_PROMOTED)
    return float(found) if isinstance(found, (int, float)) else 0.0
