"""The verbs of a memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinyon import Conversation, Document, Memory, Note, Turn, Where
from pinyon.errors import BadInput, NotFound
from pinyon.testing import FixedClock, HashEmbedder, ScriptedModel
from pinyon.text import SizeRouter
from pinyon.text.model_profile import Curve, ModelProfile

PATHS = ("memory", "file")


@pytest.fixture(params=PATHS)
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Memory]:
    path = ":memory:" if request.param == "memory" else str(tmp_path / "m.db")
    with Memory.open(path, user="ann") as opened:
        yield opened


def texts(memory: Memory, question: str, **options: object) -> list[str]:
    return [hit.cube.text for hit in memory.search(question, **options).hits]  # type: ignore[arg-type]


def test_what_was_added_is_found(memory: Memory) -> None:
    memory.add("The spare key hangs behind the blue door.")
    memory.add("Bees sleep in winter.")
    assert texts(memory, "Where is the key?", k=1) == ["The spare key hangs behind the blue door."]


def test_a_search_after_an_add_sees_it_at_once(memory: Memory) -> None:
    for number in range(20):
        memory.add(f"item {number} is named zebra{number}")
        assert texts(memory, f"zebra{number}", k=1) == [f"item {number} is named zebra{number}"]


def test_the_same_thing_added_twice_is_one_cube(memory: Memory) -> None:
    first = memory.add("I like tea.")
    second = memory.add("I like tea.")
    assert (second.created, second.unchanged) == (0, 1)
    assert first.cubes[0].id == second.cubes[0].id


def test_the_same_words_at_another_time_are_another_cube(memory: Memory) -> None:
    memory.add("Went swimming.", time="2025-01-01")
    assert memory.add("Went swimming.", time="2025-01-02").created == 1


def test_a_growing_history_sent_again_and_again_is_kept_once(memory: Memory) -> None:
    talk = [
        {"role": "user", "content": "ok"},
        {"role": "assistant", "content": "fine"},
        {"role": "user", "content": "ok"},
    ]
    memory.add(talk[:2], session="s1")
    again = memory.add(talk, session="s1")
    assert (again.created, again.unchanged) == (1, 2)
    positions = [cube.header.provenance.position for cube in memory.iterate()]
    assert positions == [0, 1, 2]


def test_messages_keep_name_role_and_time(memory: Memory) -> None:
    memory.add([{"role": "user", "name": "Ann", "content": "Hello", "time": "2025-06-10T12:00:00Z"}])
    cube = memory.list().cubes[0]
    p = cube.header.provenance
    assert (p.speaker, p.role, cube.time.isoformat()) == ("Ann", "user", "2025-06-10T12:00:00+00:00")


def test_other_users_see_nothing(memory: Memory) -> None:
    memory.add("Ann's secret is a rhubarb pie.")
    assert texts(memory, "rhubarb pie", user="bob") == []
    assert memory.search("rhubarb pie", user="bob").considered == 0
    assert memory.list(user="bob").cubes == ()
    assert memory.stats(user="bob").cubes == 0


def test_what_belongs_to_nobody_is_shared(memory: Memory) -> None:
    memory.add("The office closes at six.", user=None)
    assert texts(memory, "When does the office close?", user="bob") == ["The office closes at six."]


def test_spaces_are_apart(memory: Memory) -> None:
    memory.add("A walnut.", space="garden")
    assert texts(memory, "walnut") == []
    assert texts(memory, "walnut", space="garden") == ["A walnut."]


def test_another_user_cannot_get_update_or_forget(memory: Memory) -> None:
    id = memory.add("mine").cubes[0].id
    with pytest.raises(NotFound):
        memory.get(id, user="bob")
    with pytest.raises(NotFound):
        memory.update(id, text="stolen", user="bob")
    with pytest.raises(NotFound):
        memory.forget([id], user="bob")
    assert memory.get(id).text == "mine"


def test_an_update_is_found_and_the_old_words_are_not(memory: Memory) -> None:
    id = memory.add("The meeting is on Tuesday.").cubes[0].id
    memory.update(id, text="The meeting is on Thursday.")
    assert texts(memory, "meeting") == ["The meeting is on Thursday."]
    assert [version.cube.text for version in memory.history(id) if version.cube] == [
        "The meeting is on Tuesday.",
        "The meeting is on Thursday.",
    ]


def test_saying_the_old_words_again_after_an_update_is_a_new_cube(memory: Memory) -> None:
    id = memory.add("I live in Paris.").cubes[0].id
    memory.update(id, text="I live in Rome.")
    again = memory.add("I live in Paris.")
    assert again.created == 1
    assert again.cubes[0].id != id


def test_what_is_forgotten_is_gone_and_can_be_said_again(memory: Memory) -> None:
    id = memory.add("The code is 4711.").cubes[0].id
    assert memory.forget([id]).is_done
    assert texts(memory, "code 4711") == []
    with pytest.raises(NotFound):
        memory.get(id)
    assert memory.add("The code is 4711.").created == 1
    assert texts(memory, "code 4711") == ["The code is 4711."]


def test_a_plan_removes_nothing(memory: Memory) -> None:
    memory.add("one red apple", tags=["fruit"])
    memory.add("a grey stone")
    plan = memory.plan_forget(where={"tags": ["fruit"]})
    assert [cube.text for cube in plan.cubes] == ["one red apple"]
    assert memory.stats().cubes == 2
    assert len(memory.forget(where={"tags": ["fruit"]}).cubes) == 1
    assert [cube.text for cube in memory.iterate()] == ["a grey stone"]


@pytest.mark.parametrize("arguments", [{}, {"where": {}}, {"where": Where()}])
def test_forgetting_everything_by_accident_is_refused(memory: Memory, arguments: dict[str, object]) -> None:
    memory.add("stays")
    with pytest.raises(BadInput):
        memory.forget(**arguments)  # type: ignore[arg-type]
    assert memory.stats().cubes == 1


def test_filters_narrow_a_search(memory: Memory) -> None:
    memory.add("apple pie", tags=["food"], metadata={"stars": 5}, time="2024-01-01")
    memory.add("apple laptop", tags=["work"], metadata={"stars": 2}, time="2025-01-01")
    assert texts(memory, "apple", where={"tags": "food"}) == ["apple pie"]
    assert texts(memory, "apple", where={"metadata": {"stars": {"lt": 4}}}) == ["apple laptop"]
    assert texts(memory, "apple", where={"since": "2024-06-01"}) == ["apple laptop"]
    assert texts(memory, "apple", where={"metadata": {"stars": {"ne": 2}}}) == ["apple pie"]
    assert set(texts(memory, "apple", where={"metadata": {"stars": [2, 5]}})) == {"apple pie", "apple laptop"}


def test_a_quoted_text_is_found_letter_for_letter(memory: Memory) -> None:
    memory.add("run `rm -rf /tmp/x && echo OR` carefully")
    memory.add("run and echo and temporary things")
    hits = memory.search('"&& echo OR"').hits
    assert hits[0].cube.text == "run `rm -rf /tmp/x && echo OR` carefully"
    assert hits[0].why[0].leg == "literal"


@pytest.mark.parametrize("question", ["C++", "***", "=>", "NEAR(a b)", "foo AND bar*", "'; DROP TABLE cubes; --", '"'])
def test_operators_find_their_literal_text(memory: Memory, question: str) -> None:
    memory.add(f"here stands {question} as it is")
    memory.add("something else entirely")
    assert texts(memory, question, k=1) == [f"here stands {question} as it is"]


def test_a_router_of_the_callers_model_decides_and_says_why(memory: Memory) -> None:
    for number in range(12):
        memory.add(f"The heron of pond {number} stands on its left leg in the morning.")
    free = memory.recall("heron", budget_tokens=100_000)
    assert free.decision is not None
    assert free.decision.form == "full"
    slow = ModelProfile(seconds=Curve(((0, 0.0), (1, 1.0), (10, 10.0))))
    bound = memory.recall("heron", budget_tokens=100_000, router=SizeRouter(reader=slow, most_seconds=2))
    assert bound.decision is not None
    assert bound.decision.form == "search"
    assert "exceed 2 s" in bound.decision.note
    assert bound.decision.note in bound.found.notes


def test_recall_never_exceeds_its_budget_and_small_memories_come_whole(memory: Memory) -> None:
    for number in range(100):
        memory.add(
            f"Note {number}: the heron stood at pond {number} for an hour.", time=f"2025-01-{number % 28 + 1:02d}"
        )
    small = memory.recall("heron", budget_tokens=100)
    assert 0 < small.context.footprint.tokens <= 100
    whole = memory.recall("anything at all", budget_tokens=100_000)
    assert len(whole.hits) == 100


def test_a_generator_answers_from_numbered_passages(memory: Memory) -> None:
    memory.add("The key hangs behind the door.")
    model = ScriptedModel(["It hangs behind the door [1]. Also [9]."])
    answer = memory.ask("Where is the key?", generator=model)
    assert [citation.number for citation in answer.citations] == [1]
    assert answer.citations[0].hit.cube.text == "The key hangs behind the door."


def test_pages_follow_each_other_without_gap(memory: Memory) -> None:
    for number in range(25):
        memory.add(f"note {number}", time=f"2025-01-{number + 1:02d}")
    first = memory.list(limit=10)
    second = memory.list(limit=10, cursor=first.cursor)
    third = memory.list(limit=10, cursor=second.cursor)
    found = [cube.text for page in (first, second, third) for cube in page.cubes]
    assert found == [f"note {number}" for number in reversed(range(25))]
    assert third.cursor is None


def test_an_id_may_be_shortened(memory: Memory) -> None:
    cube = memory.add("short").cubes[0]
    assert memory.get(cube.id[:8]) == cube
    for wrong in ("", "zz", cube.id[:3], "'; --", "0" * 32):
        with pytest.raises(NotFound):
            memory.get(wrong)


def test_documents_give_back_their_text(memory: Memory) -> None:
    text = "\n\n".join(f"Paragraph {n}. " + "Words follow words. " * 30 for n in range(20))
    memory.add(Document(text, source="book.txt", title="Book"))
    cubes = sorted(memory.iterate(where={"source": "book.txt"}), key=lambda c: c.header.provenance.position or 0)
    assert "".join(cube.text for cube in cubes) == text


def test_everything_is_there_after_closing_and_opening(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with Memory.open(path) as memory:
        memory.add_many(Note(f"fact number {n} about topic{n}") for n in range(1500))
    with Memory.open(path) as memory:
        assert texts(memory, "topic777", k=1) == ["fact number 777 about topic777"]
        assert memory.check() == []


def test_a_closed_memory_says_so(memory: Memory) -> None:
    memory.close()
    memory.close()
    with pytest.raises(BadInput, match="closed"):
        memory.search("anything")


def test_a_slow_embedder_works_in_the_background(tmp_path: Path) -> None:
    slow = HashEmbedder(dimensions=16, is_instant=False)
    with Memory.open(tmp_path / "m.db", embedder=slow) as memory:
        memory.add("A walnut tree.")
        assert texts(memory, "walnut") == ["A walnut tree."]
        memory.catch_up()
        assert memory.stats().pending == 0
        assert memory.stats().embedder == slow.fingerprint
        assert any(reason.leg == "dense" for reason in memory.search("walnut").hits[0].why)


def test_another_embedder_takes_over_when_all_vectors_are_there(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with Memory.open(path) as memory:
        memory.add_many(Note(f"note {n} on subject{n}") for n in range(50))
        old = memory.stats().embedder
    slow = HashEmbedder(dimensions=16, is_instant=False)
    with Memory.open(path, embedder=slow) as memory:
        assert texts(memory, "subject7", k=1) == ["note 7 on subject7"]
        memory.catch_up()
        assert memory.stats().embedder == slow.fingerprint != old
        assert texts(memory, "subject7", k=1) == ["note 7 on subject7"]
        assert memory.check() == []


def test_record_time_comes_from_the_clock() -> None:
    clock = FixedClock("2025-05-05")
    memory = Memory.open(":memory:", clock=clock)
    id = memory.add("x").cubes[0].id
    clock.advance(60)
    memory.update(id, text="y")
    assert [version.time.isoformat() for version in memory.history(id)] == [
        "2025-05-05T00:00:00+00:00",
        "2025-05-05T00:01:00+00:00",
    ]


def test_threads_may_share_a_memory(memory: Memory) -> None:
    errors: list[Exception] = []

    def work(name: int) -> None:
        try:
            for number in range(15):
                memory.add(f"thread {name} note {number}")
                memory.search(f"thread {name}")
        except Exception as error:  # handed to the main thread, which fails on it
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert memory.stats().cubes == 60
    assert memory.check() == []


def test_a_conversation_of_sessions_is_found_by_neighbours() -> None:
    memory = Memory.open(":memory:")
    turns = tuple(
        Turn(text, speaker=s) for s, text in (("A", "Where did you put the compass?"), ("B", "In the drawer."))
    )
    memory.add(Conversation(turns, session="s1"))
    memory.add(Conversation((Turn("The drawer sticks.", speaker="A"),), session="s2"))
    found = memory.search("Where is the compass?", k=2).hits
    assert [hit.cube.text for hit in found] == ["Where did you put the compass?", "In the drawer."]


def test_an_address_names_a_file(tmp_path: Path) -> None:
    with Memory.open(f"sqlite:///{tmp_path}/a.db") as memory:
        memory.add("x")
    assert (tmp_path / "a.db").exists()
    for wrong in ("mysql://host/db", "", " ", "a\x00b"):
        with pytest.raises(BadInput):
            Memory.open(wrong)
