from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinyon import Conversation, Memory, Turn
from pinyon.index import Analyzer
from pinyon.text import Hit, Hits
from pinyon.text.questions import QuestionCues, read_question
from pinyon.text.timing import Topic, in_order, is_timed, looked_at, told_of, weighed_by_time

START = datetime(2023, 3, 1, 12, tzinfo=UTC)
FILLING = (
    "We had soup for dinner.", "The neighbour painted his fence green.", "Tom called about the car.",
    "I read a book about whales.", "The train was late again.", "My sister got a dog.", "First I fixed the lamp.",
    "The office moved to the third floor, the latest news said.",
)  # fmt: skip
EQUAL = {20: "I flew to Rome for a conference.", 60: "I flew to Oslo for a conference.",
         110: "I flew to Lima for a conference.", 150: "I flew to Bern for a conference."}  # fmt: skip
UNEQUAL = {15: "I went to the dentist, Dr Frey, and he cleaned my teeth.",
           55: "I went to the dentist, Dr Olsen, for a filling.",
           95: "Well, this morning I went to the dentist, Dr Baum, because a crown broke when I bit on a nut.",
           135: "I went to the dentist, Dr Quist, for a check-up.",
           175: "I went to the dentist, Dr Hale, and all was fine."}  # fmt: skip


@pytest.fixture
def hits() -> Hits:
    with Memory.open(":memory:") as memory:
        texts = ("I bought a boat.", "The boat sank two days ago.", "I bought a second boat.")
        for number, text in enumerate(texts):
            turn = Turn(text, speaker="Ann", time=START + timedelta(days=10 * number))
            memory.add(Conversation((turn,), session=f"s{number}"))
        return memory.search("boat")


@pytest.fixture(scope="module")
def life() -> Iterator[Memory]:
    """What Ann and Bob said on 200 days, both of dentists and conferences."""
    with Memory.open(":memory:") as memory:
        told = EQUAL | UNEQUAL
        turns = []
        for number in range(200):
            day = START + timedelta(days=3 * number)
            text = told.get(number, f"{FILLING[number % len(FILLING)]} It was day {number}.")
            turns.append(Turn(text, speaker="Ann", time=day))
            if number in (2, 198):
                turns.append(Turn(f"I went to the dentist, Dr Bo{number}, too.", speaker="Bob", time=day))
        memory.add(Conversation(tuple(turns)))
        yield memory


def topic(question: str, hits: Hits) -> Topic:
    return Topic(question, Analyzer(), hits.terms, hits.considered)


def order_of(memory: Memory, question: str, names: Iterable[str], k: int = 5) -> list[str]:
    """Return the name that each of the best hits holds, a dash for none."""
    texts = [hit.cube.text for hit in memory.search(question, k=k).hits]
    return [next((name for name in names if name in text), "-") for text in texts]


@pytest.mark.parametrize(
    "question",
    ["Where did Ann first fly for a conference?", "What was the first conference Ann flew to?",
     "What was the earliest conference that Ann flew to?"],
)  # fmt: skip
def test_of_equal_texts_the_oldest_is_the_first(life: Memory, question: str) -> None:
    assert order_of(life, question, ("Rome", "Oslo", "Lima", "Bern"), 4) == ["Rome", "Oslo", "Lima", "Bern"]


@pytest.mark.parametrize(
    "question",
    ["Where did Ann last fly for a conference?", "What was the latest conference Ann flew to?",
     "Which conference did Ann fly to most recently?", "When was the last time Ann flew to a conference?"],
)  # fmt: skip
def test_of_equal_texts_the_newest_is_the_latest(life: Memory, question: str) -> None:
    assert order_of(life, question, ("Rome", "Oslo", "Lima", "Bern"), 4) == ["Bern", "Lima", "Oslo", "Rome"]


@pytest.mark.parametrize(
    ("question", "is_first"),
    [("Which dentist did Ann go to first?", True), ("Who was Ann's earliest dentist?", True),
     ("When was Ann's first visit to the dentist?", True), ("Which was the latest dentist Ann went to?", False),
     ("When did Ann last go to the dentist?", False), ("Which dentist did Ann go to last?", False)],
)  # fmt: skip
def test_unequal_texts_stand_by_time_before_all_others(life: Memory, question: str, is_first: bool) -> None:
    names = ["Frey", "Olsen", "Baum", "Quist", "Hale"]
    assert order_of(life, question, ("Bo2", "Bo198", *names)) == (names if is_first else names[::-1])


def test_scores_still_fall_from_hit_to_hit(life: Memory) -> None:
    found = life.search("Which dentist did Ann go to first?", k=20)
    scores = [hit.score for hit in found.hits]
    assert scores == sorted(scores, reverse=True)
    assert found.hits[0].cube.text == UNEQUAL[15]
    assert any(note.startswith("5 memories speak of what is asked") for note in found.notes)


def test_how_many_times_brings_all_of_them_and_says_how_many(life: Memory) -> None:
    found = life.search("How many times did Ann go to the dentist?", k=10)
    assert [hit.cube.text for hit in found.hits[:5]] == list(UNEQUAL.values())
    assert any(note.startswith("5 memories speak of what is counted, oldest first") for note in found.notes)


def test_of_more_than_are_wanted_the_best_are_shown_and_all_are_counted(life: Memory) -> None:
    question = "How many times did Ann fly to a conference?"
    found = life.search(question, k=3)
    assert {hit.cube.text for hit in found.hits} < set(EQUAL.values())
    assert [hit.cube.time for hit in found.hits] == sorted(hit.cube.time for hit in found.hits)
    assert any(note.startswith("4 memories speak of what is counted, 3 of them shown") for note in found.notes)


def test_what_nobody_told_is_not_counted(life: Memory) -> None:
    found = life.search("How many times did Ann go bungee jumping?", k=3)
    assert any("enough of the question's words" in note for note in found.notes)


def test_what_is_so_now_is_what_was_said_last() -> None:
    with Memory.open(":memory:") as memory:
        told = {5: "I live in Porto.", 40: "I live in Turin.", 80: "I live in Ghent."}
        for number in range(100):
            text = told.get(number, f"{FILLING[number % len(FILLING)]} It was day {number}.")
            day = START + timedelta(days=5 * number)
            memory.add(Conversation((Turn(text, speaker="Ann", time=day),), session=f"s{number}"))
        assert order_of(memory, "Where does Ann live now?", ("Porto", "Turin", "Ghent"))[0] == "Ghent"
        assert order_of(memory, "Where does Ann currently live?", ("Porto", "Turin", "Ghent"))[0] == "Ghent"
        assert order_of(memory, "Where did Ann first live?", ("Porto", "Turin", "Ghent"))[0] == "Porto"


def test_recency_is_a_soft_score(hits: Hits) -> None:
    newest, oldest = sorted(hits.hits, key=lambda hit: hit.cube.time)[:: -len(hits.hits) + 1]
    cues = QuestionCues(wants_recent=True)
    for ahead, expected in ((0.05, newest), (0.4, oldest)):
        given = [Hit(oldest.cube, 1.0 + ahead, oldest.why), Hit(newest.cube, 1.0, newest.why)]
        weighed = weighed_by_time(given, cues, topic("boat", hits), 2)
        assert weighed.hits[0].cube.id == expected.cube.id


def test_a_lone_member_stays_where_it_is(hits: Hits) -> None:
    about = Topic("What sank first?", Analyzer(), {"sank": 1}, 3)
    others = [hit for hit in hits.hits if "sank" not in hit.cube.text]
    [sunk] = [hit for hit in hits.hits if "sank" in hit.cube.text]
    given = [Hit(others[0].cube, 1.0), Hit(sunk.cube, 0.9)]
    assert list(weighed_by_time(given, QuestionCues(order="first"), about, 2).hits) == given


def test_what_a_memory_tells_of_dates_it() -> None:
    with Memory.open(":memory:") as memory:
        for number, text in enumerate(
            ("I ran a marathon.", "I ran a marathon in 2019.", "I run a marathon next year.")
        ):
            turn = Turn(text, speaker="Ann", time=START + timedelta(days=number))
            memory.add(Conversation((turn,), session=f"s{number}"))
        found = memory.search("marathon").hits
        told = [hit.cube.text for hit in in_order(found, "first")]
    assert told == ["I ran a marathon in 2019.", "I ran a marathon.", "I run a marathon next year."]


def test_hits_without_a_time_are_in_no_set() -> None:
    with Memory.open(":memory:") as memory:
        for text in ("I bought a boat.", "I bought a second boat."):
            memory.add(text)
        found = memory.search("boat")
        same = weighed_by_time(found.hits, QuestionCues(order="first"), topic("boat", found), 2)
    assert same.hits == found.hits


def test_a_memory_that_tells_of_the_time_asked_for_gains(hits: Hits) -> None:
    even = [Hit(hit.cube, 1.0, hit.why) for hit in hits.hits]
    cues = read_question("What happened on 9 March 2023?", START)
    weighed = weighed_by_time(even, cues, topic("What happened on 9 March 2023?", hits), 3)
    assert weighed.hits[0].cube.text == "The boat sank two days ago."


def test_what_holds_little_of_the_topic_makes_no_set(hits: Hits) -> None:
    about = Topic("Which boat did Ann first race at Cowes?", Analyzer(), {"boat": 3, "race": 1, "cow": 1}, 60)
    found = [Hit(hit.cube, 1.0 - 0.1 * place, hit.why) for place, hit in enumerate(hits.hits)]
    assert list(weighed_by_time(found, QuestionCues(order="latest"), about, 3).hits) == found
    plain = Topic("Which boat did Ann buy first?", Analyzer(), {"boat": 3}, 60)
    latest = weighed_by_time(found, QuestionCues(order="latest"), plain, 3).hits
    assert [hit.cube.time for hit in latest] == sorted((hit.cube.time for hit in found), reverse=True)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_whatever_is_asked_nothing_is_lost_and_scores_fall(life: Memory, data: st.DataObject) -> None:
    question = "Which dentist did Ann go to, and when?"
    found = life.search(question, k=40)
    scores = data.draw(st.lists(st.floats(0.1, 2), min_size=len(found.hits), max_size=len(found.hits)))
    given_hits = [
        Hit(hit.cube, score, hit.why) for hit, score in zip(found.hits, sorted(scores, reverse=True), strict=True)
    ]
    cues = QuestionCues(
        order=data.draw(st.sampled_from([None, "first", "latest"])),
        wants_several=data.draw(st.booleans()),
        wants_times=data.draw(st.booleans()),
        wants_recent=data.draw(st.booleans()),
    )
    k = data.draw(st.integers(1, 40))
    whole = weighed_by_time(given_hits, cues, topic(question, found), len(given_hits)).hits
    assert {hit.cube.id for hit in whole} == {hit.cube.id for hit in given_hits}
    fallen = [hit.score for hit in whole]
    assert fallen == sorted(fallen, reverse=True)
    if not cues.wants_several:  # of a set to be counted the best k are chosen, then put in order
        assert [hit.cube.id for hit in weighed_by_time(given_hits, cues, topic(question, found), k).hits] == [
            hit.cube.id for hit in whole[:k]
        ]


def test_questions_without_time_leave_the_order(hits: Hits) -> None:
    cues = read_question("What sank?", START)
    assert not is_timed(cues)
    assert looked_at(cues, 7) == 7
    assert weighed_by_time(hits.hits, cues, topic("What sank?", hits), 9).hits == hits.hits


def test_a_relative_time_is_told_from_when_it_was_said() -> None:
    assert told_of("It sank two days ago.", START)[0].start.date() == (START - timedelta(days=2)).date()


def test_an_event_that_is_a_memory_dates_a_question() -> None:
    with Memory.open(":memory:") as memory:
        for number in range(60):
            day = START + timedelta(days=number)
            text = "Today is my birthday, what a party!" if number == 40 else f"We walked to the mill, walk {number}."
            memory.add(Conversation((Turn(text, speaker="Ann", time=day),), session=f"s{number}"))
        best = memory.search("Where did Ann walk two weeks before her birthday?", k=5).hits
        near = [abs((hit.cube.time - START).days - 26) <= 7 for hit in best]
        assert sum(near) >= 3
