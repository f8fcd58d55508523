"""Several spellings of one sentence are one hit; nothing else is lost."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from packing import WordShelf, hits

from pinyon import Conversation, Memory, Turn
from pinyon.core.budget import Budget
from pinyon.testing import HashEmbedder
from pinyon.text import Hit, Hits, Pack
from pinyon.text.alike import distinct_hits, without_repeats

SPELLINGS = ("The hives stand behind the mill.", "the hives stand behind the mill", "The HIVES stand, behind the mill!")


def filled(*texts: str) -> Memory:
    memory = Memory.open(":memory:", embedder=HashEmbedder(8))
    for day, text in enumerate(texts, 1):
        memory.add(text, time=f"2025-03-{day:02}")
    return memory


def test_three_spellings_are_one_hit_and_leave_room_for_others() -> None:
    memory = filled(*SPELLINGS, "Hives are sold at the mill on Friday.", "The hives of the abbey stand empty.")
    found = memory.search("Where do the hives stand?", k=3)
    assert [hit.cube.text for hit in found.hits].count(SPELLINGS[2]) == 1  # the latest
    assert len(found.hits) == 3
    assert {hit.cube.text for hit in found.repeated} == set(SPELLINGS[:2])
    place = next(n for n, hit in enumerate(found.hits, 1) if hit.cube.text == SPELLINGS[2])
    (note,) = [note for note in found.notes if "the same as" in note]
    assert note.startswith(f"2 more say the same as hit {place}: ")
    for hit in found.repeated:
        assert hit.cube.id[:10] in note
        assert memory.get(hit.cube.id).text == hit.cube.text


def test_of_repetitions_the_earliest_is_shown_where_it_is_asked_what_was_first() -> None:
    memory = filled(*SPELLINGS)
    assert memory.search("When did the hives stand behind the mill?").hits[0].cube.text == SPELLINGS[2]
    assert memory.search("When did the hives first stand behind the mill?").hits[0].cube.text == SPELLINGS[0]


def test_where_it_is_asked_how_often_each_day_counts() -> None:
    memory = filled(*["I went swimming in the lake."] * 3)
    memory.add("i went swimming, in the lake", time="2025-03-03")  # a second spelling of the last one
    asked = "How many times did I go swimming in the lake?"
    for found in (memory.search(asked).hits, memory.recall(asked).context.hits):
        assert [hit.cube.time.day for hit in found] == [1, 2, 3]
    asked = "Where did I go swimming?"
    for found in (memory.search(asked).hits, memory.recall(asked).context.hits):
        assert len(found) == 1


def test_a_changed_word_or_number_is_no_repetition() -> None:
    memory = filled("The rent is 700 euros.", "The rent is 750 euros.", "The rent is 750 pounds.")
    found = memory.search("What is the rent?", k=5)
    assert len(found.hits) == 3
    assert found.repeated == ()
    assert not any("the same as" in note for note in found.notes)


def test_the_same_words_of_two_speakers_are_two_facts() -> None:
    memory = Memory.open(":memory:", embedder=HashEmbedder(8))
    memory.add(
        Conversation(
            (Turn("I am allergic to peanuts.", speaker="Ann"), Turn("I am allergic to peanuts!", speaker="Tom"))
        )
    )
    assert {hit.cube.header.provenance.speaker for hit in memory.search("Who is allergic?").hits} == {"Ann", "Tom"}
    assert "Ann: " in memory.recall("Who is allergic?").text
    assert "Tom: " in memory.recall("Who is allergic?").text


def test_forgetting_what_a_question_finds_takes_every_spelling() -> None:
    memory = filled(*SPELLINGS, "Tea was served.")
    assert len(memory.forget(query="Where do the hives stand?", k=3).cubes) == 3


def naive(found: list[Hit]) -> set[frozenset[str]]:
    """Group by comparing every hit with every other."""

    def same(a: Hit, b: Hit) -> bool:
        one, other = (re.findall(r"\w+", hit.cube.text.lower()) for hit in (a, b))
        return a is b or (one == other and (bool(one) or (a.cube.text == b.cube.text != "")))

    return {frozenset(b.cube.id for b in found if same(a, b)) for a in found}


TEXTS = st.lists(st.text(alphabet="ab! A", max_size=5), max_size=12)


@given(TEXTS)
def test_groups_are_those_of_the_naive_comparison(texts: list[str]) -> None:
    found = hits(texts)
    groups = distinct_hits(found)
    assert {frozenset({hit.cube.id, *(other.cube.id for other in others)}) for hit, others in groups} == naive(found)
    for hit, others in groups:
        assert hit.score == max(
            one.score for one in found if one.cube.id in {hit.cube.id, *(o.cube.id for o in others)}
        )
        assert all((hit.cube.time, hit.cube.row) > (other.cube.time, other.cube.row) for other in others)


@given(TEXTS, st.integers(1, 6))
def test_asking_for_more_gives_the_hits_of_a_search_that_is_wide_at_once(texts: list[str], k: int) -> None:
    found = [replace(hit, score=1.0 / place) for place, hit in enumerate(hits(texts), 1)]
    asked: list[int] = []

    def find(wide: int) -> Hits:
        asked.append(wide)
        return Hits(tuple(found[:wide]), len(found), {}, {})

    shown = without_repeats(find, k)
    at_once = [hit.cube.text.lower() for hit, _ in distinct_hits(found[: asked[-1]])][:k]
    assert [hit.cube.text.lower() for hit in shown.hits] == at_once
    assert len(shown.hits) == k or asked[-1] >= len(found) or asked[-1] == 8 * k or len(found[: asked[-1]]) < asked[-1]
    assert len({hit.cube.id for hit in (*shown.hits, *shown.repeated)}) == len(shown.hits) + len(shown.repeated)
    if len(naive(found)) == len(found):
        assert asked == [k] or len(found) < k


def test_pack_leaves_out_the_same_repetitions() -> None:
    found = hits([*SPELLINGS, "Tea was served."])
    context = Pack().compose(found, WordShelf(), Budget(tokens=100))
    assert {hit.cube.id for hit in context.left_out} == {
        o.cube.id for _, others in distinct_hits(found) for o in others
    }
