"""The contract of a place where cubes rest.

An *engine* (SQLite, memory) carries rows in transactions and knows nothing of rules; `Store` in `store.py` holds the
rules once for all engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.cube import Cube
from ..core.events import Changes, Event, Head
from ..core.scope import Scope
from ..core.where import View
from .blobs import Blobs

__all__ = ["Engine", "Outcome", "Place", "Placed", "SourceMark", "Transaction", "VectorRows"]

Outcome = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of one draft."""

    cube: Cube
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class SourceMark:
    """That a source was read, so that reading the same bytes again costs nothing.

    Args:
        key: Name of the source within its space and owner.
        digest: SHA-256 of its bytes.
        cubes: Number of cubes it gave.
    """

    key: str
    digest: str
    cubes: int


@dataclass(frozen=True, slots=True)
class Place:
    """A thread in the order of which cubes stand: its space, the walls of its owner, its name."""

    space: str
    tenant: str | None
    user: str | None
    agent: str | None
    thread: str

    @classmethod
    def of(cls, space: str, owner: Scope, thread: str) -> Place:
        """Return the place of a thread written by an owner."""
        return cls(space, owner.tenant, owner.user, owner.agent, thread)


@dataclass(frozen=True, slots=True)
class VectorRows:
    """Vectors of one embedder.

    Args:
        rows: Rows of the cubes, int64, ascending, (N,).
        versions: Versions of the cubes they were made from, int64, (N,).
        data: Half-precision unit rows, (N, E).
    """

    rows: NDArray[np.int64]
    versions: NDArray[np.int64]
    data: NDArray[np.float16]


class Transaction(Protocol):
    """Exclusive write access to an engine; leaving it by an exception undoes everything."""

    def head(self) -> Head: ...
    def live(self, ids: Sequence[str]) -> dict[str, Cube]: ...
    def spent(self, ids: Sequence[str]) -> set[str]: ...
    def ends(self, places: Sequence[Place]) -> dict[Place, int]: ...
    def standing(self, place: Place) -> list[Cube]: ...
    def insert(self, cubes: Sequence[Cube]) -> None: ...
    def replace(self, cubes: Sequence[Cube]) -> None: ...
    def erase(self, cubes: Sequence[Cube]) -> None: ...
    def append(self, events: Sequence[Event]) -> None: ...
    def mark_source(self, space: str, owner: Scope, mark: SourceMark) -> None: ...
    def put_vectors(self, fingerprint: str, vectors: VectorRows) -> None: ...


class Engine(Protocol):
    """Rows in transactions; `SqliteEngine` and `MemoryEngine` are the two of them.

    Attributes:
        identity: Names this store for good, so that derived files know whose they are.
        location: Path or name shown to people.
        is_read_only: Whether every write raises `StoreError`.
        blobs: Bytes named by their SHA-256.
    """

    @property
    def identity(self) -> str: ...
    @property
    def location(self) -> str: ...
    @property
    def is_read_only(self) -> bool: ...
    @property
    def blobs(self) -> Blobs: ...

    def transaction(self) -> AbstractContextManager[Transaction]: ...
    def head(self) -> Head: ...
    def get(self, id: str, view: View) -> Cube | None: ...
    def matching(self, prefix: str, view: View, limit: int) -> list[Cube]: ...
    def find(self, view: View, *, newest_first: bool, limit: int, after: tuple[int, int] | None) -> list[Cube]: ...
    def rows(self, view: View) -> NDArray[np.int64]: ...
    def count(self, view: View) -> int: ...
    def by_rows(self, rows: Sequence[int]) -> dict[int, Cube]: ...
    def journal(self, after: int, limit: int) -> list[Event]: ...
    def changes(self, after: int, limit: int) -> Changes: ...
    def versions(self, id: str) -> list[Cube]: ...
    def events_of(self, id: str) -> list[Event]: ...
    def spaces(self, scope: Scope) -> list[str]: ...
    def source(self, space: str, owner: Scope, key: str) -> SourceMark | None: ...
    def source_of(self, space: str, owner: Scope, digest: str) -> SourceMark | None: ...
    def vectors(self, fingerprint: str, rows: Sequence[int]) -> VectorRows: ...
    def missing_vectors(self, fingerprint: str, limit: int) -> list[Cube]: ...
    def fingerprints(self) -> dict[str, int]: ...
    def containing(self, text: str, view: View, limit: int) -> list[Cube]: ...
    def setting(self, key: str) -> str | None: ...
    def set_setting(self, key: str, value: str) -> None: ...
    def drop_vectors(self, fingerprint: str) -> None: ...
    def problems(self) -> list[str]: ...
    def bytes(self) -> int: ...
    def names_blob(self, sha256: str) -> bool: ...
    def settle(self) -> None: ...
    def close(self) -> None: ...
