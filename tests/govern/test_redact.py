"""What is found in a draft, what becomes of it, and that nothing of it is left."""

from __future__ import annotations

import importlib.util
import json
import logging
import random
import re
import string
import sys
from collections import Counter
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinyon.core.cube import Draft
from pinyon.core.header import Header, Provenance, Rights, header_to_json
from pinyon.core.payload import State, Text
from pinyon.errors import BadInput, MissingExtra
from pinyon.govern import _detect_patterns, redact
from pinyon.govern._detect_patterns import luhn
from pinyon.govern._detect_spans import Span, union
from pinyon.govern._detect_user import pattern_detector
from pinyon.govern.redact import KINDS, RedactionRule, Redactor, default_rules

KEY = b"a key of the store"
HAS_EXTRA = find_spec("stdnum") is not None and find_spec("phonenumbers") is not None
needs_extra = pytest.mark.skipif(not HAS_EXTRA, reason="the extra govern is not installed")
CARD = "4111 1111 1111 1111"
TOKEN = "ghp_" + "a1B2c3" * 6


def labelled() -> ModuleType:
    file = Path(__file__).parents[2] / "benchmarks" / "_redaction_set.py"
    spec = importlib.util.spec_from_file_location("_redaction_set", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module


def redactor(*rules: RedactionRule) -> Redactor:
    return Redactor(rules or default_rules(), key=KEY)


def kinds(text: str) -> list[tuple[str, str]]:
    return [(text[span.start : span.end], span.kind) for span in redactor().spans(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Write to ann.lee+x@mail.example.co.uk.", [("ann.lee+x@mail.example.co.uk", "email")]),
        ("bob (at) example (dot) org", [("bob (at) example (dot) org", "email")]),
        ("pay with 5555-5555-5555-4444 now", [("5555-5555-5555-4444", "card")]),
        ("amex 378282246310005", [("378282246310005", "card")]),
        ("2 4111 1111 1111 1111 09 2027", [("4111 1111 1111 1111", "card")]),
        ("AB12 DE89 3704 0044 0532 0130 00 1", [("DE89 3704 0044 0532 0130 00", "iban")]),
        ("to DE89 3704 0044 0532 0130 00 by Monday", [("DE89 3704 0044 0532 0130 00", "iban")]),
        ("gb29nwbk60161331926819", [("gb29nwbk60161331926819", "iban")]),
        ("AKIAIOSFODNN7EXAMPLE", [("AKIAIOSFODNN7EXAMPLE", "key")]),
        ('password = "hunter2!"', [("hunter2!", "key")]),
        ("from 203.0.113.7 and 2001:db8::8a2e:370:7334", [("203.0.113.7", "ip"), ("2001:db8::8a2e:370:7334", "ip")]),
    ],
)
def test_patterns_need_no_extra(text: str, found: list[tuple[str, str]]) -> None:
    assert kinds(text) == found


@needs_extra
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("call +44 20 7946 0958 or (650) 253-0000", [("+44 20 7946 0958", "phone"), ("(650) 253-0000", "phone")]),
        ("my number is 6502530000", [("6502530000", "phone")]),
        ("item 6502530000", []),
        ("SSN 536-90-4399", [("536-90-4399", "national_id")]),
        ("BSN: 111222333", [("111222333", "national_id")]),
        ("item 111222333", []),
        ("BSN: 999 111 222 333", [("111 222 333", "national_id")]),
        ("Mi DNI es 12345678Z.", [("12345678Z", "national_id")]),
        ("Mi DNI es 12345678A.", []),
        ("NI number AB 12 34 56 C", [("AB 12 34 56 C", "national_id")]),
    ],
)
def test_numbers_are_told_apart_by_check_digits_and_words(text: str, found: list[tuple[str, str]]) -> None:
    assert kinds(text) == found


@needs_extra
def test_look_alikes_are_left_alone() -> None:
    wrong = [found for text in labelled().LOOK_ALIKES for found in kinds(text)]
    assert wrong == []


@needs_extra
def test_what_is_made_from_the_rules_is_found_whole() -> None:
    wanted: Counter[str] = Counter()
    found: Counter[str] = Counter()
    right = total = 0
    redact_ = redactor()
    for item in labelled().positives():
        spans = redact_.spans(item.text)
        wanted[item.kind] += 1
        found[item.kind] += any(s.kind == item.kind and s.start <= item.start and item.end <= s.end for s in spans)
        total += len(spans)
        right += sum(s.kind == item.kind and s.start < item.end and item.start < s.end for s in spans)
    assert wanted.total() >= 400
    assert set(wanted) == set(KINDS)
    for kind in KINDS:
        assert found[kind] / wanted[kind] >= 0.97, kind
    assert right / total >= 0.98


@pytest.mark.parametrize("seed", range(3))
def test_luhn_agrees_with_the_plain_rule(seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(200):
        digits = "".join(draw.choice(string.digits) for _ in range(draw.randrange(2, 20)))
        total = 0
        for place, digit in enumerate(reversed(digits)):
            value = int(digit) * (2 if place % 2 else 1)
            total += value // 10 + value % 10
        assert luhn(digits) == (total % 10 == 0)


_SPANS = st.lists(
    st.builds(
        lambda start, length, kind, sure: Span(start, start + length, kind, sure),
        st.integers(0, 30),
        st.integers(1, 8),
        st.sampled_from("abc"),
        st.sampled_from([0.5, 0.9]),
    ),
    max_size=8,
)


@given(_SPANS)
def test_the_union_covers_what_its_parts_cover_and_nothing_twice(spans: list[Span]) -> None:
    joined = union(spans)
    covered = [place for span in joined for place in range(span.start, span.end)]
    assert sorted(covered) == sorted({place for span in spans for place in range(span.start, span.end)})
    assert all(one.end <= two.start for one, two in pairwise(joined))
    for span in joined:
        inside = [part for part in spans if span.start <= part.start < span.end]
        assert span.sure == max(part.sure for part in inside)
        assert any((part.kind, part.sure) == (span.kind, span.sure) for part in inside)


SECRETS = {"email": "ann@example.org", "card": CARD, "key": TOKEN, "ip": "203.0.113.7"}


def draft(secret: str) -> Draft:
    provenance = Provenance(
        speaker=secret, title=f"re {secret}", section=(f"on {secret}",), thread=f"t {secret}", source=f"mail/{secret}"
    )
    metadata = {"from": secret, "deep": [{secret: [secret, 1, None]}], "n": 3}
    return Draft(Text(f"I gave {secret} to Bob."), Header(provenance=provenance, tags=(secret,), metadata=metadata))


@pytest.mark.parametrize("kind", sorted(SECRETS))
def test_what_is_masked_is_nowhere_in_the_draft(kind: str) -> None:
    (found,) = redactor(RedactionRule(kind, "mask")).apply([draft(SECRETS[kind])])
    kept = str(found) + json.dumps(header_to_json(found.header))
    assert SECRETS[kind] not in kept
    assert found.payload == Text(f"I gave [{kind}] to Bob.")
    assert found.header.metadata["from"] == f"[{kind}]"
    assert found.header.rights.sensitivity == ()


@pytest.mark.parametrize("kind", sorted(SECRETS))
def test_what_is_tagged_stays_and_is_labelled(kind: str) -> None:
    given_ = draft(SECRETS[kind])
    done = redactor(RedactionRule(kind, "tag")).redact([given_, Draft(Text("Bees."))])
    first, second = done.drafts
    assert first.payload == given_.payload
    assert first.header.rights.sensitivity == (kind,)
    assert second == Draft(Text("Bees."))
    assert (done.tagged, done.masked) == ({kind: 1}, {})


def test_labels_that_are_there_stay_and_come_once() -> None:
    rights = Rights(sensitivity=("hr", "email"))
    (found,) = redactor().apply([Draft(Text("ann@example.org 203.0.113.7"), Header(rights=rights))])
    assert found.header.rights.sensitivity == ("hr", "email", "ip")


@pytest.mark.parametrize("kind", sorted(SECRETS))
def test_what_is_blocked_is_refused_by_its_kind_and_never_named(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(BadInput, match=kind) as caught:
        redactor(RedactionRule(kind, "block")).apply([draft(SECRETS[kind])])
    said = f"{caught.value!r} {caught.value.hint} {caught.value.__context__} {caplog.text}"
    assert SECRETS[kind] not in said


def test_a_card_keeps_its_last_four_digits_and_others_nothing() -> None:
    mask = redactor(*default_rules("mask"))
    assert mask.text(f"card {CARD}, mail ann@example.org") == "card [card 1111], mail [email]"


def test_pseudonyms_are_equal_for_equal_things_and_need_the_key() -> None:
    rule = RedactionRule("email", "mask", has_pseudonyms=True)
    one, two = redactor(rule), Redactor([rule], key=b"another key, 16 b")
    assert one.text("ann@example.org") == one.text("ANN@example.org")
    assert one.text("ann@example.org") != one.text("bob@example.org")
    assert one.text("ann@example.org") != two.text("ann@example.org")
    assert re.fullmatch(r"\[email [a-z]{8}\]", one.text("ann@example.org"))


def test_two_speakers_stay_two_when_their_names_are_masked() -> None:
    names = ("ann@example.org", "bob@example.org")
    drafts = [Draft(Text("Hi."), Header(provenance=Provenance(speaker=name))) for name in names]
    speakers = [found.header.provenance.speaker for found in redactor(RedactionRule("email", "mask")).apply(drafts)]
    assert len(set(speakers)) == 2
    assert redactor(RedactionRule("email", "mask")).name(names[0]) == speakers[0]


def test_modes_mix_and_what_is_masked_is_not_labelled() -> None:
    rules = (RedactionRule("email", "tag"), RedactionRule("key", "mask"))
    done = redactor(*rules).redact([Draft(Text(f"ann@example.org {TOKEN} postgres://u:pa55word@db.example.org/x"))])
    assert done.drafts[0].payload == Text("ann@example.org [key] postgres://u:[key]@db.example.org/x")
    assert done.drafts[0].header.rights.sensitivity == ("email",)
    assert done.masked == {"key": 2}


def test_a_number_in_metadata_is_looked_at_too() -> None:
    header = Header(metadata={"pan": 4111111111111111, "n": 12, "yes": True})
    (found,) = redactor(RedactionRule("card", "mask", keep_last=4)).apply([Draft(Text("x"), header)])
    assert found.header.metadata == {"pan": "[card 1111]", "n": 12, "yes": True}


def test_a_state_has_no_words_to_cover() -> None:
    given_ = Draft(State((), {}))
    assert redactor().apply([given_]) == [given_]


_TEXTS = st.lists(
    st.one_of(st.text(max_size=12), st.sampled_from([*SECRETS.values(), "DE89370400440532013000", "tel 650-253-0000"])),
    max_size=6,
).map(" ".join)


@given(_TEXTS, st.booleans())
def test_masking_twice_changes_nothing_more(text: str, has_pseudonyms: bool) -> None:
    rules = [RedactionRule(rule.kind, "mask", keep_last=4, has_pseudonyms=has_pseudonyms) for rule in default_rules()]
    once = redactor(*rules).text(text)
    assert redactor(*rules).text(once) == once
    assert not any(secret in once for secret in SECRETS.values())


@needs_extra
@given(
    st.sampled_from(
        [item for item in labelled().positives(7) if item.kind in ("card", "iban", "email")] if HAS_EXTRA else [None]
    ),
    st.sampled_from(["", "0 ", "12 ", "Hi ", "(", '"', "=", "4111 ", "2024-05-01 ", "A1 ", "1,", "é ", "\n"]),
    st.sampled_from(["", " 1", " 2027", ")", '"', ".", ",", " Bob", "\n", " 09/27", " x@example.org"]),
)
def test_neighbours_do_not_hide_a_thing(item: Any, before: str, after: str) -> None:
    thing = item.text[item.start : item.end]
    covered = redactor().spans(before + thing + after)
    assert any(span.start <= len(before) and len(before + thing) <= span.end for span in covered)


@given(_TEXTS)
def test_offsets_lie_in_the_text_and_do_not_overlap(text: str) -> None:
    spans = redactor().spans(text)
    assert all(0 <= span.start < span.end <= len(text) for span in spans)
    assert all(one.end <= two.start for one, two in pairwise(spans))


def test_a_rule_of_ones_own_finds_what_it_says() -> None:
    rule = RedactionRule("employee", "mask", pattern=r"\bEMP-\d{4,6}\b")
    assert redactor(rule).text("EMP-1234 met EMP-99 and EMP-123456.") == "[employee] met EMP-99 and [employee]."


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$", r"(a|a)*b", r"(a|aa)*c", r"\w*\w*\w*x", r"(\w+\s?)*z", r".*.*=.*", r"(x)\1", r"a?" * 40 + "b",
        r"([а-я]+)*ю", r"(?=(a+)+b)c", r"(?:\d+)*\d", r"[^x]*[^y]*[^z]*w",
    ],
)  # fmt: skip
def test_an_expression_that_could_be_slow_is_refused(pattern: str) -> None:
    rule = RedactionRule("mine", "mask", pattern=pattern)
    with pytest.raises(BadInput, match="very long"):
        redactor(rule)


@pytest.mark.parametrize(
    "pattern",
    [
        r"EMP-\d+", r"(?i)project (?:apollo|gemini)", r"[A-Z]{2}\d{6}", r"(?:\d{4}[ -]?){3}\d{4}", r"\w+@\w+\.corp",
        r"PRJ-[\w-]{1,20}", r"(?:ab|cd)+e", r".*secret", r"(?:[A-Z]+-)+\d+",
    ],
)  # fmt: skip
def test_an_expression_that_cannot_be_slow_is_taken(pattern: str) -> None:
    detect = pattern_detector("mine", pattern)
    hostile = ("a" * 5000, "A-" * 2500, "1234 " * 1000, "ab" * 2500, "a@" * 2500)
    for text in hostile:
        assert all(0 <= span.start < span.end <= len(text) for span in detect(text))


@pytest.mark.parametrize("pattern", ["(", "a*", "", "x{0,3}", "y" * 501])
def test_an_expression_that_cannot_be_used_is_refused(pattern: str) -> None:
    with pytest.raises(BadInput):
        redactor(RedactionRule("mine", pattern=pattern))


@given(st.lists(st.sampled_from(["EMP-12345", "x", " ", "lorem ", "EMP-1"]), max_size=1200).map("".join))
def test_windows_find_what_one_search_finds(text: str) -> None:
    pattern = r"EMP-\d{4,6}"
    plain = [(found.start(), found.end()) for found in re.finditer(pattern, text)]
    assert [(span.start, span.end) for span in pattern_detector("mine", pattern)(text)] == plain


def test_the_built_in_patterns_are_quick_on_hostile_text() -> None:
    rules = [RedactionRule(kind) for kind in ("email", "card", "iban", "key", "ip")]
    for piece in (
        "a.",
        "1-",
        "4111 ",
        "DE12 ",
        "eyJ",
        "-----BEGIN PRIVATE KEY-----",
        "a@",
        "x(at)",
        "1.1.",
        "ab:",
        "password=",
    ):
        assert isinstance(redactor(*rules).spans(piece * (20_000 // len(piece))), list)


def test_without_the_extra_the_rest_goes_on_and_a_rule_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "find_spec", lambda name: None)
    monkeypatch.setattr(_detect_patterns, "find_spec", lambda name: None)
    for name in ("stdnum", "phonenumbers", "stdnum.us.ssn"):
        monkeypatch.setitem(sys.modules, name, None)
    assert [rule.kind for rule in default_rules()] == ["email", "card", "iban", "key", "ip"]
    assert kinds("DE89370400440532013000 and ann@example.org") == [
        ("DE89370400440532013000", "iban"),
        ("ann@example.org", "email"),
    ]
    for kind in ("phone", "national_id"):
        with pytest.raises(MissingExtra) as caught:
            redactor(RedactionRule(kind))
        assert "pinyon[govern]" in caught.value.hint


@pytest.mark.parametrize(
    "make",
    [
        lambda: RedactionRule("passport"),
        lambda: RedactionRule("email", "hide"),  # type: ignore[arg-type]
        lambda: RedactionRule("email", keep_last=9),
        lambda: RedactionRule("a]b", pattern="x"),
        lambda: Redactor([RedactionRule("email"), RedactionRule("email", "mask")], key=KEY),
        lambda: Redactor([RedactionRule("email")], key=b"short"),
    ],
)
def test_rules_that_cannot_be_used_are_refused(make: object) -> None:
    with pytest.raises(BadInput):
        make()  # type: ignore[operator]
