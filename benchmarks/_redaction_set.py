"""Labelled sentences for redaction: positives made from rules, look-alikes written by hand, and real text.

Nothing here is anybody's: numbers are drawn by lot within the published forms, keys are random letters after the
prefixes of their makers.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import random
import re
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text, and where a thing of which kind stands in it; no kind for a look-alike."""

    text: str
    start: int = 0
    end: int = 0
    kind: str = ""
    form: str = ""


FRAMES = {
    "email": (
        "Write to {} before Friday.",
        "{}",
        "From: Ann Lee <{}>",
        "cc {}, please",
        '{{"contact": "{}"}}',
        "My address is {}.",
        "(see {})",
        "mailto:{}?subject=hives",
    ),
    "phone": (
        "Call me at {} after six.",
        "Phone: {}",
        "Her mobile is {}.",
        "tel. {}",
        "My new number is {}, save it!",
        "{} is the best number to reach me",
        "WhatsApp {}",
    ),
    "phone written out": ("It is {}.", "Ann Lee, 12 Mill Lane, {}", "{}", "Reception\n{}\nopen daily"),
    "card": (
        "Charge {} please.",
        "card {} exp 09/27",
        "{}",
        "Visa ending soon: {}.",
        '"pan": "{}"',
        "pay with {}, cvv 123",
    ),
    "iban": ("IBAN: {}", "Transfer the rent to {} by Monday.", "{}", "our account ({})", "to {} please"),
    "key": ("{}", "export TOKEN={}", "I pasted {} into the chat.", 'key: "{}"', "curl -H 'X-Key: {}'", "`{}`"),
    "ip": ("The server is {}.", "{} - - GET /index.html", "ssh root@{}", "ping {} fails", "from {} to the gateway"),
}


def _pick(draw: random.Random, letters: str, number: int) -> str:
    return "".join(draw.choice(letters) for _ in range(number))


def _luhn_end(digits: str) -> str:
    total = sum(
        (int(d) * 2 - 9 if int(d) > 4 else int(d) * 2) if place % 2 == 0 else int(d)
        for place, d in enumerate(reversed(digits))
    )
    return digits + str(-total % 10)


def _emails(draw: random.Random) -> Iterator[tuple[str, str]]:
    names = ("ann", "j.o'brien", "maria_silva", "x", "tom+news", "wei-chen", "müller", "a.b.c.d", "user%corp", "li99")
    hosts = ("example.org", "mail.example.co.uk", "exämple.de", "a-b.example.museum", "sub.dept.example.edu", "ex.io")
    for _ in range(60):
        yield "plain", f"{draw.choice(names)}{draw.randrange(1000)}@{draw.choice(hosts)}"
    for at, dot in ((" (at) ", " (dot) "), ("[at]", "[dot]"), (" [at] ", ".")):
        yield "spelled", f"ann{draw.randrange(99)}{at}example{dot}org"


def _cards(draw: random.Random) -> Iterator[tuple[str, str]]:
    for prefix, length in (("4", 16), ("51", 16), ("2221", 16), ("37", 15), ("6011", 16), ("36", 14), ("3530", 16)):
        for number in range(8):
            digits = _luhn_end(prefix + _pick(draw, string.digits, length - len(prefix) - 1))
            sizes = {16: (4, 4, 4, 4), 15: (4, 6, 5), 14: (4, 6, 4)}[length]
            mark = ("", " ", "-", "\u00a0")[number % 4]
            parts, place = [], 0
            for size in sizes:
                parts.append(digits[place : place + size])
                place += size
            yield f"{length} digits, {mark!r}", mark.join(parts)


_IBANS = {"DE": "n18", "GB": "a4n14", "FR": "n10c11n2", "ES": "n20", "IT": "a1n10c12", "NL": "a4n10", "CH": "n5c12"}
_IBANS |= {"BE": "n12", "AT": "n16", "PL": "n24", "PT": "n21", "SE": "n20", "NO": "n11", "SA": "n2c18"}


def _ibans(draw: random.Random) -> Iterator[tuple[str, str]]:
    from stdnum import iban

    letters = {"n": string.digits, "a": string.ascii_uppercase, "c": string.ascii_uppercase + string.digits}
    for country, form in _IBANS.items():
        for style in ("whole", "groups", "small"):
            while True:
                body = "".join(
                    _pick(draw, letters[sort], int(size)) for sort, size in re.findall(r"([nac])(\d+)", form)
                )
                number = int("".join(str(int(letter, 36)) for letter in body + country + "00"))
                found = f"{country}{98 - number % 97:02d}{body}"
                if iban.is_valid(found, check_country=False):
                    break
            groups = " ".join(found[place : place + 4] for place in range(0, len(found), 4))
            yield style, {"whole": found, "groups": groups, "small": found.lower()}[style]


def _keys(draw: random.Random) -> Iterator[tuple[str, str]]:
    alnum, url = string.ascii_letters + string.digits, string.ascii_letters + string.digits + "_-"
    hexa = "0123456789abcdef"

    def some(letters: str, number: int) -> str:
        return _pick(draw, letters, number - 2) + "a7"

    makers: dict[str, Callable[[], str]] = {
        "aws": lambda: "AKIA" + _pick(draw, string.ascii_uppercase + "234567", 16),
        "github": lambda: f"gh{draw.choice('pousr')}_" + some(alnum, 36),
        "github fine": lambda: "github_pat_" + some(alnum, 22) + "_" + some(alnum, 59),
        "gitlab": lambda: "glpat-" + some(url, 20),
        "slack": lambda: f"xoxb-{draw.randrange(10**11)}-{draw.randrange(10**12)}-" + some(alnum, 24),
        "stripe": lambda: f"sk_{draw.choice(['live', 'test'])}_" + some(alnum, 24),
        "google": lambda: "AIza" + some(url, 35),
        "anthropic": lambda: "sk-ant-api03-" + some(url, 95),
        "openai": lambda: "sk-proj-" + some(url, 48),
        "openai old": lambda: "sk-" + some(alnum, 48),
        "hugging face": lambda: "hf_" + some(alnum, 34),
        "npm": lambda: "npm_" + some(alnum, 36),
        "sendgrid": lambda: "SG." + some(url, 22) + "." + some(url, 43),
        "jwt": lambda: ".".join(
            base64.urlsafe_b64encode(part).decode().rstrip("=")
            for part in (
                b'{"alg":"HS256","typ":"JWT"}',
                json.dumps({"sub": draw.randrange(10**9)}).encode(),
                draw.randbytes(32),
            )
        ),
        "pem": lambda: (
            "-----BEGIN RSA PRIVATE KEY-----\n"
            + "\n".join(_pick(draw, alnum + "+/", 64) for _ in range(5))
            + "\n-----END RSA PRIVATE KEY-----"
        ),
    }
    for form, make in makers.items():
        for _ in range(4):
            yield form, make()
    for _ in range(6):
        yield "assigned", f"api_key={_pick(draw, hexa, 30) + 'a7'}|"
        yield "assigned", f'"client_secret": "{some(alnum, 32)}"|{1}'
        yield "assigned", f"password: {draw.choice(['Tulip', 'blue', 'Hive'])}{draw.randrange(10, 9999)}!|"
        yield "assigned", f"postgres://app:{some(alnum, 14)}@db.internal/main|"
        yield "assigned", f"Authorization: Bearer {some(alnum, 40)}|"


_VALUE = re.compile(
    r"(?:api_key=|\"client_secret\": \"|password: |app:|Bearer )([^\s|\"@]+)"
)  # what of an assignment is the secret


def _ips(draw: random.Random) -> Iterator[tuple[str, str]]:
    for _ in range(24):
        yield "four", f"{draw.randrange(1, 127)}.{draw.randrange(256)}.{draw.randrange(256)}.{draw.randrange(1, 255)}"
    for _ in range(20):
        groups = [f"{draw.randrange(4096, 65536):x}" for _ in range(8)]
        yield "six", draw.choice((":".join(groups), f"2001:db8::{groups[0]}", f"fe80::{groups[1]}:{groups[2]}:1"))


def _phones(draw: random.Random) -> Iterator[tuple[str, str]]:
    import phonenumbers as p

    for region in ("US", "GB", "DE", "FR", "ES", "IT", "NL", "IN", "BR", "JP", "AU", "SE"):
        for sort in (p.PhoneNumberType.MOBILE, p.PhoneNumberType.FIXED_LINE):
            for _ in range(2):
                number = p.example_number_for_type(region, sort)
                while True:
                    tail = str(number.national_number)[:-5] + f"{draw.randrange(100_000):05d}"
                    drawn = p.PhoneNumber(
                        country_code=number.country_code,
                        national_number=int(tail),
                        italian_leading_zero=number.italian_leading_zero,
                    )
                    if p.is_valid_number(drawn):
                        break
                yield "international", p.format_number(drawn, p.PhoneNumberFormat.INTERNATIONAL)
                yield "E.164", p.format_number(drawn, p.PhoneNumberFormat.E164)
                if region in ("US", "GB"):
                    yield "national", p.format_number(drawn, p.PhoneNumberFormat.NATIONAL)
                    yield "national, bare", re.sub(r"\D", "", p.format_number(drawn, p.PhoneNumberFormat.NATIONAL))
                    yield (
                        "national, dots",
                        re.sub(r"[ ()-]+", ".", p.format_number(drawn, p.PhoneNumberFormat.NATIONAL)).strip("."),
                    )


_IDS = {  # module: form to draw from (n digit, A letter, else itself), words in front
    "us.ssn": ("nnn-nn-nnnn", ("SSN: ", "my social security number is ", "")),
    "gb.nhs": ("nnn nnn nnnn", ("NHS number ",)),
    "de.idnr": ("nnnnnnnnnnn", ("Meine Steuer-ID ist ", "IdNr. ")),
    "fr.nir": ("1nn0nnnnnnnnnnn", ("Sécu : ", "")),
    "es.dni": ("nnnnnnnnA", ("Mi DNI es ", "")),
    "es.nie": ("XnnnnnnnA", ("NIE ", "")),
    "nl.bsn": ("nnnnnnnnn", ("BSN ", "burgerservicenummer: ")),
    "pl.pesel": ("nn0n1nnnnnn", ("PESEL ",)),
    "se.personnummer": ("nn0n1n-nnnn", ("personnummer ", "")),
    "fi.hetu": ("1n0nnn-nnnA", ("hetu ", "")),
    "ch.ssn": ("756.nnnn.nnnn.nn", ("AHV ", "")),
    "br.cpf": ("nnn.nnn.nnn-nn", ("CPF ", "")),
    "ca.sin": ("nnn nnn nnn", ("my SIN is ",)),
    "au.tfn": ("nnn nnn nnn", ("TFN: ",)),
    "in_.aadhaar": ("nnnn nnnn nnnn", ("Aadhaar ",)),
    "in_.pan": ("AAAPAnnnnA", ("PAN ", "")),
    "kr.rrn": ("nn0n1n-1nnnnnn", ("",)),
    "cn.ric": ("110101199nnnnnnnnn", ("", "ID ")),
    "be.nn": ("nn.0n.1n-nnn.nn", ("",)),
    "it.codicefiscale": ("RSSMRAnnA1nHnnnA", ("CF ", "")),
}


def _ids(draw: random.Random) -> Iterator[tuple[str, str, str]]:
    for module, (form, words) in _IDS.items():
        is_valid = importlib.import_module(f"stdnum.{module}").is_valid
        for number in range(4):
            while True:
                drawn = "".join(
                    draw.choice(string.digits)
                    if letter == "n"
                    else draw.choice(string.ascii_uppercase)
                    if letter == "A" and module != "in_.pan"
                    else draw.choice("ABCDEFGH")
                    if letter == "A"
                    else letter
                    for letter in form
                )
                if module == "it.codicefiscale":
                    drawn = drawn[:8] + draw.choice("ABCDEHLMPRST") + drawn[9:]
                if is_valid(drawn):
                    break
            yield module, words[number % len(words)], drawn
    for _ in range(4):
        prefix = draw.choice(("AB", "JK", "SM", "PW"))
        yield "gb.nino", "NI number ", f"{prefix} {_pick(draw, string.digits, 2)} 34 56 {draw.choice('ABCD')}"


def positives(seed: int = 11) -> list[Labelled]:
    """Return labelled sentences, over 400; the same for the same seed."""
    draw = random.Random(seed)
    out: list[Labelled] = []

    def framed(kind: str, form: str, thing: str, frame: str) -> None:
        before, after = (
            frame.split("{}") if "{{" not in frame else frame.replace("{{", "{").replace("}}", "}").split("{}")
        )
        out.append(Labelled(before + thing + after, len(before), len(before) + len(thing), kind, form))

    makers = {"email": _emails, "card": _cards, "iban": _ibans, "ip": _ips, "phone": _phones}
    for kind, make in makers.items():
        for form, thing in make(draw):
            needs_words = kind != "phone" or form == "national, bare"
            frames = FRAMES[kind] if needs_words else FRAMES["phone"] + FRAMES["phone written out"]
            framed(kind, form, thing, draw.choice(frames))
    for form, thing in _keys(draw):
        if form != "assigned":
            framed("key", form, thing, draw.choice(FRAMES["key"]))
            continue
        text = thing.rpartition("|")[0]
        found = _VALUE.search(text)
        if found:
            out.append(Labelled(text, found.start(1), found.end(1), "key", form))
    for form, words, thing in _ids(draw):
        framed("national_id", form, thing, f"{words}{{}}" + draw.choice(("", ".", " is on the form", ", thanks")))
    return out


LOOK_ALIKES = """
The order 4532 arrived on 2024-05-01 at 12:30:45.
ISBN 978-3-16-148410-0 is on the shelf.
Commit 9fceb02d0ae598e95dc970b74767f19372d61af8 fixed it.
Her flight is LH 1234 on 12.05.2024, gate B22.
Python 3.11.9, numpy 2.1.0 and build 10.4.1.2.
Version 1.2.3.4 of the tool is out.
Section 4.3.2.1 explains the rule.
The map says 48.8566, 2.3522.
Invoice 2024-000123 over 1,234,567.89 euros.
Tracking 1Z999AA10123456784 shows no news.
The MAC is 00:1b:63:84:45:e6.
x[::2] reverses every other one; std::vector is another matter.
UUID 123e4567-e89b-12d3-a456-426614174000 names the row.
He scored 4111 points in 1111 rounds.
The population is 67 081 000 in 2019.
@ann said hi, and so did @bob.
See the decorator @functools.lru_cache(maxsize=None).
Reply at 5 (at the latest) please.
I was born in 1985 and moved in 2007.
The range 100-200-3000 is too wide.
pi is 3.14159265358979 and e is 2.718281828459045.
password is a word of eight letters.
The secret is to knead it well.
Her token of thanks was a jar of honey.
The key is under the mat.
access key: see the manual
token = tokenizer.next_token()
api_key = os.environ["API_KEY"]
password = getpass.getpass()
secret_key: str | None = None
The numbers 12, 24, 36, 48, 60 and 72 are multiples of twelve.
Room 12345678 does not exist.
ticket 123456789 is closed
The part 987-65-432 was replaced.
sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
The epoch was 1700000000 and then 1700000000123.
It costs 1 000 000 000 pounds.
Lot 4 1 1 1 was sold.
DE12 is a road in Derby.
GB29 is not an account.
127.0.0.1 and 0.0.0.0 are local; the mask is 255.255.255.0.
The ratio was 3:4:5 in 12::30 notation.
abc::def is a C++ name.
5 - 3 = 2 and 10.5.3 is a heading.
Call 911 in an emergency.
I ran 5 km in 25:30 and 10 km in 52:10.
Chapter 10, verses 12-15, 20-25.
John 3:16-18 was read.
The score was 6-4 6-3 7-6.
The meeting 2024-05-01 10:00-11:30 is moved.
Years 1914-1918 and 1939-1945.
sk-learn is a library, sk-iing is a sport.
The hash abcdefabcdefabcd is short.
He owes me 50-60 dollars.
5551234 is not a whole number here.
Order #1234567890123456 was refunded.
Serial SN-2023-0042-7781-9921 is on the back.
temperature 21.5 22.0 22.5 23.0
Use --max-old-space-size=4096 there.
Ph. D. 2003, M. A. 1999.
EAN 4006381333931 is a pen.
12345678 rows were read.
The code is ABCDEF in the demo.
""".strip().splitlines()
"""Sentences in which nothing is to be found."""


def negatives() -> list[Labelled]:
    """Return the look-alikes."""
    return [Labelled(text) for text in LOOK_ALIKES]


_END = re.compile(r"(?<=[.!?])\s+|\n{2,}")


def real_sentences() -> dict[str, list[str]]:
    """Return sentences of real text by source: the Python reference, and books and talks below ``PINYON_DATA``."""
    out = {"python reference": [text for topic in topics.values() for text in _END.split(topic)]}
    folder = os.environ.get("PINYON_DATA")
    if folder:
        books = sorted((Path(folder) / "books").glob("**/*.txt"))
        out["books"] = [t for book in books for t in _END.split(book.read_text(encoding="utf-8", errors="replace"))]
        talks = json.loads((Path(folder) / "locomo" / "locomo_dev6.json").read_text(encoding="utf-8"))
        out["LoCoMo"] = [
            turn["text"]
            for talk in talks
            for name, turns in talk["conversation"].items()
            if isinstance(turns, list)
            for turn in turns
        ]
    return {name: [text.strip() for text in texts if text.strip()] for name, texts in out.items() if texts}
