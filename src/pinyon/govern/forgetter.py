"""Forgetting in the name of the memory itself: what has ended, and what rules of retention say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from ..core.access import Access
from ..core.cube import Cube
from ..core.scope import Scope
from ..core.where import View
from ..store import Store
from .forgetting import Follow, carry_out, closure, plan_cubes
from .receipts import Receipt
from .retention import Retention

__all__ = ["Forgetter"]

_ACTOR = "sweeper"  # agent in whose name cubes go by themselves


class Forgetter:
    """Forgets for the sweeper, by the same path as the verb; what is frozen or held stays.

    Args:
        store: Where the cubes rest.
        retention: Rules that may hold them, or None for none.
        keep: Given each receipt, or None.
        drop_index: As for `carry_out`.
    """

    def __init__(
        self,
        store: Store,
        retention: Retention | None = None,
        *,
        keep: Callable[[Receipt], object] | None = None,
        drop_index: Callable[[], object] | None = None,
    ) -> None:
        self._store = store
        self._retention = retention
        self._keep = keep
        self._drop_index = drop_index

    def forget(self, cubes: Sequence[Cube], *, why: str, now: datetime) -> Sequence[str]:
        """Forget cubes and everything that was made of them; return the ids of those cubes that went."""
        return self._forget(cubes, why, now, "all")

    def forget_ended(self, cubes: Sequence[Cube], *, why: str, now: datetime) -> Sequence[str]:
        """Forget cubes whose life has ended, and the states of models made of them, but nothing else made of them.

        What was merged or condensed from something lives on when that has aged in the archive.
        """
        return self._forget(cubes, why, now, "states")

    def forget_states(self, cubes: Sequence[Cube], *, why: str, now: datetime) -> Sequence[str]:
        """Forget the states of models that were made of cubes, and none of the cubes; return the ids of the states."""
        made = closure(self._store.engine, [cube.id for cube in cubes], "states").derived
        return self._forget(made, why, now, "states") if made else ()

    def _forget(self, cubes: Sequence[Cube], why: str, now: datetime, follow: Follow) -> Sequence[str]:
        by_tenant: dict[str | None, list[Cube]] = {}
        for cube in cubes:
            by_tenant.setdefault(cube.owner.tenant, []).append(cube)
        gone: list[str] = []
        for tenant, mine in by_tenant.items():
            access = Access.steward(tenant, now)
            view = View(access.scope, tuple(sorted({cube.space for cube in mine})), access=access)
            holds = None if self._retention is None else self._holds(self._retention, now)
            plan = plan_cubes(self._store, view, mine, asked={"why": why}, follow=follow, holds=holds)
            if plan.targets:
                actor = Scope(tenant=tenant, agent=_ACTOR)
                receipt = carry_out(self._store, plan, actor=actor, now=now, drop_index=self._drop_index)
                gone.extend(each.id for each in receipt.erased if each.asked)
                if self._keep is not None:
                    self._keep(receipt)
        return gone

    @staticmethod
    def _holds(retention: Retention, now: datetime) -> Callable[[Sequence[Cube]], dict[str, str]]:
        return lambda cubes: retention.held(cubes, now)
