"""Choose among options by a stated preference, with word lists and vectors instead of a language model."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from ..index import Analyzer
from ..models import Embedder

__all__ = ["PreferenceRule", "likes_and_dislikes"]

_AGAINST = (
    r"dislik\w*|hat(?:e|es|ed|ing)|despis\w*|detest\w*|loath\w*|avoid\w*|avers\w*|allerg\w*|intoleran\w*|refus\w*"
    r"|never|no|not|cannot|without|\w+n['’]t|against|oppos\w*|uncomfortable|fear\w*|afraid|\w*phobi\w*|distrust\w*"
    r"|distressing|struggl\w*|unable|boring|annoy\w*|overwhelm\w*|frustrat\w*"
)
_FOR = r"prefer\w*|love|enjoy|only|need|want|must|value|follow|rely"
_NEGATIVE = re.compile(rf"\b(?:{_AGAINST})\b", re.IGNORECASE)
_STATED = re.compile(rf"\b(?:I|I['’]m|I['’]ve|my)\b.*?\b(?:{_AGAINST}|{_FOR}|stick|strict\w*|adhere)\b", re.IGNORECASE)
_CUT = re.compile(
    rf"(?:[,;]?\s+(?:but|however|though|while)\b)|(?:[.!?;]\s+)"
    rf"|(?:,?\s+and\s+(?=(?:\w+ly\s+|I\s+|do\s+)?(?:{_AGAINST}|{_FOR})\b))|,\s*(?=(?:{_FOR})\w*)",
    re.IGNORECASE,
)
_INSTEAD = re.compile(r"\b(?:over|rather than|instead of|as opposed to)\b", re.IGNORECASE)
_EMPTY = re.compile(
    r"\b(?:I|I'm|strong\w*|prefer\w*|us(?:e|ing)|have|any|a|an|the|my|to|of|for|as|with|absolutely|strictly|enjoy|like"
    r"|only)\b",
    re.IGNORECASE,
)
_LACKS = re.compile(
    r"without|no|not|non|avoid\w*|free|minimal|low|zero|less|lack\w*|exclud\w*|skip|limited?|reduc\w*|never|doesn't|don't",
    re.IGNORECASE,
)
_REACH = 4  # words after such a word that are lacking
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


class PreferenceRule:
    """Choose the option that is most like what is liked and least like what is not.

    Both are compared by shared stems, with the sign turned where an option says that it lacks something, and by
    vectors. What is said for and against is told apart by words such as "prefer" and "avoid".

    Args:
        embedder: Of statements, questions and options.

    Cost: Some milliseconds a choice.
    Source: ours; it stands in for a reader, so that a memory can be measured without one.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._analyzer = Analyzer()

    def statement(self, question: str, said: Sequence[str]) -> str:
        """Return the sentence that states a preference and lies nearest to a question; an empty text when none does.

        Args:
            question: What was asked.
            said: What the person said, as far as it is remembered.
        """
        stated = [s.strip() for text in said for s in _SENTENCE.split(text) if _STATED.search(s) and len(s) < 400]
        if not stated:
            return ""
        near = self._embedder.embed(stated) @ self._embedder.embed_query(question)
        return stated[int(near.argmax())]

    def scores(self, preference: str, options: Sequence[str]) -> list[float]:
        """Return how well each option fits a preference; higher is better."""
        liked, disliked = likes_and_dislikes(preference)
        wanted, unwanted = self._analyzer.terms(liked), self._analyzer.terms(disliked)
        pull = [self._shared(wanted, option) - self._shared(unwanted, option) for option in options]
        near, far = self._near(liked, options), self._near(disliked, options)
        return [a + b - c for a, b, c in zip(pull, near, far, strict=True)]

    def _near(self, text: str, options: Sequence[str]) -> list[float]:
        if not text.strip():
            return [0.0] * len(options)
        return [float(x) for x in self._embedder.embed(list(options)) @ self._embedder.embed([text])[0]]

    def _shared(self, terms: Sequence[str], option: str) -> float:
        """Return the shared stems of a text and an option, those that it lacks against it."""
        distinct = set(terms)
        if not distinct:
            return 0.0
        signs = self._signs(option)
        total = float(sum((signs[term] > 0) - (signs[term] < 0) for term in distinct))
        return total / math.sqrt(len(distinct))

    def _signs(self, option: str) -> Counter[str]:
        signs: Counter[str] = Counter()
        lacking = 0
        for word in re.findall(r"[\w'-]+", option):
            if word.lower().endswith("-free"):
                signs.subtract(self._analyzer.terms(word[:-5]))
            elif _LACKS.fullmatch(word):
                lacking = _REACH
            else:
                for term in self._analyzer.terms(word):
                    signs[term] += -1 if lacking > 0 else 1
                lacking -= 1
        return signs


@lru_cache(maxsize=1024)
def likes_and_dislikes(preference: str) -> tuple[str, str]:
    """Return what a preference says for something and what against it.

    Example:
        >>> likes_and_dislikes("I prefer quiet trains over crowded buses.")
        ('quiet trains', 'crowded buses.')
        >>> likes_and_dislikes("I avoid eggs but love cheese.")
        ('love cheese.', 'eggs')
    """
    liked: list[str] = []
    disliked: list[str] = []
    for clause in _CUT.split(preference):
        said, *others = _INSTEAD.split(clause)
        is_against = _NEGATIVE.search(said) is not None
        (disliked if is_against else liked).append(_NEGATIVE.sub(" ", said))
        (liked if is_against else disliked).extend(others)
    return _bare(liked), _bare(disliked)


def _bare(parts: Sequence[str]) -> str:
    return " ".join(_EMPTY.sub(" ", " ".join(parts)).split())
