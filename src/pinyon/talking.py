"""A talk whose questions bring to hand what they are about, under a budget, before each answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Unpack

from . import schedule
from .core.budget import Budget, Footprint
from .core.cube import Cube
from .core.payload import Json, Kind, digest
from .core.where import View, Where
from .errors import BadInput
from .parts import Caller, Handle, Who
from .reading import CallerShelf
from .store.side import Usage

if TYPE_CHECKING:
    from .schedule import Heard, Listening, Policy
    from .text import Context

__all__ = ["Talk", "Talking"]

_PREFETCHED = 500  # latest memories that may be at hand as a talk opens
_NUMBER_TOKENS = 6  # "[123] " and the line break of a passage


class Talk:
    """What is at hand in one conversation.

    It opens with what is pinned and what was worth most in the space; from then on each question that nothing at hand
    answers searches, and what the latest questions are not about leaves. What was forgotten, archived or closed to the
    caller is never shown, though it was at hand.

    Args:
        caller: Who talks, and in which space.
        budget_tokens: Most tokens at hand together.
        policy: What a place is worth.
        settings: How questions are followed.
        sink: Told each decision with everything that went into it; `schedule.replay` decides again.
    """

    def __init__(
        self,
        caller: Caller,
        budget_tokens: int,
        policy: Policy,
        settings: Listening,
        sink: Callable[[dict[str, Json]], object] | None,
    ) -> None:
        self._caller = caller
        self._tokens = budget_tokens
        self._working = schedule.WorkingSet(Budget(tokens=budget_tokens), policy, sink=sink)
        finder = caller.parts.finder
        self._embedder = finder.nearby()
        self._listener = schedule.Listener(
            self._working,
            self._search,
            self._embedder.embed_query,
            finder.analyzer.terms,
            caller.parts.clock,
            settings=settings,
        )
        self._prefetch()

    @property
    def cubes(self) -> tuple[Cube, ...]:
        """What is at hand, worthiest first, as it is now."""
        rows = [item.row for item in self._working.items]
        view = self._view()
        found = self._caller.parts.store.engine.by_rows(rows)
        there = {row: cube for row, cube in found.items() if view.admits(cube)}
        self._working.drop([row for row in rows if row not in there])
        return tuple(there[row] for row in rows if row in there)

    def hear(self, question: str, labels: Sequence[str] = ()) -> Heard:
        """Take in a question, search when nothing at hand answers it, and return what came of it.

        Args:
            question: As it was asked.
            labels: Tags that the task asks for.

        Raises:
            BadInput: The question is empty.
        """
        if not isinstance(question, str) or not question.strip():
            raise BadInput(f"the question is empty: {question!r}", hint="give at least one word")
        self._caller.check_open()
        return self._listener.hear(question, frozenset(labels))

    def context(self) -> Context:
        """Return what is at hand as numbered passages for a prompt, within the budget, and note that it was used."""
        from .text import Hit, Pack

        parts, cubes = self._caller.parts, self.cubes
        hits = [Hit(cube, float(len(cubes) - place)) for place, cube in enumerate(cubes)]
        shelf = CallerShelf(parts, self._view())
        context = Pack().compose(hits, shelf, Budget(tokens=self._tokens))
        if not parts.store.engine.is_read_only:
            texts = {hit.cube.row: digest(hit.cube.text) for hit in context.hits}
            parts.heat.note([hit.cube.row for hit in context.hits], texts=texts, by=self._caller.scope)
        return context

    def _view(self) -> View:
        return self._caller.view(Where(kinds=(Kind.TEXT,)))

    def _prefetch(self) -> None:
        engine = self._caller.parts.store.engine
        cubes = engine.find(self._view(), newest_first=True, limit=_PREFETCHED, after=None)
        items = self._items(cubes)
        now = self._caller.now()
        self._working.prefetch(items, schedule.Context(now, most_uses=max((item.uses for item in items), default=0)))

    def _search(self, text: str, k: int) -> list[schedule.Found]:
        cubes = [hit.cube for hit in self._caller.parts.finder.search(text, k, self._view()).hits]
        rows = self._embedder.embed([cube.text for cube in cubes])
        pairs = zip(cubes, self._items(cubes), rows, strict=True)
        return [schedule.Found(item, cube.text, row) for cube, item, row in pairs]

    def _items(self, cubes: Sequence[Cube]) -> list[schedule.Item]:
        parts, now = self._caller.parts, self._caller.now()
        usage = parts.heat.usage([cube.row for cube in cubes])
        tokens = parts.counter.count_many([cube.text for cube in cubes])
        out = []
        for cube, number in zip(cubes, tokens, strict=True):
            used = usage.get(cube.row, Usage())
            cost = Footprint(tokens=number + _NUMBER_TOKENS)
            out.append(
                schedule.Item.of(cube, used, now, cost=cost, sessions=schedule.sessions_of(used, digest(cube.text)))
            )
        return out


class Talking(Handle):
    """Talk."""

    def talk(
        self,
        *,
        budget_tokens: int = 1000,
        policy: Policy | str = "value",
        settings: Listening | None = None,
        sink: Callable[[dict[str, Json]], object] | None = None,
        **who: Unpack[Who],
    ) -> Talk:
        """Open a talk in which each question brings to hand what it is about; one talk follows one session.

        Args:
            budget_tokens: Most tokens at hand together, >= 1.
            policy: What a place is worth: ``value``, ``semantic``, ``label``, ``lru``, ``lfu``, or a `Policy`.
            settings: How questions are followed; None takes the usual ways.
            sink: Told each decision with everything that went into it, as JSON; `schedule.replay` decides again.
            who: Who talks, in which space and session.

        Raises:
            BadInput: There is no such policy, the budget is below 1, or the memory is one of an earlier time.
        """
        caller = self._writer(who)
        if not isinstance(budget_tokens, int) or budget_tokens < 1:
            raise BadInput(f"a budget of {budget_tokens!r} tokens is not possible", hint="give a whole number above 0")
        if isinstance(policy, str):
            if policy not in schedule.POLICIES:
                raise BadInput(
                    f"there is no policy {policy!r}", hint=f"use one of {', '.join(sorted(schedule.POLICIES))}"
                )
            policy = schedule.POLICIES[policy]()
        return Talk(caller, budget_tokens, policy, settings or schedule.Listening(), sink)
