"""How passages stand in a prompt, the same for every system that has no layout of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...core.render import day_of
from ...errors import BadInput
from ...models import StaticTokenCounter, TokenCounter
from ..subject import Context, Passage

__all__ = ["Kept", "introduced"]


def introduced(passage: Passage) -> str:
    """Return "[date, session] speaker: text", as pinyon shows turns, so that nobody is worse off for the layout.

    Example:
        >>> introduced(Passage("1", "I moved.", speaker="Ann", session="session 1"))
        '[session 1] Ann: I moved.'
    """
    about = [] if passage.time is None else [day_of(passage.time)]
    about += [passage.session] if passage.session else []
    head = f"[{', '.join(about)}] " if about else ""
    speaker = passage.speaker or passage.role
    return f"{head}{speaker}: {passage.text}" if speaker else head + passage.text


class Kept:
    """The passages of every space in the order in which they were added, and prompts made of them.

    Args:
        tokens: Counts the tokens of a prompt; None counts as the static embedder does.
    """

    def __init__(self, tokens: TokenCounter | None = None) -> None:
        self._tokens = tokens or StaticTokenCounter()
        self._spaces: dict[str, dict[str, Passage]] = {}

    def add(self, space: str, passages: Sequence[Passage]) -> None:
        """Keep passages.

        Raises:
            BadInput: An id is there already.
        """
        here = self._spaces.setdefault(space, {})
        for passage in passages:
            if passage.id in here:
                raise BadInput(f"the space {space!r} holds a passage {passage.id!r} already")
            here[passage.id] = passage

    def of(self, space: str) -> Mapping[str, Passage]:
        """Return the passages of a space by id, the first one first."""
        return self._spaces.get(space, {})

    def whole(self, space: str) -> Context:
        """Return a prompt with everything, however long."""
        return self._context(space, list(self.of(space)))

    def packed(self, space: str, ids: Sequence[str], budget_tokens: int) -> Context:
        """Return a prompt with as many passages as fit, the best first, shown in the order in which they were said.

        Args:
            space: Where they lie.
            ids: Best first.
            budget_tokens: Most tokens of the prompt.
        """
        there = self.of(space)
        wanted = [id for id in dict.fromkeys(ids) if id in there]
        costs = self._tokens.count_many([introduced(there[id]) + "\n" for id in wanted])
        kept: list[str] = []
        left = budget_tokens
        for id, cost in zip(wanted, costs, strict=True):
            if cost <= left:
                kept.append(id)
                left -= cost
        while kept:
            context = self._context(space, kept)
            if context.tokens <= budget_tokens:
                return context
            kept.pop()  # joined lines may count higher than the sum of them
        return Context("", (), 0)

    def _context(self, space: str, ids: Sequence[str]) -> Context:
        there = self.of(space)
        place = {id: number for number, id in enumerate(there)}
        ordered = sorted(ids, key=place.__getitem__)
        text = "\n".join(introduced(there[id]) for id in ordered)
        return Context(text, tuple(ordered), self._tokens.count_many([text])[0])
