"""The work that keeps the texts as states for which it pays, within a budget of bytes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from .converting import Conversion, Converting, forget_state
from .core.budget import Budget, Footprint
from .core.cube import Cube, Draft
from .core.payload import Json, Kind, State
from .core.where import EVERY_STATE, Where
from .errors import Denied, NotFound
from .parts import Caller
from .schedule import Built, CostModel, Item, Promoter, Task, Work
from .states import sources_of
from .store.side import Usage

if TYPE_CHECKING:
    from .models.backbone import Backbone

__all__ = ["Promoting"]

_PROMOTED = "promoted_for_s"
"""Entry of the metadata of a state that the rule made: the seconds that it was expected to save."""

_MOST_ITEMS = 5000  # latest texts that the rule looks at
_MOST_STATES = 5000
_UNUSED = Usage()


class Promoting(Converting):
    """The jobs ``state``, ``convert`` and ``drop``.

    A job ``state`` decides: it measures once what reading and attaching cost with the model that the memory was opened
    with, looks at how often each text was used, and queues a ``convert`` for each text that is worth a state and a
    ``drop`` for each state that is worth it no more. States that somebody converted by hand are left alone.
    """

    def _own_work(self) -> dict[str, Work]:
        return {**super()._own_work(), "state": self._promote, "convert": self._build, "drop": self._drop}

    def _promote(self, task: Task) -> Mapping[str, Json]:
        caller = self._caller
        parts, desk = caller.parts, caller.parts.desk
        model = desk.backbone()
        costs = desk.costs(model, parts.store.engine)
        task.renew()
        parts.note_uses()
        built = {source: state for state in _promoted(caller) for source in sources_of(state)}
        items = {item.id: item for item in self._items(model, frozenset(built))}
        for source in [source for source in built if source not in items]:  # archived, or out of the caller's reach
            self._demote(built.pop(source))
        held = [
            Built(items[source].row, items[source].digest if _is_fresh(state) else "", _saving(state))
            for source, state in built.items()
        ]
        promoter = Promoter(self.jobs, costs, desk.config.rules, Budget(bytes=desk.config.budget_bytes))
        verbs = [each.verb for each in promoter.states(list(items.values()), held)]
        return {"promoted": verbs.count("promote"), "demoted": verbs.count("demote"), "looked": len(items)}

    def _items(self, model: Backbone, built: frozenset[str]) -> list[Item]:
        """Return the texts that were ever used, or rest as states, with their tokens."""
        caller = self._caller
        parts, now = caller.parts, caller.now()
        view = caller.view(Where(kinds=(Kind.TEXT,)))
        cubes = parts.store.engine.find(view, newest_first=True, limit=_MOST_ITEMS, after=None)
        usage = parts.heat.usage([cube.row for cube in cubes])
        out = []
        for cube in cubes:
            if cube.row not in usage and cube.id not in built:
                continue
            cost = Footprint(tokens=len(model.encode(cube.text)))
            item = Item.of(cube, usage.get(cube.row) or _UNUSED, now, cost=cost)
            out.append(replace(item, sessions=parts.desk.sessions.of(item.row, item.digest)))
        return out

    def _build(self, task: Task) -> Mapping[str, Json]:
        """Convert one text that was found to be worth it."""
        caller = self._caller
        parts, desk = caller.parts, caller.parts.desk
        model = desk.backbone()
        source = caller.parts.one(str(task.arguments["id"]), caller)
        rate = parts.heat.rate(source.row)
        saving = _worth(desk.costs(model, parts.store.engine), rate, model, source, desk.config.rules.horizon_days)
        done = Conversion(caller, model, (source,), desk.config.form, {_PROMOTED: round(saving, 6)})
        with caller.audited("convert", [source]):
            made = done.run(lambda _: task.renew())
        return {"id": made.cube.id, "tokens": made.tokens, "bytes": made.bytes}

    def _drop(self, task: Task) -> Mapping[str, Json]:
        """Let the states of a text go that the rule made."""
        wanted = str(task.arguments["id"])
        states = [state for state in _promoted(self._caller) if set(sources_of(state)) == {wanted}]
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
        and len(sources_of(cube)) == 1
        and cube.header.life.state != "frozen"
        and not cube.header.life.pinned
    ]


def _is_fresh(state: Cube) -> bool:
    return not state.header.life.stale


def _saving(state: Cube) -> float:
    found = state.header.metadata.get(_PROMOTED)
    return float(found) if isinstance(found, (int, float)) else 0.0


def _worth(costs: CostModel, rate: float, model: Backbone, source: Cube, days: float) -> float:
    """Return the seconds that a state is expected to save over the horizon."""
    return rate * days * len(model.encode(source.text)) * max(0.0, costs.t_direct - costs.t_cached)
