"""Whether a store is what its journal says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from ..core.cube import Cube, seal_hash
from ..core.events import Event, Head, chain_of
from ..core.payload import Text
from ..errors import Damaged, NotFound
from .base import Engine

__all__ = ["RULES_END", "Check", "is_rule", "ruled"]

RULES_END = "rules end"
"""Setting that names the journal's last entry about rules, which no cube accounts for, so that its loss is seen."""
_RULES = ("policy", "redaction", "retention")
_BATCH = 2048  # entries a read


def ruled(key: str, value: str) -> dict[str, str]:
    """Return what an entry of the journal says of a rule, so that a rule changed behind its back is seen."""
    return {"key": key, "sha256": hashlib.sha256(value.encode()).hexdigest()}


def is_rule(key: str) -> bool:
    """Return whether a setting holds rules, of the whole store or of one tenant."""
    return key.partition(":")[0] in _RULES


class Check:
    """Walks along the journal of an engine and holds everything else against it.

    Args:
        engine: What is checked.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._latest: dict[int, Event] = {}
        self._rules: dict[str, Event] = {}
        self._last = 0
        self._ruled: dict[int, str] = {}  # by number of an entry about rules, its place in the chain

    def problems(self) -> list[str]:
        """Return every problem found; an empty list when all is sound."""
        found = self.engine.problems()
        try:
            found.extend(self._chain())
        except Damaged as error:
            return [*found, error.message]
        wrong = self._seals()
        broken = {key: problem for key, e in self._rules.items() if (problem := self._rule(key, e))}
        broken |= self._unruled()
        if wrong or broken:  # what others wrote in the meantime is no problem
            for e in self._journal(self._last):
                wrong.pop(e.row, None)
                broken.pop(str(e.detail.get("key")) if e.op == "policy" else "", None)
        return [*found, *(problem for row in sorted(wrong) for problem in wrong[row]), *broken.values()]

    def _journal(self, after: int) -> Iterator[Event]:
        while events := self.engine.journal(after, _BATCH):
            yield from events
            after = events[-1].seq

    def _chain(self) -> Iterator[str]:
        """Walk along the journal, keep the last entry of each row and rule, and yield where the chain breaks."""
        chain = Head().chain
        for e in self._journal(0):
            if e.op == "policy":
                self._rules[str(e.detail.get("key"))] = e
                self._ruled[e.seq] = e.chain
            else:
                self._latest[e.row] = e
            if e.seq != self._last + 1:
                yield f"the journal misses the entries {self._last + 1} to {e.seq - 1}"
            chain = chain_of(
                chain,
                seq=e.seq,
                time=e.time,
                op=e.op,
                actor=e.actor,
                space=e.space,
                cube=e.cube,
                row=e.row,
                version=e.version,
                hash=e.hash,
                detail=e.detail,
            )
            if chain != e.chain:
                yield f"entry {e.seq} of the journal does not follow from the one before it"
                chain = e.chain
            self._last = e.seq

    def _rule(self, key: str, e: Event) -> str:
        """Return what is wrong with a rule, or nothing; entries without a seal of theirs say nothing."""
        value = self.engine.setting(key)
        if "sha256" not in e.detail or (value is not None and ruled(key, value)["sha256"] == e.detail["sha256"]):
            return ""
        return f"the rules under {key!r} are not those that entry {e.seq} of the journal names"

    def _unruled(self) -> dict[str, str]:
        """Return what is wrong with rules of which the journal says nothing, by setting."""
        from .migrate import rest_of  # all engines, which nothing else here needs

        settings = rest_of(self.engine).settings()
        found: dict[str, str] = {}
        if "None" not in self._rules:  # entries of the first versions name no setting
            for key in filter(is_rule, settings):
                if key not in self._rules:
                    found[key] = f"the rules under {key!r} are in no entry of the journal"
        seq, _, chain = settings.get(RULES_END, "").partition(" ")
        if seq and self._ruled.get(int(seq) if seq.isdecimal() else 0) != chain:
            found[RULES_END] = f"the journal lacks entry {seq}, in which something was ruled last: its end was cut off"
        return found

    def _seals(self) -> dict[int, list[str]]:
        """Return what is wrong with each living row: the cube, its earlier versions, its blobs."""
        found: dict[int, list[str]] = {}
        rows = [row for row, e in self._latest.items() if e.version]
        for start in range(0, len(rows), 1024):
            part = rows[start : start + 1024]
            cubes = self._readable(part, found)
            for row in part:
                if row not in found and (problems := list(self._wrong(self._latest[row], cubes.get(row)))):
                    found[row] = problems
        return found

    def _readable(self, rows: Sequence[int], found: dict[int, list[str]]) -> dict[int, Cube]:
        """Return the cubes of rows, and note those that cannot be read."""
        try:
            return self.engine.by_rows(rows)
        except Damaged as error:
            if len(rows) == 1:
                found[rows[0]] = [error.message]
                return {}
        half = len(rows) // 2
        return self._readable(rows[:half], found) | self._readable(rows[half:], found)

    def _wrong(self, last: Event, cube: Cube | None) -> Iterator[str]:
        if cube is None:
            yield f"the journal names a cube of row {last.row} that is not there"
        elif (cube.id, cube.version, cube.hash) != (last.cube, last.version, last.hash):
            yield f"cube {cube.id} is not the version that the journal names"
        elif seal_hash(cube.payload, cube.header, cube.parent) != cube.hash:
            yield f"cube {cube.id} was changed behind pinyon's back: its seal does not match"
        elif cube.seq != last.seq:
            yield f"cube {cube.id} names entry {cube.seq} of the journal, and entry {last.seq} made it"
        else:
            yield from self._earlier(cube)
            for blob in [] if isinstance(cube.payload, Text) else cube.payload.blobs:
                try:
                    self.engine.blobs.get(blob)
                except (Damaged, NotFound) as error:
                    yield f"cube {cube.id} lacks its {blob.role}: {error.message}"

    def _earlier(self, cube: Cube) -> Iterator[str]:
        """Yield what is wrong with the versions before this one."""
        if cube.version == 1:
            return
        try:
            versions = {old.version: old for old in self.engine.versions(cube.id)}
        except Damaged as error:
            yield error.message
            return
        for e in self.engine.events_of(cube.id):
            old = cube if e.version == cube.version else versions.get(e.version)
            if old is None:
                yield f"version {e.version} of cube {cube.id} is not there"
            elif old.hash != e.hash or seal_hash(old.payload, old.header, old.parent) != old.hash:
                yield f"version {e.version} of cube {cube.id} was changed behind pinyon's back: its seal does not match"
            elif old.seq != e.seq:
                yield f"version {e.version} of cube {cube.id} names entry {old.seq} of the journal, not {e.seq}"
