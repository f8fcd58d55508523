from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pinyon import Conversation, Memory, Turn
from pinyon.text import Hit, Hits
from pinyon.text.questions import QuestionCues, read_question
from pinyon.text.timing import in_order, is_timed, told_of, weighed_by_time

START = datetime(2023, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def hits() -> Hits:
    with Memory.open(":memory:") as memory:
        texts = ("I bought a boat.", "The boat sank two days ago.", "I bought a second boat.")
        for number, text in enumerate(texts):
            turn = Turn(text, speaker="Ann", time=START + timedelta(days=10 * number))
            memory.add(Conversation((turn,), session=f"s{number}"))
        return memory.search("boat")


def test_the_first_and_the_latest_gain_and_nothing_is_lost(hits: Hits) -> None:
    even = [Hit(hit.cube, 1.0, hit.why) for hit in hits.hits]
    for order, number in (("first", 0), ("latest", 2)):
        cues = QuestionCues(order=order)  # type: ignore[arg-type]
        weighed = weighed_by_time(even, cues)
        assert {hit.cube.id for hit in weighed} == {hit.cube.id for hit in even}
        assert weighed[0].cube.time == START + timedelta(days=10 * number)
        assert weighed[0].cube.id == in_order(even, order)[0].cube.id  # type: ignore[arg-type]


def test_a_memory_that_tells_of_the_time_asked_for_gains(hits: Hits) -> None:
    even = [Hit(hit.cube, 1.0, hit.why) for hit in hits.hits]
    cues = read_question("What happened on 9 March 2023?", START)
    assert weighed_by_time(even, cues)[0].cube.text == "The boat sank two days ago."


def test_questions_without_time_leave_the_order(hits: Hits) -> None:
    cues = read_question("What sank?", START)
    assert not is_timed(cues)
    assert weighed_by_time(hits.hits, cues) == list(hits.hits)


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
