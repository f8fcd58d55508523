"""Rights on cubes as columns: what each distinct text of rights comes to for a caller, worked out once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..core.access import Access, Policy
from ..core.header import Rights, rights_from_json

__all__ = ["Opened", "Rulings"]

Mask = NDArray[np.bool_]
_KEPT_CALLERS = 256


@dataclass(frozen=True, slots=True)
class Opened:
    """What rights come to for one caller, by code, (number of codes + 1,) each; the last is that of default rights.

    Args:
        barred: Nothing may be done, whoever owns the cube.
        granted: The caller is named.
        cleared: The caller may see every label.
    """

    barred: Mask
    granted: Mask
    cleared: Mask

    @property
    def is_plain(self) -> bool:
        """Whether all rights come to what default rights do."""
        return not self.barred.any() and not self.granted.any() and bool(self.cleared.all())

    @property
    def key(self) -> bytes:
        """Tells different outcomes apart."""
        return np.packbits(np.concatenate((self.barred, self.granted, self.cleared))).tobytes()


@dataclass(slots=True)
class _Caller:
    """What is known of one caller so far."""

    barred: list[bool] = field(default_factory=list)
    granted: list[bool] = field(default_factory=list)
    cleared: list[bool] = field(default_factory=list)
    opened: Opened | None = None
    policy: Policy | None = None  # under which bounds were weighed


class Rulings:
    """The rights of a column, read once, and their outcomes for the callers that asked.

    Rights on a cube look at a caller's principals, labels, purpose, task and time, and never at what is ruled of
    spaces, so that the outcomes outlive changes of the policy. Bounds do look at it, and are weighed again when it
    changes.
    """

    def __init__(self) -> None:
        self._rights: list[Rights] = []
        self._timed: list[int] = []
        self._bound: list[int] = []
        self._callers: dict[tuple[object, ...], _Caller] = {}

    def read(self, names: Sequence[str]) -> None:
        """Read the rights that came since; the codes of the others stay."""
        for name in names[len(self._rights) :]:
            rights = rights_from_json(json.loads(name))
            if rights.is_timed or any(bound.rights.is_timed for bound in rights.bounds):
                self._timed.append(len(self._rights))
            if rights.bounds:
                self._bound.append(len(self._rights))
            self._rights.append(rights)

    def of(self, access: Access) -> Opened:
        """Return what the rights come to for a caller at its moment."""
        key = (access.principals, access.cleared, access.purpose, access.task)
        known = self._callers.get(key)
        if known is None:
            if len(self._callers) >= _KEPT_CALLERS:
                self._callers.clear()
            known = self._callers[key] = _Caller()
        policy = access.policy
        if self._bound and known.policy is not policy:
            for code in self._bound:
                if code < len(known.barred):
                    known.barred[code] = access.bars(self._rights[code])
            known.policy, known.opened = policy, None
        fresh = self._rights[len(known.barred) :]
        if fresh or known.opened is None:
            known.barred.extend(access.bars(rights) for rights in fresh)
            known.granted.extend(access.grants(rights) for rights in fresh)
            known.cleared.extend(access.is_cleared(rights) for rights in fresh)
            said = (*zip(known.barred, known.granted, known.cleared, strict=True), (False, False, True))
            known.opened = Opened(*np.array(said, dtype=np.bool_).T)
        timed = self._timed
        if self._bound and any(said.rights.is_timed for _, said in policy.spaces):
            timed = sorted({*timed, *self._bound})
        if not timed:
            return known.opened
        barred = known.opened.barred.copy()
        barred[timed] = [access.bars(self._rights[code]) for code in timed]
        return Opened(barred, known.opened.granted, known.opened.cleared)
