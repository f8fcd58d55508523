"""Keys, tokens and passwords: by the prefixes their makers give them, and by the names they are assigned to.

The prefixes are those that the makers document for their own leak scanners.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from ._detect_spans import Span

__all__ = ["entropy", "keys"]

_BEFORE, _AFTER = r"(?<![A-Za-z0-9_-])", r"(?![A-Za-z0-9_])"
_KNOWN = re.compile(
    _BEFORE
    + "(?:"
    + "|".join(
        (
            r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}",  # AWS
            r"gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}",  # GitHub
            r"gl(?:pat|dt|rt|ft|cbt)-[A-Za-z0-9_-]{20,255}",  # GitLab
            r"xox[abeoprs]-[A-Za-z0-9-]{10,250}|xapp-\d-[A-Za-z0-9-]{10,250}",  # Slack
            r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,250}|whsec_[A-Za-z0-9+/=]{24,250}",  # Stripe
            r"AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,500}|GOCSPX-[A-Za-z0-9_-]{28}",  # Google
            r"sk-ant-[a-z0-9]{2,10}-[A-Za-z0-9_-]{20,250}",  # Anthropic
            r"sk-(?:proj-|svcacct-|admin-|or-v1-)?(?=[A-Za-z_-]{0,60}\d)[A-Za-z0-9_-]{20,250}",  # OpenAI, OpenRouter
            r"hf_[A-Za-z0-9]{30,60}",  # Hugging Face
            r"npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,250}",  # registries
            r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}|(?:SK|AC)[0-9a-f]{32}",  # SendGrid, Twilio
            r"\d{8,10}:[A-Za-z0-9_-]{35}",  # Telegram
            r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|dop_v1_[0-9a-f]{64}|AGE-SECRET-KEY-1[A-Z0-9]{58}",
            r"eyJ[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,1000}",  # JSON Web Token
        )
    )
    + ")"
    + _AFTER
)
_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?:[^-]|-(?!----)){0,20000}-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
    r"|(?:\s{0,8}[A-Za-z0-9+/=]{16,200}){0,400})"  # cut off before its end
)
_HOOK = re.compile(r"https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{20,120}")
_IN_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]{1,20}://[^\s:/@\"'<>]{0,80}:([^\s:/@\"'<>]{3,120})@", re.IGNORECASE)
_BEARER = re.compile(r"\b(?:Bearer|Basic|Token)[ ]{1,4}([A-Za-z0-9_.~+/-]{16,2000}={0,2})", re.IGNORECASE)
_NAME = (
    r"(?:api|access|secret|private|auth|client|account|master|session|signing|encryption|service|app|bot|refresh)"
    r"[ _-]?(?:api[ _-]?)?(?:access[ _-]?)?(?:key|token|secret)(?:[ _-]?(?:key|id|value))?"
    r"|apikey|token|secret|credential"
)
_SET_TO = r"[\"'`]?[ \t]{0,4}(?::=|=>|[:=]|\bis\b)[ \t]{0,4}"
_ASSIGNED = re.compile(rf"(?<![A-Za-z])(?:{_NAME}){_SET_TO}[\"'`]?([A-Za-z0-9_.~+/-]{{12,500}}={{0,2}})", re.IGNORECASE)
_PASSWORD = re.compile(
    rf"(?<![A-Za-z])(?:pass(?:word|wd|phrase|code)|pwd)s?{_SET_TO}"
    r"(?:\"([^\"\n]{4,120})\"|'([^'\n]{4,120})'|`([^`\n]{4,120})`|([^\s\"'`,;<>(){}\[\]]{4,120}))",
    re.IGNORECASE,
)
_AWS_SECRET = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/=])")
_NEAR_AWS = re.compile(r"aws|secret", re.IGNORECASE)


def entropy(text: str) -> float:
    """Return the bits a character of a text, by the frequencies of its own characters.

    Example:
        >>> entropy("aaaa"), entropy("abcd")
        (0.0, 2.0)
    """
    counts = Counter(text).values()
    return sum(-n / len(text) * math.log2(n / len(text)) for n in counts) + 0.0


def keys(text: str) -> Iterator[Span]:
    """Yield secrets of programs and passwords of people, without the name they are assigned to."""
    for found in _KNOWN.finditer(text):
        yield Span(found.start(), found.end(), "key", 0.97)
    for pattern in (_PEM, _HOOK):
        for found in pattern.finditer(text):
            yield Span(found.start(), found.end(), "key", 1.0)
    for found in _IN_ADDRESS.finditer(text):
        yield Span(found.start(1), found.end(1), "key", 0.99)  # surer than the address it looks like
    for pattern in (_BEARER, _ASSIGNED):
        for found in pattern.finditer(text):
            if _is_random(found[1]):
                yield Span(found.start(1), found.end(1), "key", 0.85)
    for found in _PASSWORD.finditer(text):
        group = next(number for number in range(1, 5) if found[number] is not None)
        value = found[group].rstrip(".") if group == 4 else found[group]
        if _is_password(value, is_quoted=group < 4):
            yield Span(found.start(group), found.start(group) + len(value), "key", 0.8)
    for found in _AWS_SECRET.finditer(text):
        if _NEAR_AWS.search(text, max(0, found.start() - 60), found.start()) and _is_random(found[0]):
            yield Span(found.start(), found.end(), "key", 0.85)


def _is_random(text: str) -> bool:
    """Return whether a text looks drawn by lot: letters and digits, and no word repeated."""
    has_both = any(c.isdigit() for c in text) and any(c.isalpha() for c in text)
    return has_both and entropy(text) >= 3.0  # 16 different hexadecimals have 4, English words below 3 at this length


def _is_password(text: str, *, is_quoted: bool) -> bool:
    if len(text) < 4 or text.lower() in _PLACEHOLDERS:
        return False
    if any(c.isdigit() for c in text) or _SYMBOL.search(text):
        return any(c.isalnum() for c in text)
    return is_quoted and len(text) >= 6 and " " not in text and not text.startswith(("$", "{", "<", "[", "*", "%"))


_SYMBOL = re.compile(r"[!@#$^&*+=?~]")
_PLACEHOLDERS = frozenset({"password", "secret", "string", "changeme", "required", "optional", "hidden", "redacted"})
