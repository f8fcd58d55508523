"""E-mail addresses, payment cards, IBANs and IP addresses: what a pattern and a check digit settle.

Every pattern has bounded repeats, so that its cost is linear in the length of the text.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from importlib.util import find_spec

from ..extras import require
from ._detect_spans import Span, every_start

__all__ = ["cards", "emails", "ibans", "ips", "luhn"]

_LOCAL = r"[^\W_](?:[\w.!#$%&'*+/=?^`{|}~-]{0,62}[\w!#$%&*+=?^`{|}~-])?"
_DOMAIN = r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}"
_EMAIL = re.compile(rf"(?<![\w.+-])(?:mailto:)?({_LOCAL}@{_DOMAIN})(?![\w@])")
_SPELLED = re.compile(  # ann (at) example (dot) org
    r"(?<![\w.+-])[^\W_][\w.+-]{0,62} ?[\[(<{] ?at ?[\])>}] ?"
    r"(?:[^\W_][\w-]{0,61} ?(?:\.|[\[(<{] ?dot ?[\])>}]) ?){1,5}[^\W\d_]{2,24}(?!\w)",
    re.IGNORECASE,
)

_RUN = re.compile(r"(?<![\w.+-])\d{1,20}(?:[ \u00a0-]\d{1,20})*(?![\w-])")
_GROUP = re.compile(r"\d+")
_GROUPS = {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (4, 4, 4, 3), (4, 4, 4, 1), (6, 13), (4, 4, 5)}
_ISSUERS = re.compile(
    r"4\d{12}(?:\d{3}){0,2}"  # Visa: 13, 16, 19
    r"|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|3(?:0[0-5]|[68]\d)\d{11}"  # Diners Club
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}(?:\d{3})?"  # Discover
    r"|35(?:2[89]|[3-8]\d)\d{12}"  # JCB
    r"|62\d{14,17}"  # UnionPay
    r"|(?:50|5[6-9]|6[0-9])\d{10,17}"  # Maestro
)

_IBAN = re.compile(r"(?<![\w-])[A-Z]{2}\d{2}(?:[ \u00a0-]?[A-Z0-9]{1,4}){3,9}(?![\w])", re.IGNORECASE)

_IPV4 = re.compile(
    r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?!\w|\.\d|-\d)", re.ASCII
)
_IPV6 = re.compile(
    r"(?<![\w:.])[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?:(?<=:)\d{1,3}(?:\.\d{1,3}){3})?(?![\w:])", re.IGNORECASE
)
_VERSION = re.compile(r"(?:\bv|version|release|build|section|chapter|clause|§)\.? ?$", re.IGNORECASE)


def emails(text: str) -> Iterator[Span]:
    """Yield e-mail addresses, those with "(at)" and "(dot)" too."""
    if "@" in text:
        for found in _EMAIL.finditer(text):
            if ".." not in found[1].partition("@")[0]:
                yield Span(found.start(1), found.end(1), "email", 0.98)
    for found in _SPELLED.finditer(text):
        yield Span(found.start(), found.end(), "email", 0.9)


def luhn(digits: str) -> bool:
    """Return whether digits end in their Luhn check digit.

    Example:
        >>> luhn("4111111111111111"), luhn("4111111111111112")
        (True, False)
    """
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(d - 9 if d > 9 else d for d in doubled)) % 10 == 0


def cards(text: str) -> Iterator[Span]:
    """Yield numbers of payment cards: a known issuer, the Luhn check digit, and groups as cards have them."""
    for run in _RUN.finditer(text):
        places = [found.span() for found in _GROUP.finditer(text, *run.span())]
        for first, (start, _) in enumerate(places):
            for _, end in places[first : first + 5]:
                if _is_card(text[start:end]) and "-" not in (text[start - 1 : start], text[end : end + 1]):
                    yield Span(start, end, "card", 0.95)


def _is_card(said: str) -> bool:
    groups = re.split(r"[ \u00a0-]", said)
    digits = "".join(groups)
    is_grouped = len(groups) == 1 or (
        tuple(map(len, groups)) in _GROUPS and ("-" not in said or said.count("-") == len(groups) - 1)
    )
    if not (is_grouped and digits.isascii() and _ISSUERS.fullmatch(digits)):
        return False
    return luhn(digits) and len(set(digits)) > 1


def ibans(text: str) -> Iterator[Span]:
    """Yield IBANs by their check digits (ISO 13616), and by the form of their country where the extra is installed."""
    for found in every_start(_IBAN, text):
        end = found.end()
        while end > found.start():  # words that follow may look like groups of it
            if _is_iban(re.sub(r"[ \u00a0-]", "", text[found.start() : end]).upper()):
                yield Span(found.start(), end, "iban", 0.99)
                break
            end = max(text.rfind(space, found.start(), end) for space in " \u00a0-")


def _is_iban(plain: str) -> bool:
    if not (15 <= len(plain) <= 34 and plain.isascii() and plain.isalnum()):
        return False
    if int("".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])) % 97 != 1:
        return False
    if find_spec("stdnum") is None:
        return True
    return bool(require("stdnum.iban", "check the form of an IBAN").is_valid(plain, check_country=False))


def ips(text: str) -> Iterator[Span]:
    """Yield IP addresses of both families, without loopback, masks and versions of programs."""
    for found in _IPV4.finditer(text):
        address = ipaddress.ip_address(".".join(str(int(part)) for part in found[0].split(".")))
        is_named = _VERSION.search(text, max(0, found.start() - 10), found.start())
        is_version = is_named and max(map(int, found[0].split("."))) < 100  # few programs count so far
        if not (address.is_loopback or found[0].startswith(("0.", "255.")) or is_version):
            yield Span(found.start(), found.end(), "ip", 0.8)
    if text.count(":") < 2:
        return
    for found in _IPV6.finditer(text):
        groups = found[0].split(":")
        is_written = sum(map(bool, groups)) >= 2 and any(len(group) >= 3 for group in groups)
        if is_written and re.search(r"\d", found[0]) and _is_ipv6(found[0]):
            yield Span(found.start(), found.end(), "ip", 0.85)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
