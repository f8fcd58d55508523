from __future__ import annotations

from itertools import pairwise

import pytest

from pinyon import Memory
from pinyon.errors import BadInput
from pinyon.index import Analyzer
from pinyon.measure import Corpus
from pinyon.measure.learn import learn_weights
from pinyon.measure.other_words import in_other_words, scattered

TEXTS = (["The mill stands by the river.", "It grinds corn."], ["Ships sail at night.", "Storms come.", "They wait."])


def _stored(corpus: Corpus) -> list[tuple[str, tuple[str, ...], str | None]]:
    """Return what every cube says, what evidence it is, and who speaks."""
    with Memory.open(":memory:") as memory:
        memory.add_many(corpus.rooms[0].experiences)
        return [(c.text, tuple(corpus.names(c)), c.header.provenance.speaker) for c in memory.iterate()]


def test_no_question_shares_a_term_with_its_evidence_or_names_a_speaker(demo: Corpus) -> None:
    analyzer, other = Analyzer(), in_other_words(demo)
    stored = _stored(demo)
    held = {name: set(analyzer.terms(text)) for text, names, _ in stored for name in names}
    speakers = {word for _, _, speaker in stored if speaker for word in speaker.lower().split()}
    [room] = other.rooms
    assert room.questions
    for question in room.questions:
        terms = set(analyzer.terms(question.text))
        assert terms
        assert all(not terms & held[name] for name in question.evidence)
        assert not speakers & set(question.text.lower().split())


def test_the_evidence_and_the_turns_stay_what_they_were(demo: Corpus) -> None:
    other = in_other_words(demo)
    assert other.rooms[0].experiences == demo.rooms[0].experiences
    wanted = {(q.evidence, q.category, q.answer) for q in demo.rooms[0].questions}
    assert {(q.evidence, q.category, q.answer) for q in other.rooms[0].questions} <= wanted


def test_scattered_turns_keep_their_evidence_and_have_no_neighbour_of_their_own(demo: Corpus) -> None:
    alone = scattered(demo, TEXTS, seed=3)
    before = {name: text for text, names, _ in _stored(demo) for name in names}
    said = _stored(alone)
    assert all(speaker is None for _, _, speaker in said)
    carried = [(text, names) for text, names, _ in said if names]
    assert sorted(name for _, names in carried for name in names) == sorted(before)
    assert all(text == before[name] for text, names in carried for name in names)
    places = [bool(names) for _, names, _ in said]
    assert not any(a and b for a, b in pairwise(places))
    assert {text for text, names, _ in said if not names} <= {part for text in TEXTS for part in text}


def test_the_same_seed_scatters_the_same(demo: Corpus) -> None:
    assert _stored(scattered(demo, TEXTS, seed=1)) == _stored(scattered(demo, TEXTS, seed=1))
    assert _stored(scattered(demo, TEXTS, seed=1)) != _stored(scattered(demo, TEXTS, seed=2))


@pytest.mark.parametrize("texts", [(), ([],)])
def test_turns_cannot_be_scattered_among_nothing(demo: Corpus, texts: tuple[list[str], ...]) -> None:
    with pytest.raises(BadInput, match="need texts"):
        scattered(demo, texts)


def test_variants_teach_that_meaning_counts_where_words_reach_little(demo: Corpus) -> None:
    [room] = demo.rooms
    both = Corpus("twice", (room, type(room)("again", room.experiences, room.questions)), demo.names)
    reworded = in_other_words(both)
    plain, taught = learn_weights(both), learn_weights(both, [reworded])
    assert taught.held_out[reworded.name][0].n == sum(len(r.questions) for r in reworded.rooms)
    own = dict(zip(plain.names, plain.weights, strict=True))
    new = dict(zip(taught.names, taught.weights, strict=True))
    words = ("turn", "window1", "window2", "section")
    assert sum(new[w] for w in words) < sum(own[w] for w in words)
