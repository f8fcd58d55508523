"""National identity and tax numbers, by their check digits and by the words they stand beside; telephone numbers.

Check digits and forms come from python-stdnum, numbering plans from phonenumbers: extra ``govern``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..extras import require
from ._detect_spans import Detector, Span, every_start

__all__ = ["national_ids", "phones"]

_WORDS_BEFORE = 60  # characters in which the name of a number is looked for
_WORDS_AFTER = 24


@dataclass(frozen=True, slots=True)
class _Form:
    """One kind of number: where its check lives, what it looks like, and what must stand beside it.

    Args:
        module: Of stdnum.
        written: How it looks when its form alone gives it away, or an empty text.
        bare: How it looks otherwise; it then counts only beside one of `words`.
        words: Names of the number, as an expression.
    """

    module: str
    written: str
    bare: str = ""
    words: str = ""


_FORMS = (
    _Form("us.ssn", r"\d{3}-\d{2}-\d{4}", r"\d{3} ?\d{2} ?\d{4}", r"ssn|social security"),
    _Form("gb.nhs", "", r"\d{3}[ -]?\d{3}[ -]?\d{4}", r"nhs"),
    _Form(
        "de.idnr",
        "",
        r"\d{2} ?\d{3} ?\d{3} ?\d{3}",
        r"steuer|idnr|id-?nr|tin\b|tax (?:id|number)|identifikationsnummer",
    ),
    _Form("fr.nir", r"[12] ?\d{2} ?[0-3]\d ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}"),
    _Form("es.dni", r"\d{8}[ -]?[A-Z]|\d{2}\.\d{3}\.\d{3}[ -]?[A-Z]"),
    _Form("es.nie", r"[XYZ][ -]?\d{7}[ -]?[A-Z]"),
    _Form("it.codicefiscale", r"[A-Z]{6} ?[0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2} ?[A-Z][0-9LMNP-V]{3}[A-Z]"),
    _Form("nl.bsn", "", r"\d{9}|\d{4}\.\d{2}\.\d{3}|\d{3} \d{3} \d{3}", r"bsn|burgerservice|sofi"),
    _Form("be.nn", r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", r"\d{11}", r"rijksregister|registre national|niss|insz"),
    _Form("pl.pesel", "", r"\d{11}", r"pesel"),
    _Form("pt.nif", "", r"\d{3} ?\d{3} ?\d{3}", r"\bnif\b|contribuinte"),
    _Form("se.personnummer", r"(?:\d{2})?\d{6}[-+]\d{4}"),
    _Form("fi.hetu", r"[0-3]\d[01]\d{3}[-+ABCDEFYXWVU]\d{3}[0-9A-Y]"),
    _Form("dk.cpr", "", r"\d{6}-?\d{4}", r"\bcpr\b|personnummer"),
    _Form("no.fodselsnummer", r"[0-7]\d[01]\d{3} \d{5}", r"\d{11}", r"f.dselsn|personnummer"),
    _Form("ch.ssn", r"756\.?\d{4}\.?\d{4}\.?\d{2}"),
    _Form("at.vnr", "", r"\d{4} ?\d{6}", r"svnr|sv-nummer|sozialversicherung|versicherungsnummer"),
    _Form("ie.pps", "", r"\d{7}[A-W][A-IW]?", r"\bpps"),
    _Form("br.cpf", r"\d{3}\.\d{3}\.\d{3}-\d{2}", r"\d{11}", r"\bcpf\b"),
    _Form("ca.sin", "", r"\d{3}[ -]?\d{3}[ -]?\d{3}", r"\bsin\b|social insurance"),
    _Form("au.tfn", "", r"\d{3} ?\d{3} ?\d{2,3}", r"\btfn\b|tax file"),
    _Form("in_.aadhaar", "", r"\d{4}[ -]?\d{4}[ -]?\d{4}", r"aadhaar|aadhar|uidai"),
    _Form("in_.pan", r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]"),
    _Form("cn.ric", r"[1-9]\d{5}(?:19|20)\d{9}[0-9X]"),
    _Form("mx.curp", r"[A-Z][AEIOUX][A-Z]{2}\d{6}[HMX][A-Z]{5}[0-9A-Z]\d"),
    _Form("kr.rrn", r"\d{6}-[1-8]\d{6}"),
    _Form("za.idnr", "", r"\d{13}|\d{6} \d{4} \d{3}", r"\bid\b|identity"),
    _Form("tr.tckimlik", "", r"\d{11}", r"t\.?c\.?(?: kimlik)?\b|kimlik"),
    _Form("ro.cnp", "", r"[1-9]\d{12}", r"\bcnp\b|cod numeric"),
    _Form("cz.rc", r"", r"\d{6}/?\d{3,4}", r"rodn. ..slo|\brč\b|birth number"),
)

_NINO = re.compile(  # the United Kingdom's number has no check digit, but letters that are never given
    r"(?<![\w])(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]( ?)\d{2}\1\d{2}\1\d{2}\1[A-D](?!\w)"
)
_TELEPHONE = re.compile(
    r"\b(?:tele?(?:phone|fon|fono)?|phones?|call(?:ed|ing)?|mobile|mobil|cell(?:phone)?|handy|fax|whats ?app|sms|"
    r"text(?:ed|ing)?(?: me| her| him)?|signal|reach(?:ed)? (?:me|her|him|us)|ring|dial|hotline|numbers?|no)\b",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"\d(?:[ ().\-/\u00a0\u2011]{0,3}\d){6}")  # at least seven with little in between


def national_ids() -> Detector:
    """Return the detector of national numbers.

    Raises:
        MissingExtra: python-stdnum is not installed.
    """
    forms = [_compiled(form) for form in _FORMS]

    def detect(text: str) -> Iterator[Span]:
        if not any(letter.isdigit() for letter in text):
            return
        for found in _NINO.finditer(text):
            yield Span(found.start(), found.end(), "national_id", 0.85)
        for form in forms:
            yield from form(text)

    return detect


def _compiled(form: _Form) -> Callable[[str], Iterator[Span]]:
    module = require(f"stdnum.{form.module}", "recognise national identity numbers")
    written, bare = (
        re.compile(rf"(?<![\w.+-])(?:{pattern})(?![\w-]|[.,/]\d)") if pattern else None
        for pattern in (form.written, form.bare)
    )
    words = re.compile(form.words, re.IGNORECASE) if form.words else None

    def detect(text: str) -> Iterator[Span]:
        if written is not None:
            for found in every_start(written, text):
                if module.is_valid(found[0]):
                    yield Span(found.start(), found.end(), "national_id", 0.9)
        if bare is None or words is None or not words.search(text):
            return
        for found in every_start(bare, text):
            if _is_beside(words, text, found.start(), found.end()) and module.is_valid(found[0]):
                yield Span(found.start(), found.end(), "national_id", 0.92)

    return detect


def _is_beside(words: re.Pattern[str], text: str, start: int, end: int) -> bool:
    return bool(words.search(text, max(0, start - _WORDS_BEFORE), start) or words.search(text, end, end + _WORDS_AFTER))


def phones(regions: Sequence[str]) -> Detector:
    """Return the detector of telephone numbers.

    International numbers are found as such; national ones of the regions when they are written in groups, or beside
    a word like "phone" or "call".

    Args:
        regions: Countries in whose national form numbers are written, as ISO 3166 letters.

    Raises:
        MissingExtra: phonenumbers is not installed.
    """
    library = require("phonenumbers", "recognise telephone numbers")

    def detect(text: str) -> Iterator[Span]:
        if not _DIGITS.search(text):
            return
        seen: set[tuple[int, int]] = set()
        for region in (None, *regions):
            for found in library.PhoneNumberMatcher(text, region, library.Leniency.VALID, 200):
                place = (found.start, found.end)
                if place not in seen and (sure := _sureness(text, *place)):
                    seen.add(place)
                    yield Span(*place, "phone", sure)

    return detect


def _sureness(text: str, start: int, end: int) -> float:
    said = text[start:end]
    if re.search(r"\s\s", said):  # columns of a table
        return 0.0
    if said.lstrip("(").startswith("+") or text[max(0, start - 1) : start] == "+":
        return 0.9
    if _is_beside(_TELEPHONE, text, start, end):
        return 0.8
    is_grouped = re.fullmatch(r"\(?\d{2,5}\)?(?:[ .\-/]{1,2}\(?\d{2,4}\)?){2,4}|\(\d{2,5}\) ?\d{3,8}", said)
    return 0.7 if is_grouped else 0.0
