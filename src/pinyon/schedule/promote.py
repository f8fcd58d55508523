"""Decide in which form a memory is cheapest to use: text, the state of a model, or its weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ..core.budget import Budget, Footprint
from ..core.payload import Json
from ..core.select import select
from ..errors import BadInput
from ._record import read, written
from .policy import Context, Item, Label, Lfu, Lru, Semantic, Value
from .queue import Queue

__all__ = [
    "Built",
    "CostModel",
    "Decision",
    "Promoter",
    "StateRules",
    "WeightRules",
    "decide_states",
    "decide_weights",
    "replay",
]

Sink = Callable[[dict[str, Json]], object]
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class CostModel:
    """What the forms of a memory cost with one model on one machine, per token of the memory; measured, not guessed.

    Args:
        t_direct: Seconds to read it as text in the prompt.
        t_cached: Seconds to attach it as stored state.
        t_build: Seconds to build that state, once.
        bytes_per_token: Bytes of the state: 2 · layers · key/value heads · width of a head · bytes of a number.

    Raises:
        BadInput: A number is negative or not finite.
    """

    t_direct: float
    t_cached: float
    t_build: float
    bytes_per_token: int

    def __post_init__(self) -> None:
        for name in ("t_direct", "t_cached", "t_build", "bytes_per_token"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BadInput(f"{name} must be >= 0 and finite, got {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True)
class StateRules:
    """When text becomes state and when it goes back.

    Args:
        price: Seconds that a stored byte must save over the horizon (μ), >= 0; infinite keeps everything as text.
        horizon_days: Days over which a state has to pay (H).
        sessions: Sessions in which the text has been the same.
        keep: Share of the saving at admission below which a state is dropped, 0 to 1.

    Raises:
        BadInput: A number is out of its range.
    """

    price: float
    horizon_days: float = 7.0  # ours: the fading of the `Value` policy
    sessions: int = 2  # MemOS page of this project, section 4
    keep: float = 0.5  # the same

    def __post_init__(self) -> None:
        if not (self.price >= 0 and 0 < self.horizon_days < math.inf and self.sessions >= 1 and 0 <= self.keep <= 1):
            raise BadInput(
                f"these rules are not possible: {self!r}", hint="price >= 0, horizon > 0, sessions >= 1, keep 0 to 1"
            )


@dataclass(frozen=True, slots=True)
class WeightRules:
    """When text may become weights.

    Args:
        stable_days: Days without a change of the text.
        uses: Times it was used.
        types: What may become weights.
    """

    stable_days: float = 30.0  # MemOS page of this project, section 4; so are the next two
    uses: int = 20
    types: frozenset[str] = frozenset({"domain", "profile", "skill", "style"})


@dataclass(frozen=True, slots=True)
class Built:
    """A memory that rests as state beside its text.

    Args:
        row: Row of the text.
        digest: Hash of the text it was built from.
        saving: Seconds it was expected to save when it was admitted.
    """

    row: int
    digest: str
    saving: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to become of a memory.

    Args:
        row: Its row.
        id: Its id.
        verb: ``promote`` to the form, or ``demote`` from it back to text.
        form: The form in question.
        saving: Seconds it is expected to save over the horizon; 0 where that is not the reason.
        reason: One of a few words that say which rule decided.
    """

    row: int
    id: str
    verb: Literal["promote", "demote"]
    form: Literal["state", "weights"]
    saving: float
    reason: str


def decide_states(
    items: Sequence[Item], built: Sequence[Built], costs: CostModel, rules: StateRules, budget: Budget
) -> tuple[Decision, ...]:
    """Choose which memories rest as state; the same arguments always give the same answer.

    With ĥ uses a day, n tokens, horizon H days and price μ, a state saves S = ĥ · H · n · (t_direct - t_cached)
    seconds. Text is promoted when S > n · t_build + μ · bytes and it has been the same for some sessions. A state is
    dropped when its text has changed or is gone, when S < `keep` · the S of its admission, or when others pay more for
    its bytes: the budget is filled greedily by saving per byte, where what is not yet built has to pay for being built.

    Args:
        items: Every memory in question, those that are built included, with their costs in tokens; bytes that are known
            go before those that the tokens would make.
        built: What rests as state now.
        costs: What the forms cost.
        rules: When it pays.
        budget: Bytes for all states together, never exceeded.

    Cost: O(N log N) time.
    Source: Li et al. 2025, MemOS, arXiv 2507.03724, which says that much-used text becomes state and gives no rule.
    Deviates: the rule is ours.
    """
    known = {item.row: item for item in items}
    now = {one.row: one for one in built}
    reasons = {one.row: _lost(one, known.get(one.row), costs, rules) for one in built}
    standing = [item for item in items if (item.row in now and not reasons[item.row]) or _pays(item, now, costs, rules)]
    chosen = select(
        sorted(standing, key=lambda item: item.row not in now),
        budget,
        worth=lambda item: _density(item, costs, rules, is_built=item.row in now and not reasons[item.row]),
        cost=lambda item: Footprint(bytes=_bytes(item, costs)),
    ).kept
    rows = {item.row for item in chosen}
    out = [
        Decision(one.row, known[one.row].id if one.row in known else "", "demote", "state", 0.0, reason or "others pay")
        for one, reason in ((one, reasons[one.row]) for one in built)
        if reason or one.row not in rows
    ]
    out += [
        Decision(item.row, item.id, "promote", "state", _saving(item, costs, rules), "it pays")
        for item in chosen
        if item.row not in now
    ]
    return tuple(out)


def _saving(item: Item, costs: CostModel, rules: StateRules) -> float:
    return item.rate * rules.horizon_days * item.cost.tokens * (costs.t_direct - costs.t_cached)


def _pays(item: Item, now: Mapping[int, Built], costs: CostModel, rules: StateRules) -> bool:
    """Return whether a text that is not built is worth building."""
    if item.row in now or item.sessions < rules.sessions or not item.cost.tokens:
        return False
    tokens = item.cost.tokens
    price = math.inf if rules.price == math.inf else _bytes(item, costs) * rules.price
    return _saving(item, costs, rules) > tokens * costs.t_build + price


def _lost(one: Built, item: Item | None, costs: CostModel, rules: StateRules) -> str:
    """Return why a state cannot stay, or an empty text."""
    if item is None:
        return "its text is gone"
    if item.digest != one.digest:
        return "its text changed"
    return "it saves too little" if _saving(item, costs, rules) < rules.keep * one.saving else ""


def _density(item: Item, costs: CostModel, rules: StateRules, *, is_built: bool) -> float:
    left = _saving(item, costs, rules) - (0.0 if is_built else item.cost.tokens * costs.t_build)
    return left / max(1, _bytes(item, costs))


def _bytes(item: Item, costs: CostModel) -> int:
    return item.cost.bytes or item.cost.tokens * costs.bytes_per_token


def decide_weights(
    items: Sequence[Item], passed: Mapping[int, bool], now: datetime, rules: WeightRules
) -> tuple[Decision, ...]:
    """Choose which memories become weights: those that are ripe and whose gate has passed.

    Args:
        items: Memories that are not weights yet.
        passed: What the gate said, by row; a missing one has not passed.
        now: The moment.
        rules: What is ripe.
    """
    return tuple(
        Decision(item.row, item.id, "promote", "weights", 0.0, "it is stable, used and passed")
        for item in items
        if _is_ripe(item, now, rules) and passed.get(item.row, False)
    )


def _is_ripe(item: Item, now: datetime, rules: WeightRules) -> bool:
    is_stable = item.since is not None and now - item.since >= rules.stable_days * _DAY
    return is_stable and item.uses >= rules.uses and item.type in rules.types


class Promoter:
    """Decide, write down why, and queue the conversions; it converts nothing itself.

    A decision becomes a job ``convert`` (``{"id", "row", "to", "saving"}``) or ``drop`` (``{"id", "row", "from"}``),
    whose key lets the same conversion wait only once.

    Args:
        queue: Where the jobs go.
        costs: What the forms cost.
        rules: When state pays.
        budget: Bytes for all states together.
        weights: What is ripe for weights.
        sink: Told each decision with everything that went into it, as a JSON object; `replay` reads it.
    """

    def __init__(
        self,
        queue: Queue,
        costs: CostModel,
        rules: StateRules,
        budget: Budget,
        *,
        weights: WeightRules = WeightRules(),
        sink: Sink | None = None,
    ) -> None:
        self._queue = queue
        self._costs = costs
        self._rules = rules
        self._budget = budget
        self._weights = weights
        self._sink = sink

    def states(self, items: Sequence[Item], built: Sequence[Built]) -> tuple[Decision, ...]:
        """Decide which memories rest as state, and queue what has to be built and dropped."""
        found = decide_states(items, built, self._costs, self._rules, self._budget)
        inputs: dict[str, object] = {"items": items, "built": built, "costs": self._costs}
        self._tell("states", {**inputs, "rules": self._rules, "budget": self._budget}, found)
        return found

    def weights(self, items: Sequence[Item], now: datetime, gate: Callable[[Item], bool]) -> tuple[Decision, ...]:
        """Decide which memories become weights, and queue their distillation.

        Args:
            items: Memories that are not weights yet.
            now: The moment.
            gate: Measures whether the model still says what it should; asked only for what is ripe.
        """
        ripe = [item for item in items if _is_ripe(item, now, self._weights)]
        passed = {item.row: bool(gate(item)) for item in ripe}
        found = decide_weights(items, passed, now, self._weights)
        self._tell("weights", {"items": items, "passed": passed, "now": now, "rules": self._weights}, found)
        return found

    def _tell(self, rule: str, inputs: Mapping[str, object], found: Sequence[Decision]) -> None:
        if self._sink is not None:
            self._sink(written(rule, inputs, {"decisions": list(found)}))
        for one in found:
            kind, way = ("convert", "to") if one.verb == "promote" else ("drop", "from")
            told: dict[str, Json] = {"id": one.id, "row": one.row, way: one.form}
            if one.verb == "promote":
                told["saving"] = round(one.saving, 6)
            self._queue.add(kind, told, key=f"{one.row}:{one.form}")


def _classes() -> dict[str, type]:
    """Return every class that a log of decisions may name."""
    from .due import LifecycleConfig, Seen
    from .working import Held

    known = (
        Built, Context, CostModel, Decision, Held, Item, Label, Lfu, LifecycleConfig, Lru, Seen, Semantic, StateRules,
        Value, WeightRules,
    )  # fmt: skip
    return {each.__name__: each for each in known}


def replay(records: Iterable[Mapping[str, Json]], classes: Mapping[str, type] | None = None) -> list[dict[str, Json]]:
    """Decide again what a log of decisions holds, from its inputs alone, and return the records that come out.

    Where nothing of the rules has changed they equal those that went in; where something has, the difference shows
    what the change would have done.

    Args:
        records: What a sink was told, in any order.
        classes: Policies that are not pinyon's own, by name.

    Raises:
        BadInput: A record is none of a decision, or names a class that is not known.
    """
    return [_again(record, {**_classes(), **(classes or {})}) for record in records]


def _again(record: Mapping[str, Json], classes: Mapping[str, type]) -> dict[str, Json]:
    rule, inputs = record.get("rule"), record.get("inputs")
    if not isinstance(inputs, dict):
        raise BadInput(f"{str(record)[:80]} is no decision")
    from .due import moves_again
    from .working import decide_places

    given: dict[str, object] = {name: read(value, classes) for name, value in inputs.items()}
    match rule:
        case "places":
            places = decide_places(**given)  # type: ignore[arg-type]  # as `written` wrote them
            return written(rule, given, {"admitted": list(places.admitted), "evicted": list(places.evicted)})
        case "moves":
            return written(rule, given, {"moves": moves_again(**given)})  # type: ignore[arg-type]
        case "states":
            return written(rule, given, {"decisions": list(decide_states(**given))})  # type: ignore[arg-type]
        case "weights":
            return written(rule, given, {"decisions": list(decide_weights(**given))})  # type: ignore[arg-type]
    raise BadInput(f"{rule!r} is no rule of a decision", hint="moves, places, states or weights")
