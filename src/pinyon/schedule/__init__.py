"""Work that is done beside the verbs: heat, the memories at hand, their best form, and a queue that survives."""

from .embed import EmbedJob
from .heat import Heat
from .lifecycle import Lifecycle
from .listen import Found, Heard, Listener, Listening
from .moves import MOVES, Move, Trigger
from .policy import POLICIES, Context, Item, Label, Lfu, Lru, Policy, Semantic, Value
from .promote import (
    Built,
    CostModel,
    Decision,
    Promoter,
    StateRules,
    WeightRules,
    decide_states,
    decide_weights,
    replay,
)
from .queue import Patience, Queue, Stopped, Task, Work, Worker
from .sessions import Sessions
from .spread import ItemFailed, Spreading, spread
from .sweep import LifecycleConfig, Moved, Sweeper, Swept
from .working import Held, Places, WorkingSet, decide_places

__all__ = [
    "MOVES",
    "POLICIES",
    "Built",
    "Context",
    "CostModel",
    "Decision",
    "EmbedJob",
    "Found",
    "Heard",
    "Heat",
    "Held",
    "Item",
    "ItemFailed",
    "Label",
    "Lfu",
    "Lifecycle",
    "LifecycleConfig",
    "Listener",
    "Listening",
    "Lru",
    "Move",
    "Moved",
    "Patience",
    "Places",
    "Policy",
    "Promoter",
    "Queue",
    "Semantic",
    "Sessions",
    "Spreading",
    "StateRules",
    "Stopped",
    "Sweeper",
    "Swept",
    "Task",
    "Trigger",
    "Value",
    "WeightRules",
    "Work",
    "Worker",
    "WorkingSet",
    "decide_places",
    "decide_states",
    "decide_weights",
    "replay",
    "spread",
]
