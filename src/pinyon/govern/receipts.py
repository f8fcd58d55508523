"""Receipts of forgetting: which copies were touched, what was kept and why, under a signature of the store."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import cast

from ..core.clock import from_micros, micros
from ..core.cube import Cube
from ..core.payload import Json, Text, canonical
from ..core.scope import Scope
from ..errors import BadInput
from ..store import Engine

__all__ = [
    "Erased",
    "Receipt",
    "Retained",
    "blinded",
    "copies_of",
    "receipt_from_json",
    "receipt_to_json",
    "sign",
    "verify",
]

_KEY = "receipt_key"  # setting of the store
_KEY_BYTES = 32  # as long as the digest it makes: RFC 2104, section 3
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Erased:
    """One cube that went, and every copy of it that was touched; never what it said.

    Args:
        id: Its id.
        space: Where it lay.
        row: Its row in the database.
        kind: Kind of its payload.
        asked: Whether it was asked for; False when it went because it was made of one that was.
        versions: Versions that went, the last one among them.
        vectors: Vectors that went, by the fingerprint of their embedder.
        blobs: SHA-256 of blobs that went.
        blobs_kept: SHA-256 of blobs that stay because another cube names them.
        usage: Whether a row of its usage went.
        source: Whether the mark of the source it was read from went.
        journal: Numbers of the journal's entries that stay; they hold ids and seals alone.
    """

    id: str
    space: str
    row: int
    kind: str
    asked: bool
    versions: int
    vectors: Mapping[str, int] = field(default_factory=dict)
    blobs: tuple[str, ...] = ()
    blobs_kept: tuple[str, ...] = ()
    usage: bool = False
    source: bool = False
    journal: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Retained:
    """One cube that stays although it was asked for or made of one that was.

    Args:
        id: Its id.
        space: Where it lies.
        reason: ``frozen``, ``hold: <rule>``, ``not allowed: <rule>``, ``stale`` or ``changed``.
    """

    id: str
    space: str
    reason: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What forgetting did.

    Args:
        id: Its own name, 32 hexadecimal digits.
        store: Identity of the store.
        time: When.
        actor: Who asked.
        asked: What was asked; names, filters and questions only as digests under the store's key, see `blinded`.
        erased: What went.
        retained: What stays and why.
        is_complete: Whether nothing that was made of what went stays beyond what `retained` names.
        index: Whether index snapshots were dropped.
        seq: Number of the journal's last entry after it.
        chain: Chain value of that entry.
        signature: HMAC-SHA256 over all of the above, hexadecimal; empty before it is signed.
    """

    id: str
    store: str
    time: datetime
    actor: Scope
    asked: Mapping[str, Json]
    erased: tuple[Erased, ...]
    retained: tuple[Retained, ...]
    is_complete: bool
    index: bool
    seq: int
    chain: str
    signature: str = ""


def copies_of(engine: Engine, cubes: Sequence[Cube], *, asked: bool) -> dict[str, Erased]:
    """Return every copy of cubes that the store knows of, by id, as a receipt names them.

    Args:
        engine: The store.
        cubes: Which ones.
        asked: Whether they were asked for.
    """
    rows = [cube.row for cube in cubes]
    past: dict[int, list[Cube]] = {}
    for old in engine.past(rows):
        past.setdefault(old.row, []).append(old)
    usage = engine.usage.of(rows)
    vectors = {name: set(engine.vectors(name, rows).rows.tolist()) for name in engine.fingerprints()}
    found: dict[str, Erased] = {}
    for cube in cubes:
        every = (*past.get(cube.row, ()), cube)
        source = cube.header.provenance.source
        found[cube.id] = Erased(
            cube.id,
            cube.space,
            cube.row,
            cube.kind.value,
            asked,
            versions=len(every),
            vectors={name: 1 for name, having in vectors.items() if cube.row in having},
            blobs=tuple(dict.fromkeys(name for each in every for name in _blobs(each))),
            usage=cube.row in usage,
            source=source is not None and engine.source(cube.space, cube.owner, source) is not None,
            journal=tuple(event.seq for event in engine.events_of(cube.id)),
        )
    return found


def _blobs(cube: Cube) -> tuple[str, ...]:
    return () if isinstance(cube.payload, Text) else tuple(blob.sha256 for blob in cube.payload.blobs)


def blinded(engine: Engine, value: Json) -> str:
    """Return what a receipt says in place of a name or a filter: HMAC-SHA256 under the store's key.

    Whoever holds the store can ask whether a receipt is about a name; nobody can read the name from it.
    """
    return hmac.new(_key(engine), canonical(value).encode(), hashlib.sha256).hexdigest()


def sign(receipt: Receipt, engine: Engine) -> Receipt:
    """Return a receipt with the signature of a store; its key is made when it signs for the first time."""
    return replace(receipt, signature=_signature(receipt, _key(engine)))


def verify(receipt: Receipt, engine: Engine) -> list[str]:
    """Return every reason why a receipt does not hold in this store; an empty list when it holds.

    Args:
        receipt: What is to be checked.
        engine: The store that is said to have signed it.
    """
    if receipt.store != engine.identity:
        return [f"receipt {receipt.id} is of the store {receipt.store}, this one is {engine.identity}"]
    key = engine.setting(_KEY)
    if key is None:
        return [f"receipt {receipt.id} cannot be checked: this store has lost the key of its receipts"]
    if not hmac.compare_digest(_signature(receipt, bytes.fromhex(key)), receipt.signature):
        return [f"receipt {receipt.id} was changed after it was signed, or was signed by somebody else"]
    return [*_journal_problems(receipt, engine), *_presence_problems(receipt, engine)]


def _journal_problems(receipt: Receipt, engine: Engine) -> list[str]:
    if not receipt.seq:
        return []
    entries = engine.journal(receipt.seq - 1, 1)
    if not entries or entries[0].seq != receipt.seq:
        return [f"the journal ends before entry {receipt.seq}, which receipt {receipt.id} names"]
    if entries[0].chain != receipt.chain:
        return [f"entry {receipt.seq} of the journal has another chain value than receipt {receipt.id} says"]
    return []


def _presence_problems(receipt: Receipt, engine: Engine) -> list[str]:
    there = engine.by_rows([erased.row for erased in receipt.erased])
    return [
        f"cube {erased.id} is here, receipt {receipt.id} says it went"
        for erased in receipt.erased
        if erased.row in there
    ]


def _key(engine: Engine) -> bytes:
    known = engine.setting(_KEY)
    if known is None:
        with engine.transaction() as tx:  # two processes agree on one key
            known = tx.setting(_KEY)
            if known is None:
                known = secrets.token_hex(_KEY_BYTES)
                tx.set_setting(_KEY, known)
    return bytes.fromhex(known)


def _signature(receipt: Receipt, key: bytes) -> str:
    said = receipt_to_json(receipt)
    del said["signature"]
    return hmac.new(key, canonical(said).encode(), hashlib.sha256).hexdigest()


def receipt_to_json(receipt: Receipt) -> dict[str, Json]:
    """Return a receipt as a JSON object; `receipt_from_json` is its inverse."""
    who = receipt.actor
    return {
        "format": _FORMAT,
        "id": receipt.id,
        "store": receipt.store,
        "time": micros(receipt.time),
        "actor": [who.tenant, who.user, who.agent, who.session],
        "asked": dict(receipt.asked),
        "erased": [_erased_to_json(erased) for erased in receipt.erased],
        "retained": [[kept.id, kept.space, kept.reason] for kept in receipt.retained],
        "is_complete": receipt.is_complete,
        "index": receipt.index,
        "seq": receipt.seq,
        "chain": receipt.chain,
        "signature": receipt.signature,
    }


def _erased_to_json(erased: Erased) -> dict[str, Json]:
    return {
        "id": erased.id,
        "space": erased.space,
        "row": erased.row,
        "kind": erased.kind,
        "asked": erased.asked,
        "versions": erased.versions,
        "vectors": dict(erased.vectors),
        "blobs": list(erased.blobs),
        "blobs_kept": list(erased.blobs_kept),
        "usage": erased.usage,
        "source": erased.source,
        "journal": list(erased.journal),
    }


def receipt_from_json(data: Mapping[str, Json]) -> Receipt:
    """Return the receipt that `receipt_to_json` wrote.

    Raises:
        BadInput: It is no receipt, or of a later format.
    """
    try:
        if data["format"] != _FORMAT:
            raise BadInput(
                f"a receipt of format {data['format']!r} cannot be read", hint="pip install --upgrade pinyon"
            )
        return _receipt(json.loads(canonical(dict(data))))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"not a receipt: {str(data)[:200]!r}") from error


def _receipt(data: dict) -> Receipt:  # type: ignore[type-arg]  # JSON; whoever calls catches what does not fit
    return Receipt(
        id=data["id"],
        store=data["store"],
        time=from_micros(data["time"]),
        actor=Scope(*data["actor"]),
        asked=data["asked"],
        erased=tuple(_erased(each) for each in data["erased"]),
        retained=tuple(Retained(*each) for each in data["retained"]),
        is_complete=data["is_complete"],
        index=data["index"],
        seq=data["seq"],
        chain=data["chain"],
        signature=data["signature"],
    )


def _erased(data: Mapping[str, object]) -> Erased:
    lists = {name: tuple(cast("list[object]", data[name])) for name in ("blobs", "blobs_kept", "journal")}
    return Erased(**{**data, **lists})  # type: ignore[arg-type]  # names as written above
