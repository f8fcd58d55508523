"""The same memory for programs that run in an event loop: each verb is a coroutine that works in a thread.

Nothing is written twice: a descriptor turns a method of `Memory` into a coroutine with the same signature, which type
checkers see.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from itertools import islice
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, Unpack, overload

from .core.clock import Instant
from .core.scope import Scope
from .memory import Memory, Who
from .rights_desk import RightsDesk

__all__ = ["AsyncMemory", "AsyncRights"]

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")

_BATCH = 256  # items fetched per step into a thread: the step costs some 50 µs, an item about as much


class _Inner(Generic[T]):
    """Something whose methods are done in a thread."""

    def __init__(self, inner: T) -> None:
        self._inner = inner


class _Verb(Generic[T, P, R]):
    """A method as a coroutine that runs it in a thread."""

    def __init__(self, method: Callable[Concatenate[T, P], R]) -> None:
        self._method = method
        self.__doc__ = method.__doc__
        self.__wrapped__ = method

    @overload
    def __get__(self, instance: None, owner: type[_Inner[T]]) -> Self: ...
    @overload
    def __get__(self, instance: _Inner[T], owner: type[_Inner[T]]) -> Callable[P, Coroutine[Any, Any, R]]: ...
    def __get__(self, instance: _Inner[T] | None, owner: type[_Inner[T]]) -> Self | Callable[P, Coroutine[Any, Any, R]]:
        if instance is None:
            return self
        inner, method = instance._inner, self._method

        async def run(*args: P.args, **kwargs: P.kwargs) -> R:
            return await asyncio.to_thread(method, inner, *args, **kwargs)

        run.__doc__ = method.__doc__
        return run


class _Stream(Generic[T, P, R]):
    """A method that yields, as an asynchronous iterator."""

    def __init__(self, method: Callable[Concatenate[T, P], Iterator[R]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__
        self.__wrapped__ = method

    @overload
    def __get__(self, instance: None, owner: type[_Inner[T]]) -> Self: ...
    @overload
    def __get__(self, instance: _Inner[T], owner: type[_Inner[T]]) -> Callable[P, AsyncIterator[R]]: ...
    def __get__(self, instance: _Inner[T] | None, owner: type[_Inner[T]]) -> Self | Callable[P, AsyncIterator[R]]:
        if instance is None:
            return self
        inner, method = instance._inner, self._method

        async def run(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
            items = method(inner, *args, **kwargs)
            while batch := await asyncio.to_thread(lambda: list(islice(items, _BATCH))):
                for item in batch:
                    yield item

        return run


class _Opening:
    """A memory that is being opened: ``await`` it, or open it for a block with ``async with``."""

    def __init__(self, opened: Callable[[], Memory]) -> None:
        self._opened = opened
        self._memory: AsyncMemory | None = None

    async def _open(self) -> AsyncMemory:
        return AsyncMemory(await asyncio.to_thread(self._opened))

    def __await__(self) -> Generator[Any, None, AsyncMemory]:
        return self._open().__await__()

    async def __aenter__(self) -> AsyncMemory:
        self._memory = await self._open()
        return self._memory

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._memory is not None:
            await self._memory.close()


def _opening(method: Callable[P, Memory]) -> Callable[P, _Opening]:
    def run(*args: P.args, **kwargs: P.kwargs) -> _Opening:
        return _Opening(lambda: method(*args, **kwargs))

    run.__doc__ = method.__doc__
    return run


class AsyncRights(_Inner[RightsDesk]):
    """`RightsDesk` with coroutines.

    Args:
        inner: The desk.
    """

    bind = _Verb(RightsDesk.bind)
    clear = _Verb(RightsDesk.clear)
    close_others = _Verb(RightsDesk.close_others)
    decide = _Verb(RightsDesk.decide)
    grant = _Verb(RightsDesk.grant)
    group = _Verb(RightsDesk.group)
    limit = _Verb(RightsDesk.limit)
    open_space = _Verb(RightsDesk.open_space)
    policy = _Verb(RightsDesk.policy)
    redact = _Verb(RightsDesk.redact)
    redaction = _Verb(RightsDesk.redaction)
    report = _Verb(RightsDesk.report)
    revoke = _Verb(RightsDesk.revoke)
    role = _Verb(RightsDesk.role)


class AsyncMemory(_Inner[Memory]):
    """A `Memory` whose verbs are coroutines, for web services and agents in an event loop.

    Several coroutines may use it at once. A coroutine that is cancelled leaves its thread to finish: a write that has
    begun is written whole or not at all, as always.

    Args:
        inner: A memory that is open.

    Example:
        >>> async def main() -> str:
        ...     async with AsyncMemory.open(":memory:") as memory:
        ...         await memory.add("Ann keeps bees behind the old mill.")
        ...         return (await memory.ask("Where are the bees?")).text
        >>> asyncio.run(main())
        'Ann keeps bees behind the old mill. [1]'
    """

    open = staticmethod(_opening(Memory.open))
    """Open a memory as `Memory.open` does: ``await`` the result, or use it in ``async with``."""

    def at(self, **who: Unpack[Who]) -> AsyncMemory:
        """Return the same memory for another caller or space; it shares everything with this one."""
        return AsyncMemory(self._inner.at(**who))

    async def as_of(self, moment: Instant) -> AsyncMemory:
        """Return the same memory as it was at a moment of record time, see `Memory.as_of`."""
        return AsyncMemory(await asyncio.to_thread(self._inner.as_of, moment))

    @property
    def rights(self) -> AsyncRights:
        """Who may do what, as `Memory.rights`."""
        return AsyncRights(self._inner.rights)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def memory(self) -> Memory:
        """The memory itself, for functions that take one; run them with `asyncio.to_thread`."""
        return self._inner

    @property
    def scope(self) -> Scope:
        """Who asks by default."""
        return self._inner.scope

    @property
    def space(self) -> str:
        """The default space."""
        return self._inner.space

    activate = _Verb(Memory.activate)
    add = _Verb(Memory.add)
    add_many = _Verb(Memory.add_many)
    add_source = _Verb(Memory.add_source)
    adopt = _Verb(Memory.adopt)
    archive = _Verb(Memory.archive)
    ask = _Verb(Memory.ask)
    audit = _Stream(Memory.audit)
    branch = _Verb(Memory.branch)
    cancel_job = _Verb(Memory.cancel_job)
    catch_up = _Verb(Memory.catch_up)
    check = _Verb(Memory.check)
    close = _Verb(Memory.close)
    configuration = _Verb(Memory.configuration)
    configure = _Verb(Memory.configure)
    convert = _Verb(Memory.convert)
    decisions = _Verb(Memory.decisions)
    diff = _Verb(Memory.diff)
    expire = _Verb(Memory.expire)
    follow = _Stream(Memory.follow)
    forget = _Verb(Memory.forget)
    freeze = _Verb(Memory.freeze)
    get = _Verb(Memory.get)
    history = _Verb(Memory.history)
    iterate = _Stream(Memory.iterate)
    list = _Verb(Memory.list)
    log = _Stream(Memory.log)
    merge = _Verb(Memory.merge)
    merge_branch = _Verb(Memory.merge_branch)
    mount = _Verb(Memory.mount)
    mounts = _Verb(Memory.mounts)
    own_key = _Verb(Memory.own_key)
    pin = _Verb(Memory.pin)
    pipeline = _Verb(Memory.pipeline)
    pipeline_runs = _Verb(Memory.pipeline_runs)
    plan_forget = _Verb(Memory.plan_forget)
    purge = _Verb(Memory.purge)
    recall = _Verb(Memory.recall)
    reindex = _Verb(Memory.reindex)
    requeue_job = _Verb(Memory.requeue_job)
    restore = _Verb(Memory.restore)
    repair = _Verb(Memory.repair)
    retain = _Verb(Memory.retain)
    retention = _Verb(Memory.retention)
    retention_report = _Verb(Memory.retention_report)
    rollback = _Verb(Memory.rollback)
    rule_changes = _Stream(Memory.rule_changes)
    search = _Verb(Memory.search)
    shred = _Verb(Memory.shred)
    source = _Verb(Memory.source)
    stats = _Verb(Memory.stats)
    sweep = _Verb(Memory.sweep)
    talk = _Verb(Memory.talk)
    thaw = _Verb(Memory.thaw)
    undo = _Verb(Memory.undo)
    unmount = _Verb(Memory.unmount)
    unpin = _Verb(Memory.unpin)
    update = _Verb(Memory.update)
    verify = _Verb(Memory.verify)
    work = _Verb(Memory.work)
