"""Calls that are counted: each verb once, before the store is asked on behalf of its caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .core.access import Call
from .errors import Denied
from .govern.rates import Rates

if TYPE_CHECKING:
    from .core.access import Access
    from .parts import Caller

__all__ = ["count"]


def count(caller: Caller, access: Access) -> None:
    """Count a call where that was not done yet; what does not say of which verb it is part counts as reading.

    Where the space is closed to the caller altogether, that rule speaks: this one comes last.

    Raises:
        Denied: The caller has called too often; it is in the audit.
    """
    call = caller.call or Call("read")
    if call.is_counted:
        return
    call.is_counted = True
    try:
        Rates(caller.parts.root_engine).count(access, call.action, caller.space, caller.now())
    except Denied as error:
        if access.reading(caller.space, call.action).is_barred:
            return
        call.is_counted = False
        caller.parts.auditor.denied(caller.scope, call.action, rule=error.rule, space=caller.space)
        raise
