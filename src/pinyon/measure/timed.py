"""A subject with a stopwatch, the same for every measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ..core.payload import Json
from .resident import resident_bytes
from .subject import Context, Held, Passage, Ranked, Subject

__all__ = ["Ended", "Timed"]


class Timed:
    """Pass every call on, and note how long it took.

    Args:
        subject: What is measured.
        grown_bytes: By how much the process grew when it was made.
        note: Told ``begin`` and ``end`` with the number of passages around each call of `add`.

    Attributes:
        subject: What was given.
        passages: Added so far.
        add_s: Seconds that took.
        search_ms: Milliseconds of each search.
        recalled_tokens: Tokens of each recalled prompt.
    """

    def __init__(
        self, subject: Subject, grown_bytes: int = 0, note: Callable[[str, str], object] | None = None
    ) -> None:
        self.name = subject.name
        self.subject = subject
        self._note = note
        self._grown_bytes = grown_bytes
        self.passages = 0
        self.add_s = 0.0
        self.search_ms: list[float] = []
        self.recalled_tokens: list[int] = []
        self._told = (0, 0)

    @property
    def add_ms(self) -> float:
        """Milliseconds to add one passage, on average."""
        return 1000 * self.add_s / self.passages if self.passages else 0.0

    def taken(self) -> Mapping[str, Json]:
        """Return milliseconds and tokens of the calls since this was asked last, to be noted with an item."""
        searches, recalls = self.search_ms[self._told[0] :], self.recalled_tokens[self._told[1] :]
        self._told = (len(self.search_ms), len(self.recalled_tokens))
        return {"search_ms": [round(ms, 3) for ms in searches], "tokens": list(recalls)}

    def add(self, space: str, passages: Sequence[Passage]) -> None:
        """Add."""
        with self._noted(f"add {len(passages)}"), self._weighed():
            start = time.perf_counter()
            self.subject.add(space, passages)
            self.add_s += time.perf_counter() - start
        self.passages += len(passages)

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
        """Search."""
        with self._weighed():
            start = time.perf_counter()
            found = self.subject.search(space, question, k)
        self.search_ms.append(1000 * (time.perf_counter() - start))
        return found

    def recall(self, space: str, question: str, budget_tokens: int) -> Context:
        """Recall."""
        with self._weighed():
            context = self.subject.recall(space, question, budget_tokens)
        self.recalled_tokens.append(context.tokens)
        return context

    def ask(self, space: str, question: str) -> str | None:
        """Ask."""
        with self._weighed():
            return self.subject.ask(space, question)

    def footprint(self) -> Held:
        """Return what the subject holds: of this process what grew during its calls, and what it holds elsewhere."""
        held = self.subject.footprint()
        elsewhere = held.memory_bytes if getattr(self.subject, "is_elsewhere", False) else 0
        return Held(max(0, self._grown_bytes) + elsewhere, held.disk_bytes)

    def close(self) -> None:
        """Close the subject."""
        self.subject.close()

    @contextmanager
    def _weighed(self) -> Iterator[None]:
        before = resident_bytes()
        yield
        self._grown_bytes += resident_bytes() - before

    @contextmanager
    def _noted(self, what: str) -> Iterator[None]:
        if self._note is not None:
            self._note("begin", what)
        yield
        if self._note is not None:
            self._note("end", what)


class Ended:
    """Stands for a subject that has failed for good, while what it did before is scored.

    Args:
        name: Of the subject.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def add(self, space: str, passages: Sequence[Passage]) -> None:
        """Keep nothing."""

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:  # noqa: ARG002  # the protocol's
        """Find nothing."""
        return ()

    def recall(self, space: str, question: str, budget_tokens: int) -> Context:  # noqa: ARG002  # the protocol's
        """Recall nothing."""
        return Context("", (), 0)

    def ask(self, space: str, question: str) -> str | None:  # noqa: ARG002  # the protocol's
        """Answer nothing."""
        return None

    def footprint(self) -> Held:
        """Hold nothing."""
        return Held(0, 0)

    def close(self) -> None:
        """Release nothing."""
