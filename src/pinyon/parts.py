"""What a memory is made of, and who works with it: shared by the facade and the desks beside it."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypedDict

from .core.access import Access
from .core.clock import Clock, Instant, instant
from .core.cube import Cube, Draft
from .core.payload import Json
from .core.scope import DEFAULT_SPACE, Scope, check_name
from .core.where import EVERY_STATE, View, Where
from .errors import BadInput, Denied, NotFound, StoreError
from .govern.audit import Auditor
from .govern.audit import Level as AuditLevel
from .govern.receipts import Receipt
from .govern.redact import RedactionRule, Redactor
from .govern.rights import ADMIN, Rules, has_admin
from .models import TokenCounter
from .rooms import Rooms
from .schedule import Heat, LifecycleConfig
from .searching import Finder
from .states import StateDesk
from .store import Engine, Store

__all__ = ["REDACTION", "AuditLevel", "Caller", "ConflictMode", "Handle", "Parts", "Who", "secret_of"]

_LOG = logging.getLogger(__name__)
_SCOPE = ("tenant", "user", "agent", "session")
_SHORTEST_PREFIX = 4  # hexadecimal digits by which a cube may be named
_ID_DIGITS = 32
ConflictMode = Literal["off", "explicit", "rules"]
"""Whose contradictions are looked for: nobody's; of memories whose metadata say ``subject`` and ``attribute``; also of
what people say of themselves and of each other, read by rules."""

REDACTION = "redaction"
"""Setting of the store that holds the rules of redaction as JSON."""


class Who(TypedDict, total=False):
    """Who asks, where, what for, and as of when; what is not given is as the memory was opened."""

    tenant: str | None
    user: str | None
    agent: str | None
    session: str | None
    space: str
    purpose: str | None
    as_of: Instant | None


@dataclass(slots=True)
class Parts:
    """Everything that a memory and its narrowed copies share."""

    store: Store
    finder: Finder
    counter: TokenCounter
    clock: Clock
    folder: Path | None
    auditor: Auditor
    heat: Heat
    lifecycle: LifecycleConfig
    conflicts: ConflictMode = "explicit"
    is_closed: bool = False
    rooms: Rooms | None = None
    root: Parts | None = None
    rules: dict[str | None, Rules] = field(default_factory=dict)
    states: StateDesk = field(default_factory=StateDesk)

    @property
    def desk(self) -> StateDesk:
        """What states of local models need, shared with the rooms."""
        return (self.root or self).states

    @property
    def root_engine(self) -> Engine:
        """Store of the memory itself, where what is ruled for all of it rests."""
        return (self.root or self).store.engine

    def of_space(self, space: str) -> Parts:
        """Return the parts that a space rests in: those of the memory, or of the space's own."""
        root = self.root or self
        return (root.rooms.parts(space) if root.rooms is not None else None) or root

    def close(self) -> None:
        """Write what is still to be written, and close the files; closing twice is no error."""
        if self.is_closed:
            return
        self.is_closed = True
        try:
            if self.rooms is not None:
                self.rooms.close()
            self.desk.drop_store(self.store.engine.identity)
            self.note_uses()
            self.finder.close()
        finally:
            self.store.engine.close()

    def rules_of(self, tenant: str | None) -> Rules:
        """Return the rules of a tenant; those of the memory hold in its rooms."""
        if self.root is not None:
            return self.root.rules_of(tenant)
        if tenant not in self.rules:
            self.rules[tenant] = Rules(self.store, tenant)
        return self.rules[tenant]

    def let_go(self) -> None:
        """Take out of memory what states of models held that are no more."""
        self.desk.follow(self.store.engine)

    def note_uses(self) -> None:
        """Write which memories were used; where that cannot be written, it is lost, with a warning in the log."""
        try:
            self.heat.flush()
        except StoreError:
            _LOG.warning("the usage of memories could not be noted", exc_info=True)

    def note_receipt(self, receipt: Receipt) -> None:
        """Write to the audit that memories were forgotten by themselves, with the number and seal of the receipt."""
        detail: dict[str, Json] = {"receipt": receipt.id, "signature": receipt.signature, "cubes": len(receipt.erased)}
        self.auditor.allowed(receipt.actor, "forget", rule="retention", detail=detail)

    def redacted(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Return drafts as the rules of redaction let them be kept.

        Raises:
            BadInput: One holds what a rule blocks.
        """
        redactor = self._redactor()
        return list(drafts) if redactor is None else redactor.apply(drafts)

    def redacted_name(self, name: str) -> str:
        """Return the name of a source or session as the rules of redaction let it be kept."""
        redactor = self._redactor()
        return name if redactor is None else redactor.name(name)

    def _redactor(self) -> Redactor | None:
        engine = self.root_engine
        said = engine.setting(REDACTION)
        return _redactor(said, secret_of(engine, REDACTION)) if said else None

    def one(self, id: str, caller: Caller) -> Cube:
        """Return a cube by its id or a beginning of it, in whatever state of its life.

        Raises:
            NotFound: There is no such cube for this caller, or several begin so.
        """
        wanted = id.strip().lower() if isinstance(id, str) else ""
        found: list[Cube] = []
        if len(wanted) >= _SHORTEST_PREFIX and not set(wanted) - set("0123456789abcdef"):
            found = self.store.engine.matching(wanted, caller.whole_view(), 2)
        if len(found) > 1:
            raise NotFound(f"several cubes begin with {id!r}", hint="give more characters")
        if not found:
            self._note_hidden(wanted, caller)
            raise NotFound(f"there is no cube {id!r} here", hint="`pinyon list` shows what there is")
        return found[0]

    def _note_hidden(self, id: str, caller: Caller) -> None:
        """Write to the audit that somebody named a cube that it may not read."""
        events = self.store.engine.events_of(id) if len(id) == _ID_DIGITS else []
        cubes = self.store.engine.by_rows([events[0].row]) if events else {}
        for cube in cubes.values():
            decision = caller.whole_view().allows(cube)
            if not decision.allowed:
                self.auditor.denied(caller.scope, "get", rule=decision.rule, space=caller.space, cube=cube.id)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who works with which space of a memory, for what, and as of when.

    Args:
        parts: The memory.
        scope: Who.
        space: Where.
        purpose: What for, or None.
        at: Number of the journal's entry as of which the memory is looked at; None for now.
        moment: The moment that it was asked by.
    """

    parts: Parts
    scope: Scope = Scope()
    space: str = DEFAULT_SPACE
    purpose: str | None = None
    at: int | None = None
    moment: datetime | None = None

    def narrowed(self, who: Who) -> Caller:
        """Return the same caller with some of it named otherwise."""
        if not who:
            return self
        strange = sorted(set(who) - set(Who.__annotations__))
        if strange:
            raise TypeError(f"unexpected argument {strange[0]!r}")
        space = check_name(who.get("space") or self.space, "space")
        purpose = who.get("purpose", self.purpose)
        named = {name: value for name, value in who.items() if name in _SCOPE}
        scope = replace(self.scope, **named) if named else self.scope  # type: ignore[arg-type]  # names of Who
        parts = self.parts.of_space(space) if "space" in who else self.parts
        at, moment = self.at, self.moment
        if "as_of" in who:
            given = who["as_of"]
            moment = None if given is None else instant(given)
        if "as_of" in who or parts is not self.parts:
            self.check_open()
            at = None if moment is None else parts.store.engine.seq_at(moment)
        return replace(self, parts=parts, scope=scope, space=space, purpose=purpose, at=at, moment=moment)

    def check_open(self) -> Parts:
        """Return the parts of a memory that is open.

        Raises:
            BadInput: It is closed.
        """
        if self.parts.is_closed or (self.parts.root is not None and self.parts.root.is_closed):
            raise BadInput("this memory is closed", hint="open it again")
        return self.parts

    def check_now(self) -> Parts:
        """Return the parts of a memory that is looked at as it is now.

        Raises:
            BadInput: It is a memory as of an earlier time, or closed.
        """
        if self.at is not None:
            raise BadInput("the past cannot be written", hint="branch it, or roll a memory back to an earlier version")
        return self.check_open()

    def check_admin(self) -> None:
        """Refuse what administrators alone may look at, once there is one.

        Raises:
            Denied: There is one, and the caller is none.
        """
        access = self.access()
        if has_admin(access.policy) and not access.is_named((ADMIN,)):
            raise Denied("this is for administrators alone", hint="ask a holder of role:admin", rule="admin")

    def now(self) -> datetime:
        """Return the present of the memory's clock."""
        return self.parts.clock.now()

    def access(self) -> Access:
        """Return what the caller holds now."""
        policy = self.parts.rules_of(self.scope.tenant).policy()
        return Access.of(self.scope, policy, purpose=self.purpose, moment=self.now())

    def view(self, where: Where | None = None) -> View:
        """Return what the caller may see of its space, narrowed by a filter."""
        access = self.access()
        return View(self.scope, (self.space,), where or Where(), access, self.at, access.moment)

    def whole_view(self) -> View:
        """Return what the caller may see of its space, in every state of its life, expired or not."""
        return replace(self.view(Where(states=EVERY_STATE)), moment=None)

    @contextmanager
    def audited(self, action: str, cubes: Sequence[Cube] = (), detail: dict[str, Json] | None = None) -> Iterator[None]:
        """Write to the audit that something was done, or that it was denied.

        Args:
            action: Verb of the memory.
            cubes: Which ones it is about.
            detail: Numbers and short names; never content.
        """
        auditor = self.parts.auditor
        ids = [cube.id for cube in cubes] or [""]
        try:
            yield
        except Denied as error:
            for id in ids:
                auditor.denied(self.scope, action, rule=error.rule, space=self.space, cube=id, detail=detail)
            raise
        if auditor.writes(action, allowed=True):
            auditor.changed(self.scope, action, ids, rule="allowed", space=self.space, detail=detail)


class Handle:
    """One caller's hold on a memory; the verbs are in its children.

    Args:
        caller: Who works with which memory.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    @property
    def caller(self) -> Caller:
        """Who works with which space, for tools that go below the verbs."""
        return self._caller

    def _for(self, who: Who) -> Caller:
        """Return the caller of one verb on an open memory."""
        self._caller.check_open()
        return self._caller.narrowed(who)

    def _writer(self, who: Who) -> Caller:
        """Return the caller of one verb that writes."""
        caller = self._caller.narrowed(who)
        caller.check_now()
        return caller


def secret_of(engine: Engine, name: str) -> bytes:
    """Return a secret of a store, made when it is first asked for; 32 bytes.

    Args:
        engine: The store.
        name: What it is for.
    """
    key = f"{name}_key"
    known = engine.setting(key)
    if known is None:
        if engine.is_read_only:
            return secrets.token_bytes(32)  # for this process alone: nothing it hashes is kept
        with engine.transaction() as tx:  # two processes agree on one
            known = tx.setting(key)
            if known is None:
                known = secrets.token_hex(32)
                tx.set_setting(key, known)
    return bytes.fromhex(known)


@lru_cache(maxsize=8)
def _redactor(said: str, key: bytes) -> Redactor:
    return Redactor([RedactionRule(**each) for each in json.loads(said)], key=key)
