"""Facts that rules can read: who, which attribute, which value. English alone.

Only attributes of which a person has one at a time; only what is stated, not asked, denied, wished or supposed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from ..index.analyze import Analyzer

__all__ = ["SINGLE_VALUED", "Fact", "facts_in", "same_value"]


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that is said of a subject.

    Args:
        subject: Of whom or what, small letters; ``ann``, ``ann's sister``, ``the deadline``.
        attribute: Which one, as `SINGLE_VALUED` names it, or as metadata does.
        value: What it is said to be, small letters without articles.
        time: From when it holds, or when it was said.
        is_explicit: Whether metadata says so, and no rule.
    """

    subject: str
    attribute: str
    value: str
    time: datetime
    is_explicit: bool = False


_MINE = {  # nouns of "my … is …", and the attribute each stands for
    "name": "name", "nickname": "nickname", "surname": "surname", "last name": "surname", "pronouns": "pronouns",
    "phone number": "phone", "phone": "phone", "number": "phone", "mobile": "phone", "mobile number": "phone",
    "cell": "phone", "cell number": "phone", "email": "email", "e-mail": "email", "email address": "email",
    "mail": "email", "address": "address", "home address": "address", "hometown": "hometown", "job": "job",
    "occupation": "job", "profession": "job", "job title": "job", "position": "job", "role": "job",
    "employer": "employer", "company": "employer", "boss": "boss", "manager": "boss", "car": "car", "bike": "bike",
    "doctor": "doctor", "gp": "doctor", "dentist": "dentist", "therapist": "therapist", "landlord": "landlord",
    "bank": "bank", "age": "age", "birthday": "birthday", "height": "height", "weight": "weight",
    "shoe size": "shoe size", "hair color": "hair colour", "hair colour": "hair colour", "major": "major",
    "university": "university", "college": "university", "school": "school", "time zone": "time zone",
    "timezone": "time zone", "salary": "salary", "rent": "rent", "budget": "budget", "diet": "diet",
    "marital status": "marital status", "relationship status": "marital status", "husband": "spouse",
    "wife": "spouse", "spouse": "spouse", "native language": "native language", "mother tongue": "native language",
    "username": "username", "seat": "seat", "office": "office", "deadline": "deadline",
}  # fmt: skip
_THINGS = "deadline|meeting|appointment|venue|rent|price|budget|password|wifi password|code|door code|due date|address"

SINGLE_VALUED = frozenset(_MINE.values()) | {
    "home", "favourite …", "… name", "deadline", "meeting", "appointment", "venue", "price", "password",
    "wifi password", "code", "door code", "due date", "deadline time", "meeting time", "appointment time",
}  # fmt: skip
"""Attributes of which a subject has one at a time; "likes", "visited", "plays", "speaks", "has" are not among them."""

_PETS = "dog|cat|puppy|kitten|rabbit|parrot|horse|hamster|turtle|fish|bird|pet"
_KIN = (
    "mother|mom|mum|father|dad|sister|brother|son|daughter|wife|husband|partner|girlfriend|boyfriend|boss|uncle|aunt|"
    "grandmother|grandma|grandfather|grandpa|cousin|roommate|flatmate|neighbour|neighbor|best friend"
)
_WHO = rf"(?P<who>I|[Ww]e|(?:[Mm]y|[Oo]ur) (?:{_KIN})|[A-Z][\w'’-]{{1,30}}(?: [A-Z][\w'’-]{{1,30}})?)"
_OF = rf"(?P<of>(?<!of )\b[Mm]y(?: (?:{_KIN})['’]s)?|(?<!of )\b[Oo]ur|[A-Z][\w-]{{1,30}}(?: [A-Z][\w-]{{1,30}})?['’]s)"
_NOW = r"(?: (?:now|currently|just|recently|finally|also|still|actually|officially|already|both|all))?"
_HAVE = r"(?:['’](?:m|re|s|ve)| (?:am|are|is|have|has))?(?: been)?"
_CALLED = r"(?:an? (?:[a-z]+ )?(?:town|city|village|suburb|place|country) (?:called|named) )?"
_VALUE = r"(?P<value>(?:[^.!?;\n]|\.(?=\w)){1,80})"

_RULES: tuple[tuple[str, str], ...] = (
    ("home", rf"{_WHO}{_HAVE}{_NOW} (?:lives?|living|resides?|residing|based) in {_CALLED}{_VALUE}"),
    (
        "home",
        rf"{_WHO}{_HAVE}{_NOW} (?:(?:moved|relocated)(?: back| away| over| out)?|settled down) (?:to"
        rf"|in) {_VALUE}",
    ),
    ("home", rf"(?P<who>)[Hh]ome(?: for me)? is{_NOW} {_VALUE}"),
    ("employer", rf"{_WHO}{_HAVE}{_NOW} (?:works?|working|employed) (?:at|for) {_VALUE}"),
    (
        "employer",
        rf"{_WHO}{_HAVE}{_NOW} (?:started|began|got|took)(?: working| work| a)?(?: new)?(?: job)? (?:at"
        rf"|with) {_VALUE}",
    ),
    ("job", rf"{_WHO}{_HAVE}{_NOW} (?:works?|working|employed) as (?:an? )?{_VALUE}"),
    ("job", rf"{_WHO}{_HAVE}{_NOW} (?:got |been )?promoted to {_VALUE}"),
    ("name", rf"(?P<who>)(?:you can |everyone |just )?[Cc]all me {_VALUE}"),
    ("car", rf"{_WHO}{_HAVE}{_NOW} drives? (?:an? |the |my )?{_VALUE}"),
    (
        "marital status",
        rf"{_WHO}(?:['’](?:m|re|s)| (?:am|are|is|got|have been|has been)){_NOW} (?P<value>single|married"
        rf"|divorced|engaged|widowed|separated)\b(?!-)",
    ),
    (
        "diet",
        rf"{_WHO}(?:['’](?:m|re|s|ve)| (?:am|are|is|have|has|went|turned|became|go))"
        rf"{_NOW}(?: been| become| turned| gone)?(?: an?)? "
        r"(?P<value>vegan|vegetarian|pescatarian|carnivore|gluten[- ]free|keto)"
        r"(?=\s*(?:[.!,;)]|$)| (?:now|for|and|but|since|because|these|again|too|today|this|as)\b)",
    ),
    (
        "age",
        rf"{_WHO}(?:['’](?:m|s)| (?:am|is|turned)){_NOW} (?P<value>\d{{1,3}})"
        r"(?: years old\b|(?= (?:now|today|yesterday|this|last)\b)|(?=[.!,]|$))",
    ),
    ("… name", rf"{_OF} (?P<noun>{_PETS})(?:['’]s name is| is called| is named){_NOW} {_VALUE}"),
    (
        "favourite …",
        rf"{_OF}(?: new| current| all[- ]time)? favou?rite (?P<noun>[a-z]+(?: [a-z]+)?)(?: is"
        rf"|['’]s){_NOW} {_VALUE}",
    ),
    (
        "",
        rf"{_OF}(?: new| current)? (?P<noun>{'|'.join(sorted(_MINE, key=len, reverse=True))})(?:(?: is| are"
        rf"|['’]s){_NOW}| (?:has )?(?:changed|moved) to) {_VALUE}",
    ),
    (
        "",
        rf"(?P<of>[Tt]he) (?P<noun>{_THINGS})(?: is now(?: on| at)?| (?:has |was |has been |is )?(?:changed"
        rf"|moved|postponed|pushed)(?: back| up)? to| is(?: on| at)?) {_VALUE}",
    ),
)
_COMPILED = tuple((attribute, re.compile(rf"(?:^|(?<=[\s\"“(,])){rule}")) for attribute, rule in _RULES)

_TITLE = re.compile(r"\b(Dr|Mr|Mrs|Ms|Prof|St)\.")
_SENTENCE = re.compile(r"[^.!?\n]+(?:\.(?=\w)[^.!?\n]+)*[.!?]*")
_SUPPOSED = re.compile(
    r"\b(?:if|unless|whether|wish(?:es|ed)?|imagine|suppose|pretend|dream(?:s|t|ed|ing)?|would|could"
    r"|might|maybe|perhaps|"
    r"should|hope|hoping|plan(?:s|ned|ning)?|think(?:ing)? (?:of|about)|consider(?:ing)?|want(?:s|ed)? to|going to|"
    r"gonna|will|almost|nearly|probably|possibly|used to|once upon|until|before|what if|as though|joke"
    r"|kidding|'d|’d|'ll|’ll)\b",
    re.IGNORECASE,
)
_MAY = re.compile(r"\bmay\b")  # May is a month
_DENIED = re.compile(r"\b(?:not|never|no longer|nobody|hardly|stopped|quit|left)\b|n['’]t\b", re.IGNORECASE)
_TOLD = re.compile(
    r"\b(?:said|says|told|asks?|asked|thinks?|thought|believes?|believed|claims?|claimed|heard|guess|quote|when|while|"
    r"because|since I was|ago|back then|as a (?:kid|child))\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[,;:—–]| - | but | and | although | though | however ")
_VALUE_END = re.compile(
    r",|;|:|\(| - |—|–|\bbut\b|\band\b|\bbecause\b|\bsince\b|\bwith\b|\bwhich\b|\bwho\b|\bwhere\b|\bnow\b"
    r"|\bthese days\b|"
    r"\bcurrently\b|\bso\b|\bthough\b|\balthough\b|\bwhile\b|\bafter\b|\bto be\b|\bat the moment\b"
    r"|\binstead\b|\bfor (?:the|a|my|\d|over|about|now|work)|"
    r"\b(?:this|next|last) (?:year|month|week|summer|spring|fall|autumn|winter)\b|\btoday\b|\byesterday\b"
    r"|\bas of\b|\bin (?=(?:19|20)\d\d\b)|"
    r"\b(?:again|too|already|anymore|everyone|guys|btw|by the way)\b|\bas (?=an? )|\bin (?:January"
    r"|February|March|April|May|June|July|August|September|October|November|December)\b",
)
_HOUR = re.compile(r"(?:noon|midnight|\d{1,2}(?:[:.]\d\d)?(?: ?(?:am|pm|o['’]clock))?)")
_YEAR = re.compile(r"\b(?:in|since) ((?:19|20)\d\d)\b")
_ARTICLE = re.compile(
    r"^(?:the|an?|my|our|his|her|their|currently|actually|probably|called|named|at|on|in|to) +", re.IGNORECASE
)
_NO_NAME = frozenset(
    """he she it they you this that there these those who what which everyone everybody somebody someone nobody people
    one both all here but and so yes no well oh wow hey the my our your his her their its when then now also maybe
    today yesterday life love""".split()
)
_NO_VALUE = frozenset(
    """when that how to not so because just if what where why going being getting having doing very really always never
    good great nice fine bad better best amazing awesome crazy hard tough stressful important it this there something
    anything everything nothing one also like pretty quite kind super all about gonna more less too still such mine
    yours his hers here in on at of with by from up coming full done over back off near
    next due out to then again""".split()
)
_NO_FAVOURITE = frozenset(
    """part thing things memory moment moments way time times one ones piece scene bit aspect feature quote line
    spot detail photo picture pic story example option shot hobby activity pastime stuff""".split()
)
_NAMED = frozenset(  # attributes whose value has a capital letter
    """home employer name nickname surname car bike boss doctor dentist therapist landlord bank university school
    spouse hometown""".split()
) | {"… name"}
_COUNTED = frozenset({"phone", "rent", "salary", "budget", "age", "height", "weight", "shoe size"})
_WITH_ARTICLE = frozenset({"car", "bike", "job", "position"})
_NO_TRADE = frozenset("boring exhausting amazing rewarding demanding challenging tiring interesting ending".split())
_PLACES = frozenset({"city", "countryside", "country", "suburbs", "mountains", "coast", "village"})
_STEMS = Analyzer()
_WORD = re.compile(r"\w+")
_SPELLINGS = (("our", "or"), ("movie", "film"), ("theatre", "theater"))


def facts_in(text: str, *, speaker: str, time: datetime) -> Iterator[Fact]:
    """Yield what a text states.

    Args:
        text: What was said.
        speaker: Whom "I" means.
        time: When it was said; a year in the sentence goes before it.
    """
    if len(text) < 6:
        return
    is_small = text == text.lower()
    for found in _SENTENCE.finditer(_TITLE.sub(r"\1", text)):
        sentence = re.sub(
            r"^\s*(?:and|but|so|well|oh|hey|yes|yeah|btw)[, ]+", "", found[0].strip(), flags=re.IGNORECASE
        )
        if sentence.endswith("?") or _SUPPOSED.search(sentence) or _MAY.search(sentence):
            continue
        if is_small:
            sentence = re.sub(r"\bi\b", "I", sentence)
        yield from _stated(sentence, speaker, time, is_small)


def _stated(sentence: str, speaker: str, time: datetime, is_small: bool) -> Iterator[Fact]:
    for attribute, rule in _COMPILED:
        for found in rule.finditer(sentence):
            start = max((cut.end() for cut in _CLAUSE.finditer(sentence, 0, found.start())), default=0)
            clause = sentence[start : found.end()]
            cut = _CLAUSE.search(clause, found.start() - start + len(found[0].split(found["value"])[0]))
            clause = clause[: cut.start()] if cut else clause
            subject, name = _subject(found, speaker), _attribute(attribute, found)
            value = _value(found["value"], "" if attribute == "job" else name, is_small)
            if subject and value and name and not _DENIED.search(clause) and not _TOLD.search(clause):
                if subject.startswith("the "):
                    if not (is_small or re.search(r"[A-Z\d]", found["value"])):
                        continue
                    name += " time" if _HOUR.fullmatch(value) else ""
                yield Fact(subject, name, value, _since(sentence, time))


def _subject(found: re.Match[str], speaker: str) -> str:
    groups = found.groupdict()
    me = " ".join(speaker.casefold().split())
    said = (groups.get("who") or groups.get("of") or "").replace("’", "'")
    if groups.get("of") in ("the", "The"):
        return f"the {groups['noun']}"
    own = re.match(r"(?:my|our)(?: (.+))?$", said, re.IGNORECASE)
    if own:
        kin = (own[1] or "").removesuffix("'s").casefold()
        return f"{me}'s {kin}" if kin else me
    if said in ("I", "We", "we", ""):
        return me
    name = said.removesuffix("'s").casefold()
    return "" if name.split()[0] in _NO_NAME or "'" in name else name


def _attribute(attribute: str, found: re.Match[str]) -> str:
    noun = found.groupdict().get("noun") or ""
    if attribute == "favourite …":
        for british, american in _SPELLINGS:
            noun = noun.replace(british, american)
        words = noun.split()
        return "" if set(words) & _NO_FAVOURITE else f"favourite {' '.join(_STEMS.terms(noun)) or noun}"
    if attribute == "… name":
        return f"{noun} name"
    return attribute or (noun if found["of"] in ("the", "The") else _MINE[noun])


def _value(said: str, name: str, is_small: bool) -> str:
    text = said.strip()
    if cut := _VALUE_END.search(text):
        text = text[: cut.start()]
    text = text.strip(" \"'“”’*_")
    if not text or text.split()[0].casefold() in _NO_VALUE:
        return ""
    has_article = bool(re.match(r"an? ", text))
    while (shorter := _ARTICLE.sub("", text)) != text:
        text = shorter
    words = text.split()
    if not words or len(words) > 6 or words[0].casefold() in _NO_VALUE:
        return ""
    return " ".join(words).casefold() if _fits(words, name, has_article, is_small) else ""


def _fits(words: list[str], name: str, has_article: bool, is_small: bool) -> bool:
    """Return whether a value is of the sort that its attribute has: most others are moods and states."""
    has_digit = any(letter.isdigit() for word in words for letter in word)
    has_capital = any(word[:1].isupper() for word in words[:2])
    if name in _COUNTED:
        return has_digit
    if name == "email":
        return "@" in " ".join(words)
    if name in _WITH_ARTICLE and has_article:
        return True
    if name == "job":
        return has_capital or (words[0].endswith("ing") and words[0] not in _NO_TRADE)
    if name == "home" and words[-1].casefold() in _PLACES:
        return True
    if name in _NAMED or name.endswith(" name"):
        return has_capital or (is_small and name in ("home", "employer", "name"))
    return True


def _since(sentence: str, time: datetime) -> datetime:
    year = _YEAR.search(sentence)
    if year is None or int(year[1]) >= time.year:
        return time
    return datetime(int(year[1]), 1, 1, tzinfo=UTC)


def same_value(one: str, two: str) -> bool:
    """Return whether two values say the same, one perhaps more exactly.

    Example:
        >>> same_value("paris", "paris france"), same_value("a red bike", "bikes, red"), same_value("rome", "paris")
        (True, True, False)
    """
    mine, theirs = ({_stem(word) for word in _WORD.findall(value)} or {value} for value in (one, two))
    return mine <= theirs or theirs <= mine


def _stem(word: str) -> str:
    return " ".join(_STEMS.terms(word)) or word  # function words count here: Hall A is not Hall B
