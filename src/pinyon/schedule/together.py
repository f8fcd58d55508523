"""Choose which texts are worth being one state, when a prompt begins with one state and no more."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from .promote import CostModel, StateRules

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Group", "Prompted", "Sizes", "best_groups"]

Rows = frozenset[int]


@dataclass(frozen=True, slots=True)
class Prompted:
    """Texts that stood in one prompt together, with the words they have now.

    Args:
        rows: Of the texts.
        rate: Such prompts a day, as of now.
        sessions: Hashes of the sessions in which that happened.
    """

    rows: Rows
    rate: float
    sessions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long states are before they are laid out.

    Args:
        base: Tokens of what stands in every state beside its texts: instructions and template.
        texts: Tokens of each text as a passage, by row.
        overhead: Bytes of a stored state beside those of its tokens.
    """

    base: int
    texts: Mapping[int, int]
    overhead: int = 0

    def tokens(self, rows: Rows) -> int:
        """Return about how many tokens a state of some texts has."""
        return self.base + sum(self.texts[row] for row in rows)


@dataclass(frozen=True, slots=True)
class Group:
    """Texts that are worth being one state, or are one.

    Args:
        rows: Of the texts.
        tokens: Tokens of the state.
        bytes: Its bytes.
        saving: Seconds a day that it saves in those prompts that would begin with it.
        sessions: Sessions in which all of its texts were used together.
        is_built: Whether it is there.
    """

    rows: Rows
    tokens: int
    bytes: int
    saving: float
    sessions: int
    is_built: bool


def best_groups(
    prompts: Sequence[Prompted],
    built: Mapping[Rows, int],
    given: Sequence[Rows],
    sizes: Sizes,
    costs: CostModel,
    rules: StateRules,
    room: int,
    tokens_of: Callable[[Rows], int | None],
) -> tuple[Group, ...]:
    """Return what is to rest as state, those that are built included, with what each saves.

    A state saves a prompt the reading of its instructions and of those of its texts that stand in the prompt, and costs
    the attaching of all its tokens. A prompt begins with the one state that saves it most, so a state is worth only
    what it saves beyond the best other one. Texts that stood in one prompt, and what two prompts have in common, are
    candidates; the best for its bytes is taken again and again while it pays for being built.

    Args:
        prompts: What was asked for together.
        built: What the rule has built, with its bytes.
        given: What others have built, which costs nothing and is attached too.
        sizes: How long states are.
        costs: What reading, building and attaching cost.
        rules: When it pays.
        room: Bytes for all states of the rule together.
        tokens_of: Returns the tokens of a state of some texts, exactly; None where there can be none.

    Cost: O(N³) time for N prompts, in two matrices; one laying out for each state that is taken.
    Source: ours; the greedy choice by saving for each byte is that of `decide_states`.
    """
    made = _Choice(prompts, list(built.items()), given, sizes, costs, rules)
    return made.run(room, tokens_of)


@dataclass
class _Choice:
    """The tables of one choice."""

    prompts: Sequence[Prompted]
    built: list[tuple[Rows, int]]
    given: Sequence[Rows]
    sizes: Sizes
    costs: CostModel
    rules: StateRules
    rows: list[Rows] = field(init=False)
    tokens: dict[int, int] = field(default_factory=dict)
    bytes: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        asked = [one.rows for one in self.prompts]
        common = [one & other for one, other in combinations(asked, 2)]
        found = dict.fromkeys([*(rows for rows, _ in self.built), *asked, *common])
        self.rows = [rows for rows in found if rows]
        sizes = [self._bytes(self.sizes.tokens(rows)) for rows in self.rows]
        self.bytes = np.array([*(size for _, size in self.built), *sizes[len(self.built) :]], dtype=float)

    def run(self, room: int, tokens_of: Callable[[Rows], int | None]) -> tuple[Group, ...]:
        rates = np.array([one.rate for one in self.prompts])
        saved = self._saved(self.rows)  # seconds, candidates by prompts
        best = self._saved(self.given).max(axis=0, initial=0.0)
        prices, can = self._prices(), self._can()
        needs = np.where(np.arange(len(self.rows)) < len(self.built), 0.0, prices)  # what is built is paid for
        left, taken = float(room), list[int]()
        while True:
            gains = np.maximum(saved - best, 0.0) @ rates * self.rules.horizon_days - needs
            worth = np.where(can & (self.bytes <= left) & (gains > 0), gains / np.maximum(self.bytes, 1.0), -np.inf)
            if not len(worth) or worth.max() == -np.inf:
                break
            place = int(worth.argmax())  # of equals the first: what is built goes before what is not
            if not self._lay_out(place, tokens_of):
                can[place] = False
            elif self.bytes[place] <= left:
                can[place] = False
                taken.append(place)
                left -= self.bytes[place]
                best = np.maximum(best, saved[place])
        return self._groups(self._pruned(taken, saved, rates, prices), saved, rates)

    def _pruned(
        self, taken: list[int], saved: NDArray[np.float64], rates: NDArray[np.float64], prices: NDArray[np.float64]
    ) -> list[int]:
        """Leave out, the worst first, what others that were taken later save nearly as well.

        What is built stays while it saves `StateRules.keep` of what building it would have to save.
        """
        kept, others = list(taken), self._saved(self.given)
        while kept:
            short = []
            for place in kept:
                best = np.vstack([others, saved[[one for one in kept if one != place]]]).max(axis=0, initial=0.0)
                alone = float(np.maximum(saved[place] - best, 0.0) @ rates) * self.rules.horizon_days
                share = self.rules.keep if place < len(self.built) else 1.0
                short.append(alone - share * prices[place])
            worst = int(np.argmin(short))
            if not short[worst] < 0:
                break
            del kept[worst]
        return kept

    def _lay_out(self, place: int, tokens_of: Callable[[Rows], int | None]) -> bool:
        """Put down how long a candidate is; return False where it cannot be."""
        length = tokens_of(self.rows[place])
        if length is None:
            return False
        self.tokens[place] = length
        if place >= len(self.built):
            self.bytes[place] = self._bytes(length)
        return True

    def _groups(self, taken: list[int], saved: NDArray[np.float64], rates: NDArray[np.float64]) -> tuple[Group, ...]:
        """Give each prompt to the state that saves it most."""
        others = self._saved(self.given)
        table = np.vstack([others, saved[taken]])
        first = table.argmax(axis=0) if len(table) else np.zeros(len(rates), dtype=int)
        out = []
        for place in dict.fromkeys([*taken, *range(len(self.built))]):
            mine = first == len(others) + taken.index(place) if place in taken else np.zeros(len(rates), dtype=bool)
            tokens = self.tokens.get(place) or self.sizes.tokens(self.rows[place])
            saving = float((saved[place] * rates)[mine].sum())
            out.append(
                Group(
                    self.rows[place],
                    tokens,
                    int(self.bytes[place]),
                    saving,
                    len(self._sessions(self.rows[place])),
                    place < len(self.built),
                )
            )
        return tuple(out)

    def _saved(self, candidates: Sequence[Rows]) -> NDArray[np.float64]:
        """Return the seconds that each candidate saves each prompt."""
        table = np.zeros((len(candidates), len(self.prompts)))
        for i, rows in enumerate(candidates):
            attached = self.sizes.tokens(rows) * self.costs.t_cached
            for j, prompt in enumerate(self.prompts):
                if common := rows & prompt.rows:
                    table[i, j] = max(0.0, self.sizes.tokens(common) * self.costs.t_direct - attached)
        return table

    def _prices(self) -> NDArray[np.float64]:
        """Return the seconds that each candidate has to save before it pays to build it."""
        tokens = np.array([self.sizes.tokens(rows) for rows in self.rows], dtype=float)
        price = self.bytes * self.rules.price if math.isfinite(self.rules.price) else np.full(len(tokens), np.inf)
        return np.asarray(tokens * self.costs.t_build + price, dtype=float)

    def _can(self) -> NDArray[np.bool_]:
        """Return which candidates are built, or were the same in sessions enough."""
        enough = [len(self._sessions(rows)) >= self.rules.sessions for rows in self.rows]
        return np.array([place < len(self.built) or one for place, one in enumerate(enough)], dtype=bool)

    def _sessions(self, rows: Rows) -> frozenset[str]:
        return frozenset[str]().union(*(one.sessions for one in self.prompts if rows <= one.rows))

    def _bytes(self, tokens: int) -> int:
        return tokens * self.costs.bytes_per_token + self.sizes.overhead
