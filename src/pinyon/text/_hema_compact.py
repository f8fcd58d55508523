"""Compact memory of HEMA: a rolling sentence, snapshots of it, and what they are compressed to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..core.payload import Json
from .summarize import Summarizer, Task, Weigh, shortened

__all__ = ["Compact", "CompactRules", "Snapshot"]

_MOST_TERMS = 3000  # above it, terms that only one turn used are left out at the end of a period


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The rolling sentence as it stood at the end of some turns.

    Args:
        text: The sentence.
        first: First turn it covers, from 1.
        last: Last turn it covers.
    """

    text: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class CompactRules:
    """How the compact memory is kept.

    Args:
        summarizer: Writes the sentences.
        terms: Text to index terms, for the weights of terms.
        count: Counts tokens.
        most_tokens: Of each sentence.
        period: Turns between snapshots, or None for a rolling sentence alone.
        most_snapshots: Above it the two oldest are merged.
    """

    summarizer: Summarizer
    terms: Callable[[str], Sequence[str]]
    count: Callable[[Sequence[str]], Sequence[int]]
    most_tokens: int
    period: int | None
    most_snapshots: int

    def sentence(self, texts: Sequence[str], weigh: Weigh, *, task: Task) -> str:
        """Return one sentence of several texts, whatever the summarizer does within the token limit."""
        said = [text for text in texts if text.strip()]
        if not said:
            return ""
        if len(said) == 1 and task != "rewrite":
            return shortened(said[0], self.most_tokens, self.count)
        return shortened(self.summarizer.summarize(said, task, weigh), self.most_tokens, self.count)


@dataclass(frozen=True, slots=True)
class Compact:
    """What a conversation was about, in a few sentences; unchangeable, each turn gives the next.

    With S the rolling sentence, u a turn, A the archive of snapshots and G what it is compressed to::

        S_t = rewrite(S_{t-1}, u_t)
        at t = period · j:  A = A + [S_t];  G_j = compress(A);  S_t = merge(G_j, S_t)

    Args:
        summary: S, the rolling sentence.
        digest: G, or an empty text before the first snapshot.
        archive: A, oldest first.
        turns: How many turns went in.
        used: In how many turns each term was used.
    """

    summary: str = ""
    digest: str = ""
    archive: tuple[Snapshot, ...] = ()
    turns: int = 0
    used: Mapping[str, int] = field(default_factory=dict)

    def after(self, text: str, rules: CompactRules) -> Compact:
        """Return the memory after one more turn.

        Args:
            text: What was said in it; an empty one counts as a turn and changes nothing else.
            rules: How it is kept.
        """
        used = Counter(self.used)
        used.update(set(rules.terms(text)))
        now = replace(self, turns=self.turns + 1, used=used)
        if text.strip():
            now = replace(now, summary=rules.sentence([now.summary, text], now.weigh, task="rewrite"))
        if rules.period is not None and now.turns % rules.period == 0:
            return now._condensed(rules, rules.period)
        return now

    def weigh(self, term: str) -> float:
        """Return the weight of a term, 0 to 1: rare among the turns, and yet said again, as themes are.

        With n of N turns that used it: ln(1 + n) · ln((N + 1) / (n + 0.5)) / (ln(N + 2) / 2)². Numbers come again by
        chance: each counts as used once.
        """
        used = 1 if term.isdecimal() else max(1, self.used.get(term, 0))
        rare = math.log((self.turns + 1) / (used + 0.5))
        half = math.log(self.turns + 2) / 2
        return min(1.0, max(0.0, math.log1p(used) * rare / (half * half)))

    def _condensed(self, rules: CompactRules, period: int) -> Compact:
        """Return the memory after a snapshot: the sentence starts again from the archive."""
        archive = [*self.archive, Snapshot(self.summary, self.turns - period + 1, self.turns)]
        if len(archive) > rules.most_snapshots:
            first, second = archive[:2]
            text = rules.sentence([first.text, second.text], self.weigh, task="compress")
            archive[:2] = [Snapshot(text, first.first, second.last)]
        digest = rules.sentence([each.text for each in archive], self.weigh, task="compress")
        summary = rules.sentence([digest, self.summary], self.weigh, task="merge")
        used = self.used
        if len(used) > _MOST_TERMS:
            used = {term: turns for term, turns in used.items() if turns > 1}
        return replace(self, summary=summary, digest=digest, archive=tuple(archive), used=used)

    def to_json(self) -> dict[str, Json]:
        """Return everything as a JSON object; `compact_from_json` is its inverse."""
        return {
            "summary": self.summary,
            "digest": self.digest,
            "archive": [[each.text, each.first, each.last] for each in self.archive],
            "turns": self.turns,
            "used": dict(sorted(self.used.items())),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Compact:
        """Return what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: It wrote something else.
        """
        archive, used = data["archive"], data["used"]
        if not isinstance(archive, list) or not isinstance(used, dict):
            raise TypeError("no compact memory")
        return cls(
            str(data["summary"]),
            str(data["digest"]),
            tuple(Snapshot(*_snapshot(each)) for each in archive),
            int(data["turns"]),  # type: ignore[arg-type]  # JSON
            {str(term): int(turns) for term, turns in used.items()},  # type: ignore[arg-type]  # JSON
        )


def _snapshot(data: Json) -> tuple[str, int, int]:
    if not isinstance(data, list):
        raise TypeError("no snapshot")
    text, first, last = data
    return str(text), int(first), int(last)  # type: ignore[arg-type]  # JSON
