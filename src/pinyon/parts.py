"""What a memory is made of, and who works with it: shared by the facade and the desks beside it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

from .core.access import Access, Action, Call
from .core.clock import Clock, Instant, instant
from .core.cube import Cube, Draft
from .core.payload import Json
from .core.scope import DEFAULT_SPACE, Scope, check_name
from .core.where import EVERY_STATE, View, Where
from .errors import BadInput, Conflict, Denied, NotFound, StoreError
from .govern.audit import READS, Auditor
from .govern.audit import Level as AuditLevel
from .govern.rights import ADMIN, Rules, check_keeper, has_admin
from .states import StateDesk

if TYPE_CHECKING:
    from .govern.conflict import Judge
    from .govern.receipts import Receipt
    from .govern.redact import Redactor
    from .models import Generator, TokenCounter
    from .mounting import Mount, Mounts
    from .rooms import Rooms
    from .schedule import Heat
    from .searching import Finder
    from .store import Engine, Store, UserKey

__all__ = [
    "LICENCES",
    "MOUNTS",
    "AuditLevel",
    "Caller",
    "ConflictMode",
    "Handle",
    "Parts",
    "Who",
]

_LOG = logging.getLogger(__name__)
_SCOPE = ("tenant", "user", "agent", "session")
_SHORTEST_PREFIX = 4  # hexadecimal digits by which a cube may be named
_ID_DIGITS = 32
_RIGHTS: dict[str, Action] = {"share": "share", "freeze": "freeze", "thaw": "freeze"}  # verbs that ask for more
ConflictMode = Literal["off", "explicit", "rules"]
"""Whose contradictions are looked for: nobody's; of memories whose metadata say ``subject`` and ``attribute``; also of
what people say of themselves and of each other, read by rules."""

LICENCES = "licences"
"""Setting of the whole memory that says how often what was subscribed to may be read, and was; see `licences`."""
MOUNTS = "mounts"
"""Setting of the whole memory that says which spaces are those of other memories; see `mounting`."""


class Who(TypedDict, total=False):
    """Who asks, where, what for, and as of when; what is not given is as the memory was opened."""

    tenant: str | None
    user: str | None
    agent: str | None
    session: str | None
    space: str
    purpose: str | None
    task: str | None
    as_of: Instant | None


@dataclass(slots=True)
class Parts:
    """Everything that a memory and its narrowed copies share.

    Attributes:
        root: Of a space with a key of its own: the memory that it belongs to, whose rules hold in it.
        host: Of a memory that is mounted: the one that it is mounted in. Its own rules hold in it.
        mount: How it is mounted there.
        elsewhere: Opens another memory at a place, with its key, to be written or not.
    """

    store: Store
    finder: Finder
    counter: TokenCounter
    clock: Clock
    folder: Path | None
    auditor: Auditor
    heat: Heat
    conflicts: ConflictMode = "explicit"
    is_closed: bool = False
    rooms: Rooms | None = None
    root: Parts | None = None
    rules: dict[str | None, Rules] = field(default_factory=dict)
    states: StateDesk = field(default_factory=StateDesk)
    generators: dict[str, Generator] = field(default_factory=dict)
    judged_by: Judge | Generator | str | None = None
    host: Parts | None = None
    mount: Mount | None = None
    mounts: Mounts | None = None
    mount_keys: dict[str, UserKey] = field(default_factory=dict)
    elsewhere: Callable[[str, UserKey | None, bool], Parts] | None = None
    making: threading.Lock = field(default_factory=threading.Lock)

    @property
    def home(self) -> Parts:
        """The memory that was opened, whose names of spaces hold."""
        return self.host or self.root or self

    @property
    def desk(self) -> StateDesk:
        """What states of local models need, shared with the rooms."""
        return (self.root or self).states

    @property
    def root_engine(self) -> Engine:
        """Store of the memory itself, where what is ruled for all of it rests."""
        return (self.root or self).store.engine

    def of_space(self, space: str) -> Parts:
        """Return the parts that a space rests in: the memory's, the space's own, or those of a memory mounted there.

        Raises:
            PinyonError: A memory is mounted there, and cannot be used.
        """
        home = self.home
        mounts = home.all_mounts() if space != DEFAULT_SPACE and home.root_engine.setting(MOUNTS) else None
        for elsewhere in (home.rooms, mounts):
            if elsewhere is not None and (found := elsewhere.parts(space)) is not None:
                return found
        return home

    def all_mounts(self) -> Mounts:
        """Return what opens the memories that are mounted here."""
        from .mounting import Mounts  # most memories have none

        with self.making:
            self.mounts = self.mounts or Mounts(self)
            return self.mounts

    def close(self) -> None:
        """Write what is still to be written, and close the files; closing twice is no error."""
        if self.is_closed:
            return
        self.is_closed = True
        try:
            for elsewhere in (self.rooms, self.mounts):
                if elsewhere is not None:
                    elsewhere.close()
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

    def generator(self, given: Generator | str) -> Generator:
        """Return the generator that is given, or that a word names, as `generator_of` does."""
        from .generating import generator_of

        return generator_of(given, (self.root or self).generators)

    def judge(self) -> Judge | None:
        """Return what judges contradictions beside the rules, or None."""
        from .judging import judge_of

        return judge_of((self.root or self).judged_by, self.root or self)

    def let_go(self) -> None:
        """Take out of memory what states of models held that are no more, and drop what is known of such prompts."""
        from .prompts import forget_prompts

        self.desk.follow(self.store.engine)
        forget_prompts(self.store.engine)

    def note_uses(self) -> None:
        """Write which memories were used; where that cannot be written, it is lost, with a warning in the log."""
        try:
            self.heat.flush()
        except StoreError as error:
            _LOG.warning("the usage of memories could not be noted: %s", error.message)

    def note_receipt(self, receipt: Receipt) -> None:
        """Write to the audit that memories were forgotten by themselves, with the number and seal of the receipt."""
        detail: dict[str, Json] = {"receipt": receipt.id, "signature": receipt.signature, "cubes": len(receipt.erased)}
        self.auditor.allowed(receipt.actor, "forget", rule="retention", detail=detail)

    def redacted(self, drafts: Sequence[Draft], tenant: str | None) -> list[Draft]:
        """Return drafts of a tenant as the rules of redaction let them be kept.

        Raises:
            BadInput: One holds what a rule blocks.
        """
        redactor = self.redactor(tenant)
        return list(drafts) if redactor is None else redactor.apply(drafts)

    def redacted_name(self, name: str, tenant: str | None) -> str:
        """Return the name of a source or session as the rules of redaction let it be kept."""
        redactor = self.redactor(tenant)
        return name if redactor is None else redactor.name(name)

    def redactor(self, tenant: str | None) -> Redactor | None:
        """Return what redacts for a tenant: the rules of the whole memory, and its own where those are silent."""
        from .configuring import redactor_of

        return redactor_of(self.root_engine, tenant)

    def one(self, id: str, caller: Caller, verb: str = "get") -> Cube:
        """Return a cube by its id or a beginning of it, in whatever state of its life.

        Args:
            id: Its id, or at least its first four characters.
            caller: Who asks.
            verb: Of the memory, for the audit.

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
            self._note_hidden(wanted, caller, verb)
            raise NotFound(f"there is no cube {id!r} here", hint="`pinyon list` shows what there is")
        return found[0]

    def _note_hidden(self, id: str, caller: Caller, verb: str) -> None:
        """Write to the audit that somebody named a cube that it may not read."""
        events = self.store.engine.events_of(id) if len(id) == _ID_DIGITS else []
        cubes = self.store.engine.by_rows([events[0].row]) if events else {}
        for cube in cubes.values():
            decision = caller.whole_view().allows(cube)
            if not decision.allowed:
                self.auditor.denied(caller.scope, verb, rule=decision.rule, space=caller.space, cube=cube.id)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who works with which space of a memory, for what, and as of when.

    Args:
        parts: The memory.
        scope: Who.
        space: Where.
        purpose: What for, or None.
        task: At which task, or None.
        at: Number of the journal's entry as of which the memory is looked at; None for now.
        moment: The moment that it was asked by.
    """

    parts: Parts
    scope: Scope = Scope()
    space: str = DEFAULT_SPACE
    purpose: str | None = None
    task: str | None = None
    at: int | None = None
    moment: datetime | None = None
    call: Call | None = None

    def narrowed(self, who: Who) -> Caller:
        """Return the same caller with some of it named otherwise, in this memory itself; as `check_home`."""
        return self.anywhere(who).check_home()

    def check_home(self) -> Caller:
        """Return a caller of this memory itself; what is mounted is read, added to, updated and forgotten in alone.

        Raises:
            BadInput: Another memory is mounted there.
        """
        if self.parts.mount is not None:
            self.parts.mount.refuse()
        return self

    def anywhere(self, who: Who) -> Caller:
        """Return the same caller with some of it named otherwise, in this memory or one that is mounted."""
        if not who:
            return self
        strange = sorted(set(who) - set(Who.__annotations__))
        if strange:
            raise TypeError(f"unexpected argument {strange[0]!r}")
        purpose, task = who.get("purpose", self.purpose), who.get("task", self.task)
        named = {name: value for name, value in who.items() if name in _SCOPE}
        scope = replace(self.scope, **named) if named else self.scope  # type: ignore[arg-type]  # names of Who
        parts, space = self.parts, self.space
        if wanted := who.get("space"):
            parts = self.parts.of_space(check_name(wanted, "space"))
            space = wanted if parts.mount is None else parts.mount.space
        at, moment = self.at, self.moment
        if "as_of" in who:
            given = who["as_of"]
            moment = None if given is None else instant(given)
        if "as_of" in who or parts is not self.parts:
            self.check_open()
            at = None if moment is None else parts.store.engine.seq_at(moment)
        return replace(self, parts=parts, scope=scope, space=space, purpose=purpose, task=task, at=at, moment=moment)

    def check_open(self) -> Parts:
        """Return the parts of a memory that is open.

        Raises:
            BadInput: It is closed.
        """
        if self.parts.is_closed or (self.parts.root is not None and self.parts.root.is_closed):
            what = "memory" if self.parts.mount is None else "mount"
            raise BadInput(f"this {what} is closed", hint="open it again")
        return self.parts

    def check_now(self) -> Parts:
        """Return the parts of a memory that is looked at as it is now.

        Raises:
            BadInput: It is a memory as of an earlier time, or closed.
        """
        if self.at is not None:
            raise BadInput("the past cannot be written", hint="branch it, or roll a memory back to an earlier version")
        return self.check_open()

    def for_writing(self) -> Caller:
        """Return the caller of one verb that writes, where it may be written."""
        self.check_now()
        if self.parts.mount is not None:
            self.parts.mount.check_writes(self)
        return replace(self, call=Call("write"))

    def check_space(self) -> None:
        """Refuse to write into a space whose own key was destroyed, or that is now that of another memory.

        Raises:
            Conflict: Its key was destroyed and it has got no other, or it was mounted after it was asked for.
        """
        if self.parts.mount is None and self.parts.of_space(self.space) is not self.parts:
            raise Conflict(f"the space {self.space!r} lies elsewhere since it was asked for", hint="ask for it again")
        if self.parts.rooms is not None and self.parts.rooms.was_shredded(self.space, self.parts.store.engine):
            raise Conflict(
                f"the space {self.space!r} was shredded and has no key of its own any more",
                hint="`pinyon own-key` gives it another one; or write into another space",
            )

    def check_admin(self, action: str) -> None:
        """Refuse what administrators alone may do, once there is one, and write the refusal to the audit.

        Args:
            action: Verb of the memory.

        Raises:
            Denied: There is one, and the caller is none.
        """
        access = self.held()
        if has_admin(access.policy) and not access.is_named((ADMIN,)):
            with self.audited(action):
                raise Denied("this is for administrators alone", hint="ask a holder of role:admin", rule="admin")

    @property
    def is_admin(self) -> bool:
        """Whether the caller's tenant has administrators, and it is one."""
        access = self.held()
        return has_admin(access.policy) and access.is_named((ADMIN,))

    def check_keeper(self, action: str) -> None:
        """Refuse what concerns every tenant to all but administrators of the whole memory, once anything is ruled.

        Args:
            action: Verb of the memory.

        Raises:
            Denied: The caller is none.
        """
        try:
            check_keeper(self.parts.root_engine, self.scope)
        except Denied as error:
            self.parts.auditor.denied(self.scope, action, rule=error.rule, space=self.space)
            raise

    @property
    def is_keeper(self) -> bool:
        """Whether what concerns every tenant is this caller's to do."""
        try:
            check_keeper(self.parts.root_engine, self.scope)
        except Denied:
            return False
        return True

    def now(self) -> datetime:
        """Return the present of the memory's clock."""
        return self.parts.clock.now()

    def access(self) -> Access:
        """Return what the caller holds now, and count its call where calls are limited: once in each verb.

        Raises:
            Denied: It has called too often.
        """
        access = self.held()
        if access.policy.limits:
            from .metering import count  # most memories have no limits

            count(self, access)
        return access

    def held(self) -> Access:
        """Return what the caller holds now."""
        policy = self.parts.rules_of(self.scope.tenant).policy()
        return Access.of(self.scope, policy, purpose=self.purpose, task=self.task, moment=self.now())

    def view(self, where: Where | None = None) -> View:
        """Return what the caller may see of its space, narrowed by a filter."""
        access = self.access()
        moment = access.moment if self.at is None else self.moment
        return View(self.scope, (self.space,), where or Where(), access, self.at, moment)

    def has_expired(self, cube: Cube) -> bool:
        """Return whether a cube's time is up for this caller, swept or not."""
        life = cube.header.life
        return life.state == "expired" or (life.expires is not None and self.view().is_over(cube))

    def whole_view(self) -> View:
        """Return what the caller may see of its space, in every state of its life, expired or not."""
        return replace(self.view(Where(states=EVERY_STATE)), moment=None)

    @contextmanager
    def audited(
        self, action: str, cubes: Sequence[Cube] = (), detail: dict[str, Json] | None = None
    ) -> Iterator[list[Cube]]:
        """Write to the audit that something was done, or that it was denied; give the list of cubes, to add to it.

        Args:
            action: Verb of the memory.
            cubes: Which ones it is about, as they were before.
            detail: Numbers and short names; never content.
        """
        touched = list(cubes)
        try:
            yield touched
        except (Denied, Conflict) as error:
            rule = error.rule if isinstance(error, Denied) else "frozen"
            if rule != "rate" and (isinstance(error, Denied) or any(c.header.life.state == "frozen" for c in touched)):
                for id in [cube.id for cube in touched] or [""]:
                    self.parts.auditor.denied(self.scope, action, rule=rule, space=self.space, cube=id, detail=detail)
            raise
        if self.parts.auditor.writes(action, allowed=True):
            self._note_allowed(action, touched, detail)

    def _note_allowed(self, action: str, cubes: Sequence[Cube], detail: dict[str, Json] | None) -> None:
        """Write to the audit that something was done, with the rule that allowed it for each cube."""
        asked: Action = _RIGHTS.get(action, "read" if action in READS else "write")
        view = self.whole_view()
        by_rule: dict[str, list[str]] = {}
        for cube in cubes:
            said = view.allows(cube, asked)
            by_rule.setdefault(said.rule if said.allowed else "default", []).append(cube.id)
        for rule, ids in (by_rule or {"admin" if self.is_admin else "default": [""]}).items():
            self.parts.auditor.changed(self.scope, action, ids, rule=rule, space=self.space, detail=detail)


class Handle:
    """One caller's hold on a memory; the verbs are in its children.

    Args:
        caller: Who works with which memory.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    @property
    def caller(self) -> Caller:
        """Who works with which space of this memory itself, for tools that go below the verbs."""
        return self._caller.check_home()

    def _for(self, who: Who) -> Caller:
        """Return the caller of one verb on an open memory."""
        return self._reader(who).check_home()

    def _reader(self, who: Who) -> Caller:
        """Return the caller of one verb that reads, also through a mount."""
        self._caller.check_open()
        return replace(self._caller.anywhere(who), call=Call("read"))

    def _writer(self, who: Who) -> Caller:
        """Return the caller of one verb that writes."""
        return self._caller.narrowed(who).for_writing()

    def _changer(self, who: Who) -> Caller:
        """Return the caller of one verb that writes, also through a mount that may be written."""
        return self._caller.anywhere(who).for_writing()
