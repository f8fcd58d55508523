"""Vector memory of HEMA: chunks of a conversation, and the shelf they rest on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Protocol

import numpy as np

from ..core.cube import Cube
from ..core.experience import Turn
from ..core.payload import Json, digest
from ..core.render import day_of
from ..errors import BadInput, NotFound
from ..models.base import Embedder, TokenCounter, Vectors

__all__ = ["QUARANTINED", "Chunk", "ChunkShelf", "Near", "Tombstone", "VectorMemory", "with_successors"]

QUARANTINED = "quarantined"
"""Key of metadata; a turn whose value is true is kept, and neither shown nor summarised."""

_ROLES = ("user", "assistant", "system", "tool")
_ROWS = 256  # that the matrix grows by at least


@dataclass(frozen=True, slots=True)
class Chunk:
    """One message of a conversation, as it was said.

    Args:
        id: Its name on the shelf.
        text: The words.
        turn: The exchange it belongs to, from 1; a reply has the number of what it replies to.
        speaker: Who said it, or None.
        time: When, or None.
        is_pinned: Never forgotten by itself.
        is_quarantined: Kept, and never shown.
        superseded_by: Id of what took its place, or None.
        place: Its order among chunks of one turn.
    """

    id: str
    text: str
    turn: int
    speaker: str | None = None
    time: datetime | None = None
    is_pinned: bool = False
    is_quarantined: bool = False
    superseded_by: str | None = None
    place: int = 0

    @classmethod
    def of(cls, cube: Cube, turn: int) -> Chunk:
        """Return the chunk that a cube is."""
        p, life = cube.header.provenance, cube.header.life
        return cls(
            cube.id,
            cube.text,
            turn,
            p.speaker or p.role,
            life.valid_from,
            life.pinned or life.state == "frozen",
            cube.header.metadata.get(QUARANTINED) is True,
            life.superseded_by,
            cube.row,
        )

    @property
    def said(self) -> str:
        """The words with who said them; what is embedded and shown."""
        return f"{self.speaker}: {self.text}" if self.speaker else self.text

    @property
    def told(self) -> str:
        """The words with the name of who said them, but not with a mere role; what is summarised."""
        return self.text if self.speaker in _ROLES else self.said

    def line(self) -> str:
        """Return it as one line of a prompt: "[turn 12, 8 May 2023] Ann: text"; turn 0 is not shown."""
        about = [] if self.turn == 0 else [f"turn {self.turn}"]
        about += [] if self.time is None else [day_of(self.time)]
        about += ["superseded"] if self.superseded_by else []
        return f"[{', '.join(about)}] {self.said.strip()}" if about else self.said.strip()


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What remains of a forgotten chunk.

    Args:
        id: Of the chunk.
        turn: In which it was said.
        hash: SHA-256 of its text.
        reason: Why it went; never a word of it.
        time: When.
    """

    id: str
    turn: int
    hash: str
    reason: str
    time: datetime

    @classmethod
    def of(cls, chunk: Chunk, reason: str, time: datetime) -> Tombstone:
        """Return the tombstone of a chunk."""
        return cls(chunk.id, chunk.turn, digest(chunk.text), reason, time)


@dataclass(frozen=True, slots=True)
class Near:
    """A chunk and how near it is to a question.

    Args:
        chunk: What was found.
        score: Higher is nearer.
    """

    chunk: Chunk
    score: float


class ChunkShelf(Protocol):
    """Where chunks rest; narrowed to what the caller may see."""

    def append(self, turn: int, said: Sequence[Turn]) -> Sequence[Chunk]:
        """Keep the messages of a turn, and return them as chunks."""
        ...

    def nearest(self, question: str, most: int | None) -> Sequence[Near]:
        """Return live chunks, the nearest first; None for all of them."""
        ...

    def live(self) -> Sequence[Chunk]:
        """Return every live chunk, oldest first."""
        ...

    def forget(self, gone: Sequence[Tombstone]) -> None:
        """Put chunks away; they can be brought back until they are purged."""
        ...

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of prompt tokens of each text."""
        ...


def with_successors(near: Sequence[Near], find: Callable[[str], Chunk | None]) -> list[Near]:
    """Return hits in which whatever took the place of a hit is there too and worth at least as much.

    Args:
        near: The nearest first.
        find: Gives a live chunk by its id, or None.

    Cost: O(N log N), and one look a superseded hit.
    """
    best = {each.chunk.id: each for each in near}
    for each in near:
        known, later = {each.chunk.id}, each.chunk.superseded_by
        while later is not None and later not in known:
            known.add(later)
            held = best.get(later)
            chunk = held.chunk if held is not None else find(later)
            if chunk is None:
                break
            if held is None or held.score < each.score:
                best[later] = Near(chunk, each.score)
            later = chunk.superseded_by
    return sorted(best.values(), key=lambda each: (-each.score, -each.chunk.turn, -each.chunk.place))


class VectorMemory:
    """A shelf of chunks in memory, searched by exact inner products.

    For experiments, and for programs that keep their own records; `pinyon.recipes.hema` rests on a `Memory` instead.
    Inner products of unit rows are cosines. What was forgotten is a tombstone, and its words lie in cold storage until
    they are purged. Not for several threads.

    Args:
        embedder: Texts to unit rows.
        counter: Counts prompt tokens.

    Cost: O(N · E) a search and 4 · N · E bytes for N chunks; embedding a turn costs what the embedder costs.
    Source: Ahn 2025, arXiv 2504.16754, section 3 (IVF-4096 with OPQ-16 there).
    Deviates: exact search; at the sizes the forgetting allows (20,000 chunks) an inverted file cannot be trained well,
        and exact products take milliseconds.
    """

    def __init__(self, embedder: Embedder, counter: TokenCounter) -> None:
        self._embedder = embedder
        self._counter = counter
        self._chunks: list[Chunk | None] = []
        self._place: dict[str, int] = {}
        self._rows: Vectors = np.zeros((_ROWS, embedder.dimensions), dtype=np.float32)  # (N, E), zero where forgotten
        self._cold: dict[str, tuple[Tombstone, Chunk | None]] = {}
        self._has_successors = False

    def __len__(self) -> int:
        return len(self._place)

    @property
    def tombstones(self) -> tuple[Tombstone, ...]:
        """What was forgotten, first gone first."""
        return tuple(stone for stone, _ in self._cold.values())

    def append(self, turn: int, said: Sequence[Turn]) -> Sequence[Chunk]:
        """Keep the messages of a turn; ids are their places and hashes of their words."""
        chunks: list[Chunk] = []
        for message in said:
            place = len(self._chunks) + len(chunks)
            id = f"{place:08x}{digest(message.text)[:24]}"
            marked = message.metadata.get(QUARANTINED) is True
            speaker = message.speaker or message.role
            chunks.append(Chunk(id, message.text, turn, speaker, message.time, is_quarantined=marked, place=place))
        self._keep(chunks)
        return chunks

    def nearest(self, question: str, most: int | None) -> Sequence[Near]:
        """Return live chunks by cosine, the nearest first, later ones first among equals."""
        live = np.fromiter(self._place.values(), dtype=np.intp, count=len(self._place))
        scores = (self._rows[: len(self._chunks)] @ self._embedder.embed_query(question))[live]
        wanted = None if self._has_successors else most
        order = np.lexsort((-live, -scores))[:wanted]  # of equal scores the later place first
        near = [
            Near(chunk, score)
            for place, score in zip(live[order].tolist(), scores[order].tolist(), strict=True)
            if (chunk := self._chunks[place]) is not None
        ]
        return with_successors(near, self._find)[:most] if self._has_successors else near

    def live(self) -> Sequence[Chunk]:
        """Return every live chunk, oldest first."""
        return [chunk for chunk in self._chunks if chunk is not None]

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of prompt tokens of each text."""
        return self._counter.count_many(texts)

    def forget(self, gone: Sequence[Tombstone]) -> None:
        """Put chunks away.

        Raises:
            NotFound: One is not there.
        """
        for stone in gone:
            place = self._known(stone.id)
            self._cold[stone.id] = (stone, self._chunks[place])
            self._chunks[place] = None
            self._rows[place] = 0.0
            del self._place[stone.id]

    def restore(self, id: str) -> Chunk:
        """Bring a forgotten chunk back to where it was.

        Raises:
            NotFound: It was not forgotten, or is purged.
        """
        chunk = self._cold[id][1] if id in self._cold else None
        if chunk is None:
            raise NotFound(f"no forgotten chunk {id!r} can be brought back", hint="it may have been purged")
        del self._cold[id]
        place = int(id[:8], 16)
        self._chunks[place] = chunk
        self._rows[place] = self._embedder.embed([chunk.said])[0]
        self._place[id] = place
        return chunk

    def purge(self) -> int:
        """Let go of the words of everything forgotten; tombstones stay. Return how many chunks that are."""
        held = [id for id, (_, chunk) in self._cold.items() if chunk is not None]
        for id in held:
            self._cold[id] = (self._cold[id][0], None)
        return len(held)

    def pin(self, id: str) -> None:
        """Keep a chunk from being forgotten by itself."""
        self._change(id, lambda chunk: replace(chunk, is_pinned=True))

    def quarantine(self, id: str) -> None:
        """Keep a chunk out of every prompt from now on."""
        self._change(id, lambda chunk: replace(chunk, is_quarantined=True))

    def supersede(self, old: str, new: str) -> None:
        """Say that one chunk took the place of another."""
        self._known(new)
        self._change(old, lambda chunk: replace(chunk, superseded_by=new))
        self._has_successors = True

    def _change(self, id: str, change: Callable[[Chunk], Chunk]) -> None:
        place = self._known(id)
        chunk = self._chunks[place]
        self._chunks[place] = None if chunk is None else change(chunk)

    def _known(self, id: str) -> int:
        if id not in self._place:
            raise NotFound(f"there is no live chunk {id!r} here")
        return self._place[id]

    def _find(self, id: str) -> Chunk | None:
        return self._chunks[self._place[id]] if id in self._place else None

    def _keep(self, chunks: Sequence[Chunk]) -> None:
        start = len(self._chunks)
        end = start + len(chunks)
        if end > len(self._rows):
            room = np.zeros((max(_ROWS, len(self._rows), end - len(self._rows)), self._rows.shape[1]), np.float32)
            self._rows = np.concatenate([self._rows, room])
        if chunks:
            self._rows[start:end] = self._embedder.embed([chunk.said for chunk in chunks])
        self._chunks.extend(chunks)
        self._place.update((chunk.id, start + n) for n, chunk in enumerate(chunks))

    # --- to and from JSON --------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Json]:
        """Return every chunk and tombstone; vectors are derived and made again by `from_json`."""
        cold = [[_stone_to_json(stone), _chunk_to_json(chunk)] for stone, chunk in self._cold.values()]
        return {"chunks": [_chunk_to_json(chunk) for chunk in self._chunks], "cold": cold}  # type: ignore[dict-item]

    @classmethod
    def from_json(cls, data: Mapping[str, Json], embedder: Embedder, counter: TokenCounter) -> VectorMemory:
        """Return the shelf that `to_json` wrote.

        Raises:
            BadInput: It wrote something else.
        """
        memory = cls(embedder, counter)
        try:
            read = [_chunk_from_json(each) for each in data["chunks"]]  # type: ignore[union-attr]
            cold = [_cold_from_json(each) for each in data["cold"]]  # type: ignore[union-attr]
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"this is no saved vector memory: {error}") from error
        memory._keep([chunk or Chunk("", "", 0) for chunk in read])
        memory._place = {chunk.id: place for place, chunk in enumerate(read) if chunk is not None}
        memory._chunks = read
        memory._rows[[place for place, chunk in enumerate(read) if chunk is None]] = 0.0
        memory._cold = {stone.id: (stone, chunk) for stone, chunk in cold}
        held = [*read, *(chunk for _, chunk in cold)]
        memory._has_successors = any(chunk is not None and chunk.superseded_by for chunk in held)
        return memory


def _chunk_to_json(chunk: Chunk | None) -> Json:
    if chunk is None:
        return None
    time = None if chunk.time is None else chunk.time.isoformat()
    return {**asdict(chunk), "time": time}


def _chunk_from_json(data: Json) -> Chunk | None:
    if data is None:
        return None
    if not isinstance(data, dict):
        raise TypeError("a chunk is an object")
    time = data["time"]
    return Chunk(**{**data, "time": None if time is None else datetime.fromisoformat(str(time))})  # type: ignore[arg-type]


def _stone_to_json(stone: Tombstone) -> Json:
    return {**asdict(stone), "time": stone.time.isoformat()}


def _cold_from_json(data: Json) -> tuple[Tombstone, Chunk | None]:
    if not isinstance(data, list):
        raise TypeError("a forgotten chunk is a list")
    stone, chunk = data
    if not isinstance(stone, dict):
        raise TypeError("a tombstone is an object")
    time = datetime.fromisoformat(str(stone["time"]))
    return Tombstone(**{**stone, "time": time}), _chunk_from_json(chunk)  # type: ignore[arg-type]  # JSON
