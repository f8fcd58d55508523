"""Ways to use a memory that keep a state of their own beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from .core.cube import Cube, Draft
from .core.experience import Conversation, Turn
from .core.header import Header, Life, Lineage, Origin, Parent, Provenance
from .core.payload import Text
from .core.where import EVERY_STATE, LIVE_STATES, Where
from .errors import BadInput
from .govern.rights import joined_expiry, joined_rights
from .memory import Memory
from .models import Generator
from .text import passage
from .text._hema_chunks import Chunk, Near, Tombstone, with_successors
from .text._hema_prompt import Layout, Prompt
from .text.hema import Hema, HemaConfig, HemaRecipe
from .text.summarize import Summarizer

__all__ = ["HemaChat", "hema"]

_TURN = "hema_turn"  # entry of the metadata of a turn that holds its number
_STATE = "hema_state"  # entry of the metadata of a saved state; also its tag
_REPLIES = ("assistant", "tool", "system")


def hema(memory: Memory, *, summarizer: Summarizer | None = None, config: HemaConfig | None = None) -> HemaChat:
    """Return the conversation that a space of a memory holds, kept coherent by HEMA.

    Turns rest in the memory word for word and are found by its ranking. What has been said before, by whatever way it
    was added, is taken in: the saved state where there is one, else the summaries are made again from the turns.

    Args:
        memory: Narrowed to the user, session and space of the conversation.
        summarizer: Writes the sentences; None extracts them, without a model.
        config: Constants.

    Example:
        >>> from pinyon import Memory
        >>> chat = hema(Memory.open(":memory:"))
        >>> _ = chat.add("The boiler code of uncle Ravi is 4471.", "Noted.")
        >>> "4471" in chat.prompt("Which number opens the boiler?").text
        True
    """
    return HemaChat(memory, summarizer=summarizer, config=config)


class HemaChat:
    """One conversation in a space of a memory, with its compact memory.

    Forgetting archives, so `Memory.restore` and `Memory.undo` bring turns back. The state is saved after every period
    as an archived memory that is derived from the turns: when a turn is forgotten for good, it goes with it, and the
    summaries are made again from what is left. It may be used by whoever may use all of the turns, and expires with the
    first of them.

    Args:
        memory: Narrowed to the user, session and space of the conversation.
        summarizer: Writes the sentences; None extracts them.
        config: Constants.

    Cost: opening reads every turn; a prompt is one search; the rest as `Hema`.
    Source: Ahn 2025, arXiv 2504.16754.
    Deviates: chunks are ranked as the memory ranks, by words and meaning together, unless it was opened with another
        `IndexConfig`; see `Hema` for the rest.
    """

    def __init__(
        self, memory: Memory, *, summarizer: Summarizer | None = None, config: HemaConfig | None = None
    ) -> None:
        self._memory = memory
        self._summarizer = summarizer
        self._config = config or HemaConfig()
        self._shelf = _Shelf(memory)
        self._hema = self._read()

    @property
    def hema(self) -> Hema:
        """The mechanism: turn, compact memory, tail."""
        return self._hema

    def prompt(self, text: str, *, system: str = "", budget_tokens: int | None = None) -> Prompt:
        """Return the prompt of the next turn; see `Hema.prompt`."""
        return self._current().prompt(text, system=system, budget_tokens=budget_tokens)

    def recall(self, question: str, *, budget_tokens: int | None = None) -> Prompt:
        """Return what a prompt would get for a question; see `Hema.recall`."""
        return self._current().recall(question, budget_tokens=budget_tokens)

    def add(self, text: str, reply: str | None = None) -> tuple[Tombstone, ...]:
        """Keep a turn: what the user said and what was replied; see `Hema.add_turns`."""
        said = [Turn(text, role="user")]
        return self.add_turns(said if reply is None else [*said, Turn(reply, role="assistant")])

    def add_turns(self, said: Sequence[Turn]) -> tuple[Tombstone, ...]:
        """Keep one turn of the conversation, whoever spoke in it; see `Hema.add_turns`."""
        current = self._current()
        gone = current.add_turns(said)
        period = self._config.summary_period
        if period is not None and current.turn % period == 0:
            self.save()
        return gone

    def chat(self, text: str, generator: Generator, *, system: str = "", max_tokens: int = 512) -> str:
        """Return a model's reply to the user, and keep both; see `Hema.chat`."""
        return self._current().chat(text, generator, system=system, max_tokens=max_tokens)

    def recipe(self) -> HemaRecipe:
        """Return the writer, retriever and composer of this conversation as it is now."""
        current = self._current()
        layout = Layout(summary=current.compact.summary, digest=current.compact.digest, tail=current.tail)
        return HemaRecipe(layout, lambda cube: self._shelf.turns.get(cube.id, 0))

    def save(self) -> Cube | None:
        """Write the state into the memory, so that the next program goes on from here; None where nothing was said."""
        current = self._current()
        if not current.turn:
            return None
        caller = self._memory.caller
        parts = caller.check_now()
        before = self._saved()
        first = 0 if before is None else int(json.loads(_state_of(before))["compact"]["turns"])
        made_of = [cube for cube in self._shelf.cubes() if self._shelf.turns.get(cube.id, 0) > first]
        made_of = made_of if before is None else [before, *made_of]
        header = Header(
            provenance=Provenance(origin=Origin.INFERENCE),
            rights=joined_rights(made_of),
            life=Life(state="archived", expires=joined_expiry(made_of)),
            lineage=Lineage(tuple(Parent(cube.id, cube.version) for cube in made_of)),
            tags=(_STATE,),
            metadata={_STATE: json.dumps(current.to_json(), ensure_ascii=False, sort_keys=True)},
        )
        text = current.compact.summary or "nothing to summarise"
        key = f"{_STATE}\x00{current.turn}\x00{header.metadata[_STATE]}"
        placed = parts.store.put(
            [Draft(Text(text), header, key=key)],
            owner=caller.scope,
            space=caller.space,
            now=caller.now(),
            access=caller.access(),
        )
        return placed[0].cube

    def _current(self) -> Hema:
        """Return the mechanism, made anew when something it has read was forgotten or changed since."""
        if self._shelf.has_lost():
            self._hema = self._read()
        return self._hema

    def _read(self) -> Hema:
        clock = self._memory.caller.parts.clock
        self._shelf.read()
        fresh = Hema(self._shelf, summarizer=self._summarizer, config=self._config, clock=clock)
        saved = self._saved()
        if saved is not None:
            fresh.restore(json.loads(_state_of(saved)))
        for turn, cubes in self._shelf.by_turn():
            if turn > fresh.turn:
                fresh.follow([Chunk.of(cube, turn) for cube in cubes if cube.header.life.standing in LIVE_STATES])
        return fresh

    def _saved(self) -> Cube | None:
        """Return the latest state that nothing has made untrue."""
        where = Where(tags=(_STATE,), states=("archived",))
        found = self._memory.list(where=where, limit=1000).cubes
        return next((cube for cube in found if not cube.header.life.stale), None)


@dataclass(slots=True)
class _Shelf:
    """A memory as the shelf of HEMA."""

    memory: Memory
    turns: dict[str, int] = field(default_factory=dict)  # by id of a turn, forgotten ones too
    seq: int = 0  # end of the journal when it was looked at last

    def append(self, turn: int, said: Sequence[Turn]) -> Sequence[Chunk]:
        now = self.memory.caller.now()
        dressed = tuple(replace(each, time=each.time or now, metadata={**each.metadata, _TURN: turn}) for each in said)
        added = self.memory.add(Conversation(dressed, session=self.memory.scope.session))
        self.turns.update((cube.id, turn) for cube in added.cubes)
        return [Chunk.of(cube, turn) for cube in added.cubes]

    def nearest(self, question: str, most: int | None) -> Sequence[Near]:
        wanted = most if most is not None else max(1, self.memory.stats().cubes)
        found = self.memory.search(question, k=wanted).hits
        return with_successors([Near(self._chunk(hit.cube), hit.score) for hit in found], self._find)

    def live(self) -> Sequence[Chunk]:
        return [Chunk.of(cube, self.turns.get(cube.id, 0)) for cube in self.cubes(LIVE_STATES)]

    def forget(self, gone: Sequence[Tombstone]) -> None:
        for stone in gone:
            self.memory.archive(stone.id, why=stone.reason)

    def tokens(self, texts: Sequence[str]) -> list[int]:
        return self.memory.caller.parts.counter.count_many(texts)

    def cubes(self, states: tuple[str, ...] = EVERY_STATE) -> Iterator[Cube]:
        """Yield the turns of the space, oldest first."""
        for cube in self.memory.iterate(where=Where(states=states)):
            if cube.header.provenance.unit == "turn":
                yield cube

    def read(self) -> None:
        """Number the turns of the space: as they were numbered, or a turn for whatever is no reply."""
        self.seq = self.memory.store.engine.head().seq
        self.turns = {}
        last = 0
        for cube in self.cubes():
            said = cube.header.metadata.get(_TURN)
            if isinstance(said, int) and not isinstance(said, bool) and said > 0:
                last = max(last, said)
                self.turns[cube.id] = said
            else:
                last += cube.header.provenance.role not in _REPLIES or not last
                self.turns[cube.id] = last

    def by_turn(self) -> Iterator[tuple[int, list[Cube]]]:
        """Yield the turns of the space with their numbers, from 1, without gaps."""
        held: dict[int, list[Cube]] = {}
        for cube in self.cubes():
            held.setdefault(self.turns.get(cube.id, 0), []).append(cube)
        for turn in range(1, max(held, default=0) + 1):
            yield turn, held.get(turn, [])

    def has_lost(self) -> bool:
        """Return whether a turn was forgotten or changed since the last look."""
        lost = False
        for event in self.memory.store.journal(self.seq):
            self.seq = event.seq
            lost = lost or (event.cube in self.turns and event.op in ("forget", "overwrite"))
        return lost

    def _chunk(self, cube: Cube) -> Chunk:
        if cube.header.provenance.unit == "turn":
            return Chunk.of(cube, self.turns.get(cube.id, 0))
        chunk = Chunk.of(cube, 0)
        return replace(chunk, text=passage(cube), speaker=None, time=None)

    def _find(self, id: str) -> Chunk | None:
        cube = self.memory.store.engine.get(id, self.memory.caller.view())
        return None if cube is None else self._chunk(cube)


def _state_of(cube: Cube) -> str:
    state = cube.header.metadata.get(_STATE)
    if not isinstance(state, str):
        raise BadInput(f"cube {cube.id[:10]} is no saved state of HEMA")
    return state
