"""Whether everything is as it was written: the journal, the cubes, the blobs, the audit, the index, archives, receipts.

What is derived can be built again. What is sealed is never touched: damage is named, with the entry of the journal up
to which everything follows, and a copy has to be brought.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from .core.events import Event, Head, chain_of
from .core.payload import Json
from .errors import BadInput, Damaged, NotFound, PinyonError, StoreError
from .govern.receipts import Receipt
from .govern.receipts import verify as verify_receipt
from .searching import Finder
from .store import Engine, Store, check_archive

__all__ = [
    "Derives",
    "Problem",
    "Repair",
    "Severity",
    "Subject",
    "Verified",
    "head_from",
    "repair",
    "verified_to_json",
    "verify",
]

Severity = Literal["damage", "derived", "notice"]
"""What was written is lost or changed; what follows from it is wrong; nothing is wrong yet."""

Subject = Literal["database", "journal", "cube", "blob", "rules", "audit", "index", "archive", "receipt", "clock"]
Repair = Literal["rebuild_index", "derive_columns"]

_BATCH = 1024  # entries a look at the journal
_DIGITS = 18  # of the number of an entry
_HASH = re.compile(r"[0-9a-f]{64}")
_PAGE = re.compile(r"\bpage (\d+)")
_CUBE = re.compile(r"\bcube ([0-9a-f]{32})\b")
_ENTRY = re.compile(r"\bentry (\d+) of the journal")
_CHAIN = ("the journal misses the entries", "does not follow from the one before it")
_DERIVED = ("its columns do not say", "its filters do not say", "its parents are not those")
_KINDS: tuple[tuple[str, Subject], ...] = (
    (r"^cube [0-9a-f]{32} lacks its ", "blob"),
    (r"^the rules under ", "rules"),
    (r"^the journal lacks ", "journal"),
    (r"\bof the journal\b.* cannot be read$", "journal"),
    (r"\bcube\b|\bversions? \d", "cube"),
)
_SCALES: Mapping[Severity, int] = {"damage": 0, "derived": 1, "notice": 2}

Progress = Callable[[Subject, int, int], object]
"""Told what is looked at, how much of it is done, and how much there is; 0 where that is not known."""


@runtime_checkable
class Derives(Protocol):
    """A store that can make again what follows from the headers of its cubes."""

    def derive(self, ids: Sequence[str]) -> int:
        """Make columns, filters and parents of cubes again, and return how many."""
        ...


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it was written.

    Args:
        severity: How bad it is.
        subject: What is concerned.
        message: One sentence.
        entry: Number of the journal's entry concerned, or None.
        sound: Last entry of the journal up to which the chain follows, where the journal is concerned.
        page: Page of the database concerned, or None.
        cube: Id of the cube concerned, or an empty text.
        repair: What `repair` can do about it, or None.
    """

    severity: Severity
    subject: Subject
    message: str
    entry: int | None = None
    sound: int | None = None
    page: int | None = None
    cube: str = ""
    repair: Repair | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """What looking at everything came to.

    Args:
        problems: Everything that is wrong, the worst first.
        checked: How many entries, cubes, archives, receipts … were looked at.
        sound: Last entry of the journal up to which the chain follows.
        head: That entry and its chain value, as ``number:hash``. Kept where whoever can write the file cannot, it
            witnesses against a journal that is cut off or written anew; see ``heads`` of `verify`.
    """

    problems: tuple[Problem, ...]
    checked: Mapping[str, int] = field(default_factory=dict)
    sound: int = 0
    head: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong; notices are no problem."""
        return all(problem.severity == "notice" for problem in self.problems)


def verify(
    store: Store,
    *,
    finder: Finder | None = None,
    archives: Sequence[Path] = (),
    receipts: Sequence[Receipt] = (),
    heads: Sequence[str] = (),
    now: datetime | None = None,
    progress: Progress | None = None,
) -> Verified:
    """Look at everything, change nothing, and say what is wrong.

    Args:
        store: The journal's chain, every seal, every blob, the rules, the audit, and the columns made from headers.
        finder: Compared with the store, when given.
        archives: Files to look at, too.
        receipts: Of forgetting, to look at, too.
        heads: `Verified.head` of earlier times, kept elsewhere: the journal must still hold each.
        now: What the clock shows; a clock behind the journal is noticed.
        progress: Told how far it is.

    Raises:
        BadInput: One of the heads is none.
    """
    kept = [head_from(text) for text in heads]
    tell = progress or (lambda *_: None)
    found: list[Problem] = []
    checked: dict[str, int] = {}
    walk = _Walk(store.engine, {seq for seq, _ in kept})
    found.extend(walk.problems(tell))
    witnessed = [problem for seq, chain in kept for problem in walk.missing(seq, chain)]
    checked |= {"entries": walk.entries, "cubes": len(walk.living)}
    tell("cube", 0, len(walk.living))
    found.extend(_stored(store, walk.sound))
    tell("cube", len(walk.living), len(walk.living))
    found.extend(_audited(store.engine))
    if finder is not None and not found:  # an index over damage says nothing
        found.extend(_indexed(finder, store, walk))
        checked["index"] = len(walk.living)
    for number, path in enumerate(archives, 1):
        found.extend(_archived(path))
        tell("archive", number, len(archives))
    for receipt in receipts:
        found.extend(Problem("damage", "receipt", said) for said in verify_receipt(receipt, store.engine))
    found.extend(_clock(walk.last, now))
    found.extend(witnessed)
    checked |= {"archives": len(archives), "receipts": len(receipts)} | ({"heads": len(kept)} if kept else {})
    unique = {(problem.subject, problem.message): problem for problem in found}
    return Verified(tuple(sorted(unique.values(), key=lambda p: _SCALES[p.severity])), checked, walk.sound, walk.head)


def head_from(text: str) -> tuple[int, str]:
    """Read a head of the journal, ``number:hash`` as `Verified.head` says it.

    Raises:
        BadInput: It is none.
    """
    seq, _, chain = text.strip().partition(":") if isinstance(text, str) else ("", "", "")
    if not seq.isdecimal() or len(seq) > _DIGITS or not _HASH.fullmatch(chain.lower()):
        raise BadInput(
            f"{text!r} is no head of a journal", hint="give NUMBER:HASH as `pinyon verify` prints it, all 64 digits"
        )
    return int(seq), chain.lower()


class _Walk:
    """One walk along the journal, as far as it can be read."""

    def __init__(self, engine: Engine, wanted: Iterable[int] = ()) -> None:
        self.engine = engine
        self.head = f"0:{Head().chain}"
        self._wanted = frozenset(wanted)
        self._held: dict[int, str] = {0: Head().chain}  # chain values of the entries that are asked for
        self.entries = self.sound = 0
        self.living: set[int] = set()
        self.last: datetime | None = None
        self._chain = Head().chain
        self._is_broken = False

    def problems(self, tell: Progress) -> list[Problem]:
        """Return where the journal cannot be read, misses entries, does not follow, or goes back in time."""
        found: list[Problem] = []
        after = 0
        try:
            total = self.engine.head().seq
            while events := self._read(after):
                for event in events:
                    found.extend(self._step(event, after))
                    after = event.seq
                tell("journal", after, total)
        except (Damaged, StoreError) as error:
            self._is_broken = True
            page = _PAGE.search(error.message)
            found.append(
                Problem(
                    "damage",
                    "journal",
                    f"entry {after + 1} of the journal cannot be read, the last sound one is {self.sound}:"
                    f" {error.message}",
                    entry=after + 1,
                    sound=self.sound,
                    page=int(page[1]) if page else None,
                )
            )
        return found

    def _read(self, after: int) -> list[Event]:
        """Return entries after a number; before something that cannot be read, those that can."""
        size = _BATCH
        while True:
            try:
                return self.engine.journal(after, size)
            except Damaged:
                if size == 1:
                    raise
                size = max(1, size // 4)

    def _step(self, e: Event, after: int) -> list[Problem]:
        said: list[str] = []
        if e.seq != after + 1:
            said.append(f"the journal misses the entries {after + 1} to {e.seq - 1}")
        chain = chain_of(
            self._chain, seq=e.seq, time=e.time, op=e.op, actor=e.actor, space=e.space, cube=e.cube, row=e.row,
            version=e.version, hash=e.hash, detail=e.detail,
        )  # fmt: skip
        if chain != e.chain:
            said.append(f"entry {e.seq} of the journal does not follow from the one before it")
        if self.last is not None and e.time < self.last:
            said.append(f"entry {e.seq} of the journal is dated before the one before it")
        self._is_broken = self._is_broken or bool(said)
        if not self._is_broken:
            self.sound = e.seq
            self.head = f"{e.seq}:{e.chain}"
        if e.seq in self._wanted:
            self._held[e.seq] = e.chain
        self._chain, self.last = e.chain, max(self.last or e.time, e.time)
        self.entries += 1
        if e.row:
            (self.living.add if e.version else self.living.discard)(e.row)
        return [Problem("damage", "journal", text, entry=e.seq, sound=self.sound) for text in said]

    def missing(self, seq: int, chain: str) -> list[Problem]:
        """Return what is wrong when the journal once ended with an entry, or nothing where it still holds that."""
        if seq not in self._held:
            said = f"the journal ends before entry {seq}, with which it once ended: its end was cut off"
        elif self._held[seq] != chain:
            said = f"entry {seq} of the journal is not the one with which it once ended: it was written anew"
        elif seq > self.sound:
            said = f"entry {seq} of the journal is the one with which it once ended, and what leads to it is broken"
        else:
            return []
        return [Problem("damage", "journal", said, entry=seq, sound=self.sound)]


def _stored(store: Store, sound: int) -> list[Problem]:
    try:
        said = store.check()
    except PinyonError as error:
        said = [error.message]
    return [_problem(text, sound) for text in said if not any(part in text for part in _CHAIN)]


def _problem(text: str, sound: int) -> Problem:
    """Return a sentence of the store's own check with what it speaks of."""
    subject: Subject = next((kind for pattern, kind in _KINDS if re.search(pattern, text)), "database")
    cube, page, entry = _CUBE.search(text), _PAGE.search(text), _ENTRY.search(text)
    is_derived = any(part in text for part in _DERIVED)
    return Problem(
        "derived" if is_derived else "damage",
        subject,
        text,
        entry=int(entry[1]) if entry else None,
        sound=sound if subject in ("journal", "database") else None,
        page=int(page[1]) if page and subject == "database" else None,
        cube=cube[1] if cube else "",
        repair="derive_columns" if is_derived else None,
    )


def _audited(engine: Engine) -> list[Problem]:
    try:
        return [Problem("damage", "audit", text) for text in engine.audit.problems()]
    except StoreError as error:
        return [Problem("damage", "audit", f"the audit cannot be read: {error.message}")]


def _indexed(finder: Finder, store: Store, walk: _Walk) -> list[Problem]:
    try:
        said = list(finder.problems(walk.living))
    except PinyonError as error:
        said = [error.message]
    if store.engine.head().seq != walk.entries:  # somebody wrote in the meantime: that is no problem
        return []
    return [Problem("derived", "index", text, repair="rebuild_index") for text in said]


def _archived(path: Path) -> list[Problem]:
    try:
        check_archive(path)
    except (BadInput, StoreError) as error:
        return [Problem("damage", "archive", error.message)]
    except OSError as error:
        return [Problem("damage", "archive", f"the archive {path} cannot be read: {error.strerror}")]
    return []


def _clock(last: datetime | None, now: datetime | None) -> list[Problem]:
    if last is None or now is None or now >= last:
        return []
    return [
        Problem(
            "notice",
            "clock",
            f"the clock shows {now.isoformat()}, and the journal's last entry is of {last.isoformat()}: what is written"
            " until then bears that time",
        )
    ]


def repair(problem: Problem, *, store: Store, finder: Finder | None = None) -> int:
    """Build again what a problem says is wrong; return the number of cubes it concerned.

    Args:
        problem: One of `verify`; those with a `Problem.repair` can be repaired.
        store: The store.
        finder: Its index.

    Raises:
        BadInput: It concerns what is sealed, or this store cannot do it.
        NotFound: The cube is gone.
    """
    if problem.repair == "rebuild_index" and finder is not None:
        return finder.rebuild()
    engine = store.engine
    if problem.repair == "derive_columns" and isinstance(engine, Derives):
        done = engine.derive([problem.cube])
        if not done:
            raise NotFound(f"cube {problem.cube!r} is not there, or its seal does not match", hint="verify again")
        return done
    if problem.repair is not None:
        raise BadInput(f"this memory cannot do {problem.repair!r}: it has nothing to do it with")
    raise BadInput(
        f"a problem of the {problem.subject} is not repaired: what was written is never changed",
        hint="keep a copy of the file as it is, and restore a backup or an archive",
    )


def verified_to_json(verified: Verified) -> dict[str, Json]:
    """Return what was found as a JSON object, for machines."""
    problems: list[Json] = []
    for problem in verified.problems:
        said: dict[str, Json] = {
            "severity": problem.severity,
            "subject": problem.subject,
            "message": problem.message,
            "entry": problem.entry,
            "sound": problem.sound,
            "page": problem.page,
            "cube": problem.cube or None,
            "repair": problem.repair,
        }
        problems.append({name: value for name, value in said.items() if value is not None})
    return {
        "sound": verified.is_sound,
        "sound_to": verified.sound,
        "head": verified.head,
        "checked": dict(verified.checked),
        "problems": problems,
    }
