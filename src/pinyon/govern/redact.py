"""What must not be kept as it was said: found in a draft before it is sealed, and labelled, covered or refused.

Source: MemOS §6 (sensitive-content detection and redaction; which kinds is the project's list). Check digits and
forms of national numbers: python-stdnum; numbering plans: phonenumbers.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Literal, get_args

from ..core.cube import Draft
from ..core.header import Header
from ..core.payload import Json, Text
from ..core.scope import check_name
from ..errors import BadInput
from ._detect_ids import national_ids, phones
from ._detect_keys import keys
from ._detect_patterns import cards, emails, ibans, ips
from ._detect_spans import Detector, Span, union
from ._detect_user import pattern_detector

__all__ = ["KINDS", "Mode", "Redacted", "RedactionRule", "Redactor", "Span", "default_rules"]

Mode = Literal["tag", "mask", "block"]
"""Label the cube; cover what was found; refuse the whole."""

_ALWAYS: Mapping[str, Detector] = {"email": emails, "card": cards, "iban": ibans, "key": keys, "ip": ips}
_NEEDS = {"phone": "phonenumbers", "national_id": "stdnum"}
KINDS: tuple[str, ...] = (*_ALWAYS, *_NEEDS)
"""What is detected without rules of one's own: ``email``, ``card``, ``iban``, ``key``, ``ip``; with the extra
``govern`` also ``phone`` and ``national_id``."""

_REGIONS = ("US", "GB")


@dataclass(frozen=True, slots=True)
class RedactionRule:
    """What to do with one kind of thing.

    Args:
        kind: One of `KINDS`, or a name for what `pattern` finds.
        mode: ``tag`` labels the cube with the kind, so that rights can ask for a clearance; ``mask`` covers it;
            ``block`` refuses what is added.
        pattern: Regular expression of one's own; None for the detector of that kind.
        keep_last: Digits or letters left standing at the end of what is covered, 0 to 4.
        has_pseudonyms: Whether what is covered keeps a short keyed hash, so that equal things stay recognisable.

    Raises:
        BadInput: There is no such kind or mode, or the expression could be slow.
    """

    kind: str
    mode: Mode = "tag"
    pattern: str | None = None
    keep_last: int = 0
    has_pseudonyms: bool = False

    def __post_init__(self) -> None:
        check_name(self.kind, "label")
        if self.pattern is None and self.kind not in KINDS:
            raise BadInput(
                f"there is no detector of {self.kind!r}", hint=f"use one of {', '.join(KINDS)}, or give a pattern"
            )
        if self.mode not in get_args(Mode):
            raise BadInput(f"unknown mode {self.mode!r}", hint=f"use one of {', '.join(get_args(Mode))}")
        if not 0 <= self.keep_last <= 4:
            raise BadInput(f"at most 4 characters are left standing, got {self.keep_last}")
        if any(letter in self.kind for letter in "[]"):
            raise BadInput(f"the name of a rule must not hold brackets, got {self.kind!r}")


def default_rules(mode: Mode = "tag") -> tuple[RedactionRule, ...]:
    """Return a rule for every kind that can be detected with what is installed; cards keep their last four digits."""
    there = (kind for kind in KINDS if kind not in _NEEDS or find_spec(_NEEDS[kind]) is not None)
    return tuple(RedactionRule(kind, mode, keep_last=4 if kind == "card" else 0) for kind in there)


@dataclass(frozen=True, slots=True)
class Redacted:
    """Drafts as they may be kept, and how much was found in them.

    Args:
        drafts: In the order in which they were given.
        masked: Things covered, by kind.
        tagged: Drafts labelled, by kind.
    """

    drafts: tuple[Draft, ...]
    masked: Mapping[str, int] = field(default_factory=dict)
    tagged: Mapping[str, int] = field(default_factory=dict)


class Redactor:
    """Applies rules to drafts before they are sealed, so that what is covered reaches no store, index or journal.

    Text, metadata (its keys too), tags, title, headings, speaker, source and thread are looked at. Names that tell
    things apart (speaker, source, thread, tags, keys of metadata) always keep a pseudonym when they are covered, or
    two speakers would become one. No error and no log says what was found, only which kind.

    Args:
        rules: Each kind at most once.
        key: Secret of the store for pseudonyms, at least 16 bytes.
        regions: Countries in whose national form telephone numbers are written, as ISO 3166 letters.

    Raises:
        BadInput: Two rules for one kind, a key that is too short, or an expression that could be slow.
        MissingExtra: A rule asks for telephone numbers or national numbers, and the extra is not installed.
    """

    def __init__(self, rules: Sequence[RedactionRule], *, key: bytes, regions: Sequence[str] = _REGIONS) -> None:
        named = Counter(rule.kind for rule in rules)
        twice = sorted(kind for kind, number in named.items() if number > 1)
        if twice:
            raise BadInput(f"there are two rules for {twice[0]!r}", hint="give each kind one rule")
        if len(key) < 16:
            raise BadInput(f"the key of a redactor has at least 16 bytes, got {len(key)}")
        self.rules = tuple(rules)
        self._key = key
        self._by_kind = {rule.kind: rule for rule in rules}
        self._detectors = tuple((rule, _detector(rule, regions)) for rule in rules)

    def spans(self, text: str) -> list[Span]:
        """Return what is found in a text, in order, overlapping findings joined to the most certain kind."""
        return union(span for _, detect in self._detectors for span in detect(text))

    def apply(self, drafts: Iterable[Draft]) -> list[Draft]:
        """Return drafts as they may be kept.

        Raises:
            BadInput: One holds what a rule blocks; the message names the kind and not the thing.
        """
        return list(self.redact(drafts).drafts)

    def redact(self, drafts: Iterable[Draft]) -> Redacted:
        """Return drafts as they may be kept, and how much was found; raises what `apply` raises."""
        out: list[Draft] = []
        masked: Counter[str] = Counter()
        tagged: Counter[str] = Counter()
        for draft in drafts:
            pass_ = _Pass(self)
            out.append(pass_.draft(draft))
            if pass_.blocked:
                raise _refusal(pass_.blocked)
            masked.update(pass_.masked)
            tagged.update(pass_.labels.keys())
        return Redacted(tuple(out), dict(masked), dict(tagged))

    def text(self, text: str) -> str:
        """Return a text with what is to be masked covered.

        Raises:
            BadInput: It holds what a rule blocks.
        """
        pass_ = _Pass(self)
        found = pass_.text(text)
        if pass_.blocked:
            raise _refusal(pass_.blocked)
        return found

    def name(self, name: str) -> str:
        """Return the name of a source, thread or speaker with what is to be masked replaced by pseudonyms.

        Raises:
            BadInput: It holds what a rule blocks.
        """
        pass_ = _Pass(self)
        found = pass_.name(name)
        if pass_.blocked:
            raise _refusal(pass_.blocked)
        return found

    def by_mode(self, text: str) -> tuple[list[Span], list[Span], list[Span]]:
        """Return what is to be tagged, masked and blocked in a text."""
        found: dict[Mode, list[Span]] = {"tag": [], "mask": [], "block": []}
        for rule, detect in self._detectors:
            found[rule.mode].extend(detect(text))
        masked = union(found["mask"])
        left = (s for s in found["tag"] if not any(m.start < s.end and s.start < m.end for m in masked))
        return union(left), masked, found["block"]

    def cover(self, span: Span, said: str, *, is_name: bool) -> str:
        """Return what stands in place of something that was found."""
        rule = self._by_kind[span.kind]
        parts = [span.kind]
        if rule.has_pseudonyms or is_name:
            parts.append(self._pseudonym(span.kind, said))
        plain = "".join(letter for letter in said if letter.isalnum())
        if rule.keep_last and len(plain) > 2 * rule.keep_last:
            parts.append(plain[-rule.keep_last :])
        return f"[{' '.join(parts)}]"

    def _pseudonym(self, kind: str, said: str) -> str:
        plain = "".join(letter for letter in said.casefold() if not letter.isspace() and letter not in "-()/")
        text = f"{kind}\0{plain}".encode("utf-8", "replace")
        return "".join("ghjkmnpqrstvwxyz"[byte % 16] for byte in hmac.digest(self._key, text, hashlib.sha256)[:8])


def _detector(rule: RedactionRule, regions: Sequence[str]) -> Detector:
    if rule.pattern is not None:
        return pattern_detector(rule.kind, rule.pattern)
    if rule.kind == "phone":
        return phones(regions)
    return national_ids() if rule.kind == "national_id" else _ALWAYS[rule.kind]


def _refusal(blocked: Mapping[str, int]) -> BadInput:
    what = ", ".join(f"{number} × {kind}" for kind, number in sorted(blocked.items()))
    return BadInput(f"this holds what may not be kept here: {what}", hint="take it out, or mask this kind")


class _Pass:
    """One walk over one draft."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self.labels: dict[str, None] = {}
        self.masked: Counter[str] = Counter()
        self.blocked: Counter[str] = Counter()

    def text(self, text: str, *, is_name: bool = False) -> str:
        """Note what is found in a text, and return it with what is masked covered."""
        tags, masks, blocks = self._redactor.by_mode(text)
        self.labels.update(dict.fromkeys(span.kind for span in tags))
        self.blocked.update(span.kind for span in blocks)
        self.masked.update(span.kind for span in masks)
        for span in reversed(masks):
            covered = self._redactor.cover(span, text[span.start : span.end], is_name=is_name)
            text = text[: span.start] + covered + text[span.end :]
        return text

    def name(self, name: str) -> str:
        """Do the same with a name that tells things apart."""
        return self.text(name, is_name=True)

    def draft(self, draft: Draft) -> Draft:
        """Do the same with everything in a draft that people wrote."""
        payload = draft.payload
        if isinstance(payload, Text) and (content := self.text(payload.content)) != payload.content:
            payload = replace(payload, content=content)
        header = self._header(draft.header)
        return (
            draft
            if payload is draft.payload and header is draft.header
            else replace(draft, payload=payload, header=header)
        )

    def _header(self, header: Header) -> Header:
        p = header.provenance
        changed = replace(
            p,
            title=_maybe(self.text, p.title),
            section=tuple(map(self.text, p.section)),
            speaker=_maybe(self.name, p.speaker),
            source=_maybe(self.name, p.source),
            thread=_maybe(self.name, p.thread),
        )
        metadata = self._json(dict(header.metadata)) if header.metadata else header.metadata
        tags = tuple(dict.fromkeys(map(self.name, header.tags)))
        rights = header.rights
        new = [label for label in self.labels if label not in rights.sensitivity]
        if new:
            rights = replace(rights, sensitivity=(*rights.sensitivity, *sorted(new)))
        if (changed, metadata, tags, rights) == (p, header.metadata, header.tags, header.rights):
            return header
        return replace(header, provenance=changed, metadata=metadata, tags=tags, rights=rights)  # type: ignore[arg-type]  # an object stays one

    def _json(self, value: Json) -> Json:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._json(inner) for inner in value]
        if isinstance(value, dict):
            return {self.name(key): self._json(inner) for key, inner in value.items()}
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 999_999:
            said = str(value)
            covered = self.text(said)  # a card or telephone number that was written without quotes
            return value if covered == said else covered
        return value


def _maybe(change: Callable[[str], str], text: str | None) -> str | None:
    return None if text is None else change(text)
