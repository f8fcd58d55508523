"""Keep a conversation of thousands of turns coherent inside a small prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..core.budget import Budget, Footprint
from ..core.clock import Clock, SystemClock
from ..core.cube import Cube, Draft
from ..core.experience import Experience, Turn
from ..core.payload import Json
from ..errors import BadInput
from ..index import Analyzer
from ..models.base import Generator, Message
from ._hema_chunks import Chunk, ChunkShelf, Near, Tombstone, VectorMemory
from ._hema_compact import Compact, CompactRules, Snapshot
from ._hema_forget import Forgetting, Retrievals, least_salient, salience
from ._hema_memo import Memo
from ._hema_prompt import Layout, Prompt, lay_out, words_of
from .base import Context, Hit, Hits, Shelf
from .summarize import ExtractiveSummarizer, Summarizer
from .verbatim import Verbatim

__all__ = [
    "Chunk",
    "ChunkShelf",
    "Compact",
    "Forgetting",
    "Hema",
    "HemaConfig",
    "HemaRecipe",
    "Near",
    "Prompt",
    "Snapshot",
    "Tombstone",
    "VectorMemory",
    "salience",
]

_FORMAT = 1  # of `Hema.to_json`
_LEAST_LINE_TOKENS = 8  # of "[turn 7] Ann: Yes." in any tokenizer of parts of words


@dataclass(frozen=True, slots=True)
class HemaConfig:
    """Constants of HEMA.

    Args:
        budget_tokens: Of the whole prompt, or None for no bound.
        summary_tokens: Of each sentence of the compact memory, >= 1.
        summary_period: Turns between snapshots, or None for a rolling sentence alone.
        most_snapshots: Above it the two oldest are merged, >= 2.
        k: Nearest chunks that count as retrieved when it comes to forgetting, >= 0.
        most: Chunks that a prompt shows at most, or None for as many as fit.
        tail: Last exchanges that are always shown, >= 0.
        forgetting: What is forgotten, and when.

    Raises:
        BadInput: A number is out of range.
    """

    budget_tokens: int | None = 3500  # paper
    summary_tokens: int = 60  # paper
    summary_period: int | None = 100  # paper
    most_snapshots: int = 10  # ours: the paper does not bound the archive
    k: int = 20  # ours: the paper does not say
    most: int | None = None  # ours: 20 chunks find 94 to 98 % of planted facts, a full prompt 99 to 100 %
    tail: int = 2  # paper
    forgetting: Forgetting = Forgetting()

    def __post_init__(self) -> None:
        if self.budget_tokens is not None and self.budget_tokens < 1:
            raise BadInput(f"a budget of {self.budget_tokens!r} tokens is not possible", hint="at least 1, or None")
        if self.summary_tokens < 1 or self.most_snapshots < 2 or self.k < 0 or self.tail < 0:
            raise BadInput("summary_tokens must be >= 1, most_snapshots >= 2, k and tail >= 0")
        if self.summary_period is not None and self.summary_period < 1:
            raise BadInput(f"a period of {self.summary_period!r} turns is not possible", hint="at least 1, or None")
        if self.most is not None and self.most < 0:
            raise BadInput(f"{self.most!r} chunks are not possible", hint="at least 0, or None for as many as fit")


class Hema:
    """A running summary that is always in the prompt, and a vector memory that is asked each turn.

    For chats of hundreds to thousands of turns on a model whose prompt must stay short; the model is not changed. In
    turn t with the user's words u_t::

        R_t    = chunks nearest to u_t by cosine                    prompt(u_t)
        prompt = compose(system, S_{t-1}, R_t, tail, u_t) ≤ B
        M      = M + [chunks of u_t and of the reply]               add(u_t, reply)
        S_t    = summarizer(S_{t-1}, u_t, reply)
        t mod 100 = 0: snapshots, their summary, semantic forgetting

    Looking comes before keeping: words never find themselves.

    Args:
        shelf: Where the chunks rest.
        summarizer: Writes the sentences; None extracts them, without a model.
        config: Constants.
        clock: Where the times of tombstones come from.

    Cost: a search (O(N · E) on a `VectorMemory`), a summary (about a millisecond without a model) and an embedding a
        turn; O(N log N) every hundred turns. Nothing in the prompt grows with the conversation.
    Source: Ahn 2025, arXiv 2504.16754, sections 3 to 5. No code was published.
    Deviates:
        - The bonus of forgetting goes to chunks that were retrieved, as the words of the paper say; its formula gives
          it to those that were not (``Forgetting(salience="as_printed")``).
        - The share that is forgotten is carried from round to round; rounded down, small memories would never forget.
        - The two levels of summaries are our reading: snapshots of the rolling sentence, compressed, from which it
          starts again; the paper says only that older summaries are summarised.
        - A prompt is filled with chunks up to its budget; the nearest `k` of them count as retrieved.
        - The user's words and the reply are chunks of their own with one turn number, so that each stays verbatim.
        - The tail is the last two exchanges, not the last two texts of the user.
        - Chunks are shown with turn and date in the order in which they were said, a superseded one before what took
          its place, which is looked up where it was not found.
        - Of chunks that say the same words only the nearest is shown, unless the budget has no bound.
        - Exact search instead of IVF-4096 with OPQ-16; any embedder instead of text-embedding-3-small.
        - Forgetting archives: a chunk can be brought back.
    """

    def __init__(
        self,
        shelf: ChunkShelf,
        *,
        summarizer: Summarizer | None = None,
        config: HemaConfig | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._shelf = shelf
        self._config = config or HemaConfig()
        self._clock = clock or SystemClock()
        self._count = Memo(shelf.tokens)  # lines and clauses come again in every prompt
        self._words = Memo(words_of)
        self._rules = CompactRules(
            summarizer or ExtractiveSummarizer(self._count, most_tokens=self._config.summary_tokens),
            Analyzer().terms,
            self._count,
            self._config.summary_tokens,
            self._config.summary_period,
            self._config.most_snapshots,
        )
        self._compact = Compact()
        self._seen = Retrievals()
        self._tail: tuple[Chunk, ...] = ()
        self._latest: tuple[Chunk, ...] = ()

    @property
    def config(self) -> HemaConfig:
        """The constants."""
        return self._config

    @property
    def turn(self) -> int:
        """How many turns went in."""
        return self._compact.turns

    @property
    def compact(self) -> Compact:
        """The compact memory."""
        return self._compact

    @property
    def tail(self) -> tuple[Chunk, ...]:
        """Chunks of the last exchanges, oldest first."""
        return self._tail

    @property
    def latest(self) -> tuple[Chunk, ...]:
        """Chunks of the last turn."""
        return self._latest

    def prompt(self, text: str, *, system: str = "", budget_tokens: int | None = None) -> Prompt:
        """Return the prompt of the next turn; nothing is kept but that chunks were retrieved.

        Args:
            text: What the user says.
            system: Guidelines.
            budget_tokens: Instead of that of the configuration.

        Raises:
            BadInput: The text is empty, or it and the guidelines exceed the budget.
        """
        return self._asked(text, Layout(system, user=text), budget_tokens)

    def recall(self, question: str, *, budget_tokens: int | None = None) -> Prompt:
        """Return what a prompt would get for a question, without guidelines and without the question.

        Args:
            question: What is asked.
            budget_tokens: Instead of that of the configuration.

        Raises:
            BadInput: The question is empty.
        """
        return self._asked(question, Layout(), budget_tokens)

    def _asked(self, text: str, layout: Layout, budget_tokens: int | None) -> Prompt:
        if not text.strip():
            raise BadInput(f"there is nothing to look for: {text!r}", hint="give at least one word")
        budget = self._config.budget_tokens if budget_tokens is None else budget_tokens
        layout = replace(layout, summary=self._compact.summary, digest=self._compact.digest, tail=self._tail)
        tail = {chunk.id for chunk in self._tail}
        most = None if budget is None else max(self._config.k, budget // _LEAST_LINE_TOKENS) + len(tail)
        found = [each for each in self._shelf.nearest(text, most) if not each.chunk.is_quarantined]
        near = [each for each in found if each.chunk.id not in tail]
        self._seen.note([each.chunk.id for each in near[: self._config.k]], self.turn + 1)
        shown = near if self._config.most is None else near[: self._config.most]
        candidates = [*shown, *(each for each in found if each.chunk.id in tail)]
        return lay_out(layout, candidates, budget, self._count, self._words)

    def add(self, text: str, reply: str | None = None) -> tuple[Tombstone, ...]:
        """Keep a turn: what the user said and what was replied; as `add_turns`."""
        said = [Turn(text, role="user")]
        return self.add_turns(said if reply is None else [*said, Turn(reply, role="assistant")])

    def add_turns(self, said: Sequence[Turn]) -> tuple[Tombstone, ...]:
        """Keep one turn of the conversation, whoever spoke in it, and do what is due.

        Args:
            said: Its messages in order; blank ones are left out. One whose metadata say ``"quarantined": true`` is
                kept, and neither shown nor summarised.

        Returns:
            What was forgotten in this turn.

        Raises:
            BadInput: There is not one word in it.
        """
        said = [message for message in said if message.text.strip()]
        if not said:
            raise BadInput("there is nothing to remember: the turn is empty", hint="give at least one word")
        self.follow(self._shelf.append(self.turn + 1, said))
        period = self._config.forgetting.period
        return () if period is None or self.turn % period else self._forget()

    def follow(self, chunks: Sequence[Chunk]) -> None:
        """Go on by one turn that is on the shelf already, without forgetting; for reading a conversation again.

        Args:
            chunks: Of the turn; none where all of them are gone.
        """
        told = "\n".join(chunk.told for chunk in chunks if not chunk.is_quarantined)
        self._compact = self._compact.after(told, self._rules)
        self._latest = tuple(chunks)
        kept = self.turn - self._config.tail
        latest = {chunk.id: chunk for chunk in (*self._tail, *chunks)}
        self._tail = tuple(chunk for chunk in latest.values() if chunk.turn > kept)

    def chat(self, text: str, generator: Generator, *, system: str = "", max_tokens: int = 512) -> str:
        """Return a model's reply to the user, and keep both.

        Args:
            text: What the user says.
            generator: Replies.
            system: Guidelines.
            max_tokens: Of the reply.

        Raises:
            ModelError: The model failed; then nothing is kept.
        """
        prompt = self.prompt(text, system=system)
        reply = generator.generate([Message("user", prompt.text)], max_tokens=max_tokens)
        self.add(text, reply)
        return reply

    def _forget(self) -> tuple[Tombstone, ...]:
        rules = self._config.forgetting
        gone = least_salient(self._shelf.live(), self.turn, self._seen, rules)
        self._seen.prune(self.turn, rules.window)
        now = self._clock.now()
        stones = tuple(Tombstone.of(chunk, f"least salient at turn {self.turn}", now) for chunk in gone)
        if stones:
            self._shelf.forget(stones)
            ids = {stone.id for stone in stones}
            self._tail = tuple(chunk for chunk in self._tail if chunk.id not in ids)
        return stones

    def to_json(self) -> dict[str, Json]:
        """Return everything beside the chunks as a JSON object; `restore` takes it."""
        return {"format": _FORMAT, "compact": self._compact.to_json(), "seen": self._seen.to_json()}

    def restore(self, data: Mapping[str, Json]) -> None:
        """Go on from where `to_json` was called, over a shelf that holds the same chunks.

        Raises:
            BadInput: It is no saved state, or one of a later version.
        """
        if data.get("format") != _FORMAT:
            raise BadInput(f"a saved state of format {data.get('format')!r} cannot be read, only {_FORMAT}")
        try:
            compact = Compact.from_json(data["compact"])  # type: ignore[arg-type]  # checked by it
            seen = Retrievals.from_json(data["seen"])  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"this is no saved state: {error}") from error
        self._compact, self._seen = compact, seen
        self._tail = tuple(chunk for chunk in self._shelf.live() if chunk.turn > self.turn - self._config.tail)


@dataclass(frozen=True, slots=True)
class HemaRecipe:
    """HEMA behind the protocols of the room: what writes, what finds, what lays out.

    For a memory that is asked question by question. The retriever searches; the composer puts the compact memory
    first, what was found after it and the last exchanges at the end, each in its section, within the budget.

    Args:
        layout: Summary, digest and tail as they are now.
        turn_of: Gives the turn of a cube, or 0 where it has none.
        per_hit_tokens: Tokens of budget for which one hit is fetched, >= 1.

    Source: Ahn 2025, arXiv 2504.16754, section 3.
    Deviates: ranks as the shelf does, which is hybrid by default; see `Hema` for the rest.
    """

    layout: Layout = Layout()
    turn_of: Callable[[Cube], int] = field(default=lambda _: 0)
    per_hit_tokens: int = 20
    writer: Verbatim = Verbatim()

    def write(self, experience: Experience, shelf: Shelf | None = None) -> Iterable[Draft]:
        """Return one draft a message, word for word."""
        return self.writer.write(experience, shelf)

    def retrieve(self, question: str, shelf: Shelf, budget: Budget) -> Hits:
        """Return the best hits of the shelf, as many as the budget can hold."""
        tokens = 3500 if budget.tokens is None else budget.tokens
        return shelf.search(question, max(1, tokens // self.per_hit_tokens))

    def compose(self, hits: Sequence[Hit], shelf: Shelf, budget: Budget) -> Context:
        """Return the sections that fit; hits that stand in the tail are not shown twice."""
        by_id = {hit.cube.id: hit for hit in hits}
        ranked = sorted(by_id.values(), key=lambda hit: -hit.score)
        near = [Near(Chunk.of(hit.cube, self.turn_of(hit.cube)), hit.score) for hit in ranked]
        prompt = lay_out(self.layout, near, budget.tokens, shelf.tokens)
        while prompt.shown and not budget.allows(_footprint(prompt)):
            worst = next(each for each in reversed(near) if each.chunk in prompt.shown)
            near.remove(worst)
            prompt = lay_out(self.layout, near, budget.tokens, shelf.tokens)
        if not budget.allows(_footprint(prompt)):
            prompt = lay_out(Layout(), (), budget.tokens, shelf.tokens)
        shown = tuple(by_id[chunk.id] for chunk in prompt.shown)
        there = {hit.cube.id for hit in shown}
        return Context(prompt.text, shown, tuple(h for h in ranked if h.cube.id not in there), _footprint(prompt))


def _footprint(prompt: Prompt) -> Footprint:
    return Footprint(tokens=prompt.tokens, bytes=len(prompt.text.encode()))
