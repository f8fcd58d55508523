"""Work that is done beside the verbs: heat, the memories at hand, their best form, and a queue that survives."""

from typing import TYPE_CHECKING

from ..lazy import names_from
from .spread import ItemFailed, Spreading, spread

if TYPE_CHECKING:
    from .decisions import DecisionLog, Noted
    from .due import LifecycleConfig
    from .embed import EmbedJob, last_failure
    from .heat import Heat, sessions_of
    from .lifecycle import Lifecycle
    from .listen import Found, Heard, Listener, Listening
    from .moves import MOVES, Move, Trigger
    from .operations import OPERATIONS
    from .pipeline import Pipeline, Step
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
    from .sweep import Moved, Sweeper, Swept
    from .together import Group, Prompted, Sizes, best_groups
    from .working import Held, Places, WorkingSet, decide_places

__all__ = [
    "MOVES",
    "OPERATIONS",
    "POLICIES",
    "Built",
    "Context",
    "CostModel",
    "Decision",
    "DecisionLog",
    "EmbedJob",
    "Found",
    "Group",
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
    "Noted",
    "Patience",
    "Pipeline",
    "Places",
    "Policy",
    "Promoter",
    "Prompted",
    "Queue",
    "Semantic",
    "Sizes",
    "Spreading",
    "StateRules",
    "Step",
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
    "best_groups",
    "decide_places",
    "decide_states",
    "decide_weights",
    "last_failure",
    "replay",
    "sessions_of",
    "spread",
]

if not TYPE_CHECKING:
    __getattr__ = names_from(
        __name__,
        {
            "decisions": "DecisionLog Noted",
            "due": "LifecycleConfig",
            "embed": "EmbedJob last_failure",
            "heat": "Heat sessions_of",
            "lifecycle": "Lifecycle",
            "listen": "Found Heard Listener Listening",
            "moves": "MOVES Move Trigger",
            "operations": "OPERATIONS",
            "pipeline": "Pipeline Step",
            "policy": "POLICIES Context Item Label Lfu Lru Policy Semantic Value",
            "promote": "Built CostModel Decision Promoter StateRules WeightRules decide_states decide_weights replay",
            "queue": "Patience Queue Stopped Task Work Worker",
            "sweep": "Moved Sweeper Swept",
            "together": "Group Prompted Sizes best_groups",
            "working": "Held Places WorkingSet decide_places",
        },
    )
