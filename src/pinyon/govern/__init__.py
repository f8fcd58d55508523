"""Who may do what, what is kept back, what replaces what, and the proof of it."""

from typing import TYPE_CHECKING

from ..lazy import names_from
from .purge import Purged, PurgeLevel, Spotted, purge, search_bytes, vacuum

if TYPE_CHECKING:
    from .about import About, Subject, subject_cubes
    from .audit import READS, AuditFilter, Auditor, PolicyChange, audit_csv, audit_json_lines, policy_changes
    from .conflict import AskedJudge, Fact, Judge, Statement, Supersession, find_conflicts, superseded, superseding
    from .forgetter import Forgetter
    from .forgetting import Closure, ForgetPlan, carry_out, closure, plan_cubes, plan_forgetting
    from .receipts import Erased, Receipt, Retained, receipt_from_json, receipt_to_json, sign, verify
    from .redact import Redacted, RedactionRule, Redactor, default_rules
    from .retention import Retention, RetentionReport, Rule, Ruling, report, rules_from_json, rules_to_json

__all__ = [
    "READS",
    "About",
    "AskedJudge",
    "AuditFilter",
    "Auditor",
    "Closure",
    "Erased",
    "Fact",
    "ForgetPlan",
    "Forgetter",
    "Judge",
    "PolicyChange",
    "PurgeLevel",
    "Purged",
    "Receipt",
    "Redacted",
    "RedactionRule",
    "Redactor",
    "Retained",
    "Retention",
    "RetentionReport",
    "Rule",
    "Ruling",
    "Spotted",
    "Statement",
    "Subject",
    "Supersession",
    "audit_csv",
    "audit_json_lines",
    "carry_out",
    "closure",
    "default_rules",
    "find_conflicts",
    "plan_cubes",
    "plan_forgetting",
    "policy_changes",
    "purge",
    "receipt_from_json",
    "receipt_to_json",
    "report",
    "rules_from_json",
    "rules_to_json",
    "search_bytes",
    "sign",
    "subject_cubes",
    "superseded",
    "superseding",
    "vacuum",
    "verify",
]

if not TYPE_CHECKING:
    __getattr__ = names_from(
        __name__,
        {
            "about": "About Subject subject_cubes",
            "audit": "READS AuditFilter Auditor PolicyChange audit_csv audit_json_lines policy_changes",
            "conflict": "AskedJudge Fact Judge Statement Supersession find_conflicts superseded superseding",
            "forgetter": "Forgetter",
            "forgetting": "Closure ForgetPlan carry_out closure plan_cubes plan_forgetting",
            "receipts": "Erased Receipt Retained receipt_from_json receipt_to_json sign verify",
            "redact": "Redacted RedactionRule Redactor default_rules",
            "retention": "Retention RetentionReport Rule Ruling report rules_from_json rules_to_json",
        },
    )
