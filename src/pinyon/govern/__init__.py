"""Who may do what, what is kept back, what replaces what, and the proof of it."""

from .about import About, Subject, subject_cubes
from .audit import READS, AuditFilter, Auditor, PolicyChange, audit_csv, audit_json_lines, policy_changes
from .conflict import AskedJudge, Fact, Judge, Statement, Supersession, find_conflicts, superseded, superseding
from .forgetter import Forgetter
from .forgetting import Closure, ForgetPlan, carry_out, closure, plan_cubes, plan_forgetting
from .purge import Purged, PurgeLevel, Spotted, purge, search_bytes, vacuum
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
