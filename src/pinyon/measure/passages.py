"""Passages of documents: questions made from books and the Python reference, and those of SQuAD and HotpotQA."""

from __future__ import annotations

import json
import random
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.cube import Cube
from ..core.experience import Document
from ..errors import UnreadableSource
from ..index import Analyzer
from .base import Corpus, Question, Room

__all__ = ["hotpot", "passages", "squad", "squad_articles"]

_SENTENCE = re.compile(r"[\"'“‘]?[A-Z][^.!?]{40,320}[.!?](?=[\s\"'”’])")
_WORD = re.compile(r"[^\W\d_][\w'’-]*")
_CONTENT_TERMS = (5, 30)  # of a sentence a question is made of; shorter ones fit many passages, longer ones are lists
_KEPT_WORDS = 9  # content words of a paraphrase, about as many as a SQuAD question has
_RARE_SHARE = 0.25  # of the content words of a paraphrase that are dropped, the rarest first

_SYNONYMS = {
    a: b
    for pair in """
    begin start, big large, little small, quick fast, house home, boy lad, man fellow, woman lady, child kid,
    see notice, look glance, say state, tell inform, ask inquire, answer reply, talk speak, walk stroll, run hurry,
    go leave, come arrive, give hand, take grab, get obtain, make create, build construct, show display, find discover,
    think believe, know understand, want desire, need require, help assist, try attempt, use employ, keep hold,
    stop halt, end finish, close shut, old ancient, happy glad, sad unhappy, afraid scared, angry furious, good fine,
    bad poor, hard difficult, easy simple, strange odd, beautiful lovely, dark dim, money cash, road street, sea ocean,
    ship vessel, stone rock, forest wood, night evening, friend companion, enemy foe, door entrance, boat craft,
    motor engine, car automobile, machine device, picture image, letter note, number figure, part piece, place spot,
    way manner, whole entire, each every, many several, method function, object instance, value result, list sequence,
    name identifier, error exception, file document, argument parameter, default standard, return yield, call invoke,
    contain include, define declare, evaluate compute, raise throw, expression term, class type, string text,
    module package, statement command, attribute property, key index, empty blank, order arrangement, same identical
    """.replace("\n", " ").split(",")
    for a, b in (pair.split(), pair.split()[::-1])
}
"""Everyday pairs, in both directions, written by hand before any result was seen."""


@dataclass(frozen=True, slots=True)
class _Sentence:
    source: str
    start: int
    words: tuple[str, ...]


def passages(books: Path | None, *, count: int = 400, seed: int = 1) -> Corpus:
    """Return documents with two kinds of questions that no model wrote.

    ``cloze``: a sentence as it stands, its rarest name (else its rarest word) replaced by "what". Easy for words.
    ``paraphrase``: the same sentence without its name, the rarest quarter of its other content words dropped, words
    with an everyday synonym replaced, the others inflected differently, at most nine left, in shuffled order. Harder,
    because what is most telling is gone; still not what a person would ask.
    The evidence is the chunk in which the sentence begins.

    Args:
        books: Folder of text files, or None for the Python reference alone.
        count: Questions of each kind, half from each source where both are there.
        seed: Of the choice of sentences and the order of words.
    """
    analyzer = Analyzer()
    groups = [g for g in (_books(books) if books else [], _reference()) if g]
    documents = [document for group in groups for document in group]
    told = [sentence for document in documents for sentence in _sentences(document, analyzer)]
    df = Counter(term for sentence in told for term in set(analyzer.terms(" ".join(sentence.words))))
    rng = random.Random(seed)
    questions: list[Question] = []
    for group in groups:
        pool = _told_once([s for d in group for s in _sentences(d, analyzer)])
        for sentence in rng.sample(pool, min(count // len(groups), len(pool))):
            name = _name(sentence, df, analyzer)
            evidence = (f"{sentence.source}@{sentence.start}",)
            questions.append(Question(_cloze(sentence, name), evidence, "cloze", name))
            questions.append(Question(_paraphrase(sentence, name, df, analyzer, rng), evidence, "paraphrase", name))
    room = Room("passages", tuple(documents), tuple(q for q in questions if analyzer.terms(q.text)))
    return Corpus("Books and Python reference, chunks", (room,), _starts_in(room.questions))


def squad(path: Path) -> Corpus:
    """Return SQuAD 2.0: every paragraph is a document, the evidence of a question is its paragraph.

    Questions without an answer count too where asked of a paragraph: they are a category of their own, not counted.

    Source: Rajpurkar et al. 2018, arXiv 1806.03822.
    """
    documents: list[Document] = []
    questions: list[Question] = []
    for article in _read(path)["data"]:
        title = article["title"].replace("_", " ")
        for number, paragraph in enumerate(article["paragraphs"]):
            source = f"{article['title']}/{number}"
            documents.append(Document(paragraph["context"], source=source, title=title))
            for qa in paragraph["qas"]:
                answer = qa["answers"][0]["text"] if qa["answers"] else ""
                kind = "answerable" if answer else "without answer"
                if qa["question"].strip():
                    questions.append(Question(qa["question"].strip(), (source,), kind, answer, is_counted=bool(answer)))
    return Corpus("SQuAD 2.0, paragraphs", (Room("squad", tuple(documents), tuple(questions)),), _source)


def squad_articles(path: Path) -> Corpus:
    """Return SQuAD 2.0 with whole articles as documents; the evidence is the chunk in which the answer begins.

    Real questions on real neighbours: what a chunk gains or loses by the chunks beside it shows here.
    """
    documents: list[Document] = []
    questions: list[Question] = []
    for article in _read(path)["data"]:
        text = ""
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                if qa["answers"] and qa["question"].strip():
                    answer = qa["answers"][0]
                    place = f"{article['title']}@{len(text) + answer['answer_start']}"
                    questions.append(Question(qa["question"].strip(), (place,), "", answer["text"]))
            text += paragraph["context"] + "\n\n"
        documents.append(Document(text, source=article["title"], title=article["title"].replace("_", " ")))
    room = Room("squad-articles", tuple(documents), tuple(questions))
    return Corpus("SQuAD 2.0, chunks of articles", (room,), _starts_in(room.questions))


def hotpot(path: Path) -> Corpus:
    """Return HotpotQA: the paragraphs of all questions in one room, the evidence are the two supporting ones.

    Source: Yang et al. 2018, arXiv 1809.09600.
    Deviates: ten paragraphs a question, merged into one index, not the whole of Wikipedia.
    """
    documents: dict[str, Document] = {}
    questions: list[Question] = []
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UnreadableSource(f"{path.name!r} holds no JSON lines: {error}") from error
    for entry in lines:
        evidence = []
        for context in entry["contexts"]:
            title, text = context["title"], context["paragraph_text"]
            documents.setdefault(f"{title}|{text}", Document(text, source=f"{title}/{len(documents)}", title=title))
            if context["is_supporting"]:
                evidence.append(str(documents[f"{title}|{text}"].source))
        spans = [span for answer in entry["answers_objects"] for span in answer["spans"]]
        questions.append(Question(entry["question_text"].strip(), tuple(evidence), "", "; ".join(spans)))
    return Corpus("HotpotQA, paragraphs", (Room("hotpot", tuple(documents.values()), tuple(questions)),), _source)


def _source(cube: Cube) -> tuple[str, ...]:
    source = cube.header.provenance.source
    return () if source is None else (source,)


def _starts_in(questions: Sequence[Question]) -> Callable[[Cube], tuple[str, ...]]:
    """Return the function that names the questions whose evidence begins in a chunk."""
    starts: dict[str, list[int]] = {}
    for question in questions:
        source, _, start = question.evidence[0].rpartition("@")
        starts.setdefault(source, []).append(int(start))
    starts = {source: sorted(set(found)) for source, found in starts.items()}

    def names(cube: Cube) -> tuple[str, ...]:
        p = cube.header.provenance
        if p.source is None or p.span is None:
            return ()
        here = starts.get(p.source, [])
        return tuple(
            f"{p.source}@{start}" for start in here[bisect_left(here, p.span[0]) : bisect_left(here, p.span[1])]
        )

    return names


def _read(path: Path) -> dict[str, Any]:  # the file's own JSON
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError) as error:
        raise UnreadableSource(f"{path.name!r} is no JSON: {error}") from error


def _books(folder: Path) -> list[Document]:
    out = []
    for path in sorted(folder.glob("*.txt")):
        text = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n")
        title = re.search(r"START OF THE PROJECT GUTENBERG EBOOK (.+?) \*\*\*", text)
        out.append(Document(text, source=path.name, title=title[1].title() if title else path.stem))
    return out


def _reference() -> list[Document]:
    from pydoc_data.topics import topics  # every Python carries it

    return [Document(topics[name], source=f"python:{name}", title=name) for name in sorted(topics)]


def _sentences(document: Document, analyzer: Analyzer) -> Iterator[_Sentence]:
    least, most = _CONTENT_TERMS
    for found in _SENTENCE.finditer(document.text):
        text = found.group()
        words = tuple(_WORD.findall(text))
        if "\n\n" not in text and least <= len(analyzer.terms(" ".join(words))) <= most:
            yield _Sentence(str(document.source), found.start(), words)


def _told_once(sentences: Sequence[_Sentence]) -> list[_Sentence]:
    said = Counter(s.words for s in sentences)
    return [s for s in sentences if said[s.words] == 1]


def _name(sentence: _Sentence, df: Counter[str], analyzer: Analyzer) -> str:
    """Return the rarest capitalised word inside a sentence, else its rarest word."""

    def rarity(word: str) -> tuple[int, str]:
        return min((df[term] for term in analyzer.terms(word)), default=1 << 30), word

    names = [w for w in sentence.words[1:] if w[0].isupper() and analyzer.terms(w)]
    return min(names or sentence.words, key=rarity)


def _cloze(sentence: _Sentence, name: str) -> str:
    return " ".join("what" if word == name else word for word in sentence.words)


def _paraphrase(sentence: _Sentence, name: str, df: Counter[str], analyzer: Analyzer, rng: random.Random) -> str:
    words = [w for w in dict.fromkeys(sentence.words) if w != name and analyzer.terms(w)]
    common = sorted(words, key=lambda w: -min(df[t] for t in analyzer.terms(w)))
    common = common[: max(3, len(common) - int(_RARE_SHARE * len(common)))]
    kept = [_other(word) for word in words if word in set(common[-_KEPT_WORDS:])]
    rng.shuffle(kept)
    return " ".join(kept)


def _other(word: str) -> str:
    """Return another word for the same, else another form of the word."""
    plain = word.lower()
    stems = {plain: "", plain.removesuffix("s"): "s", plain.removesuffix("ed"): "ed", plain.removesuffix("ing"): "ing"}
    for stem, end in stems.items():
        if stem in _SYNONYMS:
            return _SYNONYMS[stem] + (end if stem != plain else "")
    if plain.endswith("ing") and len(plain) > 6:
        return plain.removesuffix("ing") + "ed"
    if plain.endswith("ed"):
        return plain.removesuffix("ed") + "ing" if len(plain) > 5 else plain
    if plain.endswith("s") and not plain.endswith("ss") and len(plain) > 4:
        return plain.removesuffix("s")
    return plain if len(plain) < 4 or plain.endswith(("ing", "ly", "s", "x")) else plain + "s"
