"""Who may do what, what is kept back, what replaces what, and the proof of it."""

from .about import About, Subject, subject_cubes
from .forgetter import Forgetter
from .forgetting import Closure, ForgetPlan, carry_out, closure, plan_cubes, plan_forgetting
from .purge import Purged, PurgeLevel, Spotted, purge, search_bytes, vacuum
from .receipts import Erased, Receipt, Retained, receipt_from_json, receipt_to_json, sign, verify
from .retention import Retention, RetentionReport, Rule, Ruling, report, rules_from_json, rules_to_json

__all__ = [
    "About",
    "Closure",
    "Erased",
    "ForgetPlan",
    "Forgetter",
    "PurgeLevel",
    "Purged",
    "Receipt",
    "Retained",
    "Retention",
    "RetentionReport",
    "Rule",
    "Ruling",
    "Spotted",
    "Subject",
    "carry_out",
    "closure",
    "plan_cubes",
    "plan_forgetting",
    "purge",
    "receipt_from_json",
    "receipt_to_json",
    "report",
    "rules_from_json",
    "rules_to_json",
    "search_bytes",
    "sign",
    "subject_cubes",
    "vacuum",
    "verify",
]
