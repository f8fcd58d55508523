from __future__ import annotations

import copy
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dump_samples import (
    ALL,
    CHROMA,
    GRAPHITI,
    LANGGRAPH,
    LETTA,
    LETTA_EARLIER,
    MEM0,
    MEMOS,
    MEMOS_POINTS,
    MEMOS_SETTINGS,
    PASSAGES,
    QDRANT,
    ZEP,
    ZEP_MESSAGES,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinyon import Memory
from pinyon.core.experience import Conversation, Document, Experience, Note
from pinyon.core.payload import Json
from pinyon.errors import UnreadableSource
from pinyon.importing import import_files, import_stream
from pinyon.sources import JsonFile, look
from pinyon.sources.dumps import DUMPS, dump_of
from pinyon.testing import FixedClock

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def seen(value: Json, name: str = "dump.json") -> list[Experience]:
    return JsonFile(clock=FixedClock(NOW)).read(json.dumps(value).encode(), name)


def notes(value: Json) -> dict[str, Note]:
    return {item.text: item for item in seen(value) if isinstance(item, Note)}


def origin(note: Note, system: str) -> dict[str, Json]:
    said = note.metadata[system]
    assert isinstance(said, dict)
    return said


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize("form", ALL)
def test_each_form_is_told_by_its_shape_alone(form: str) -> None:
    system, value = ALL[form]
    assert look(json.dumps(value).encode(), "dump.json").format == system
    matching = [dump.name for dump in DUMPS if dump.matches(value)]
    assert matching[0] == system
    assert set(matching) <= {system, "qdrant"}  # whose points hold anything


def test_mem0_keeps_words_times_speakers_and_owners() -> None:
    found = notes(MEM0)
    moved = found["Ann moved to Bergen."]
    assert (moved.time, moved.tags, moved.speaker, moved.role) == (day("2024-05-01"), ("places",), "Ann", "user")
    assert moved.metadata["topic"] == "home"
    assert origin(moved, "mem0")["user_id"] == "ann"
    assert moved.life is None
    assert found["ann lives_in bergen"].tags == ("relation",)


def test_mem0_memories_whose_last_day_is_over_are_archived_and_others_expire_after_it() -> None:
    flooded = notes(MEM0)["The cellar is flooded."].life
    assert flooded is not None
    assert (flooded.state, flooded.valid_to) == ("archived", day("2024-06-02"))
    value = copy.deepcopy(MEM0["results"])
    assert isinstance(value, list)
    assert isinstance(value[1], dict)
    value[1]["expiration_date"] = "2031-01-01"
    later = notes(value)["The cellar is flooded."].life
    assert later is not None
    assert (later.state, later.expires) == ("generated", day("2031-01-02"))


def history(*rows: tuple[object, ...]) -> bytes:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(
            "CREATE TABLE history (id TEXT PRIMARY KEY, memory_id TEXT, old_memory TEXT, new_memory TEXT, event TEXT,"
            " created_at DATETIME, updated_at DATETIME, is_deleted INTEGER, actor_id TEXT, role TEXT)"
        )
        for place, row in enumerate(rows):
            database.execute(f"INSERT INTO history VALUES ({', '.join('?' * 10)})", (str(place), *row))
        database.commit()
        return database.serialize()


HISTORY = history(
    ("m1", None, "My bicycle is red.", "ADD", "2024-01-01", "2024-01-01", 0, "Bo", "user"),
    ("m2", None, "The code is 7.", "ADD", "2024-01-01", "2024-01-01", 0, None, "user"),
    ("m1", "My bicycle is red.", "My bicycle is green.", "UPDATE", "2024-01-01", "2024-03-01", 0, "Bo", "user"),
    ("m2", "The code is 7.", None, "DELETE", "2024-01-01", "2024-02-01", 1, None, "user"),
)


def test_the_history_of_mem0_gives_former_words_as_such_and_nothing_that_was_deleted() -> None:
    found = look(HISTORY, "history.db")
    assert found.format == "mem0"
    red, green = (item for item in found.experiences if isinstance(item, Note))
    assert (red.text, red.speaker, green.text, green.life) == (
        "My bicycle is red.",
        "Bo",
        "My bicycle is green.",
        None,
    )
    assert red.life is not None
    assert (red.life.state, red.life.valid_to) == ("archived", day("2024-03-01"))


def test_the_history_and_the_list_of_mem0_name_the_same_memories() -> None:
    listed = [{"id": "m1", "memory": "My bicycle is green.", "hash": "h", "user_id": "bo", "created_at": "2024-01-01"}]
    with Memory.open(":memory:") as memory:
        import_stream(memory, HISTORY, "history.db")
        import_stream(memory, json.dumps(listed).encode(), "mem0.json")
        assert [cube.text for cube in memory.list().cubes] == ["My bicycle is green."]


@pytest.mark.parametrize("wound", [lambda data: data[: len(data) // 2], lambda data: data[:100] + b"\xff" * 3000])
def test_wounded_and_other_databases_are_refused(wound: Callable[[bytes], bytes]) -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE other (a)")
        database.commit()
        other = database.serialize()
    for data in (wound(HISTORY), other):
        with pytest.raises(UnreadableSource, match="SQLite database"):
            look(data, "history.db")


def test_a_dump_that_was_written_as_json_twice_is_read() -> None:
    assert look(json.dumps(json.dumps(LETTA)).encode(), "agent.af").format == "letta"
    assert look(b'"only words"', "a.json").format == "JSON file"


def test_letta_blocks_files_and_messages_are_read_without_prompts() -> None:
    found = seen(LETTA, "sam.af")
    assert [item.text for item in found if isinstance(item, Note)] == [
        "Ann studies lichens.",
        "Rent is due on Fridays.",
    ]
    (talk,) = (item for item in found if isinstance(item, Conversation))
    assert (talk.session, talk.title) == ("Sam", "Sam")
    assert [(turn.role, turn.speaker, turn.text) for turn in talk.turns] == [
        ("user", "Ann", "My cat is called Ludo."),
        ("assistant", None, "A fine name."),
    ]


def test_earlier_letta_agents_speak_by_a_call_and_hear_in_an_envelope() -> None:
    (talk,) = (item for item in seen(LETTA_EARLIER) if isinstance(item, Conversation))
    assert [(turn.role, turn.text) for turn in talk.turns] == [("user", "I row."), ("assistant", "Which boat?")]


def test_letta_passages_keep_tags_and_lose_their_vectors() -> None:
    passage = notes(PASSAGES)["Ann's boat is called Petrel."]
    assert (passage.tags, passage.metadata["page"]) == (("boats",), 3)
    assert origin(passage, "letta") == {
        "id": "passage-6f1f0c7e-0000-4000-8000-000000000003",
        "archive_id": "archive-1",
        "created_at": "2024-05-02T10:00:00+00:00",
    }


def test_facts_of_graphiti_hold_from_and_to_their_own_times() -> None:
    found = notes(GRAPHITI)
    oslo, bergen, mill = (found[f"Ann {word}."] for word in ("lives in Oslo", "lives in Bergen", "rents the mill"))
    assert oslo.time == day("2020-01-01")
    assert oslo.life is not None
    assert (oslo.life.state, oslo.life.valid_to) == ("archived", day("2024-05-01"))
    assert oslo.metadata["street"] == "Pilestredet"
    assert bergen.life is None
    assert mill.life is not None
    assert (mill.life.state, mill.life.valid_to) == ("generated", day("2099-01-01"))
    assert found["Ann: Keeps bees."].tags == ("summary",)
    assert found["Ann: I moved to Bergen yesterday."].time == datetime(2024, 5, 2, 9, tzinfo=UTC)


def test_superseded_facts_of_zep_are_archived_since_then() -> None:
    found = notes(ZEP)
    assert found["Bo plays the cello."].life is None
    viola = found["Bo plays the viola."].life
    assert viola is not None
    assert (viola.state, viola.valid_to) == ("archived", day("2024-08-01"))


def test_messages_of_zep_name_their_speakers() -> None:
    (talk,) = seen(ZEP_MESSAGES)
    assert isinstance(talk, Conversation)
    assert talk.session == "s1"
    assert [(turn.speaker, turn.role) for turn in talk.turns] == [("Bo", "user"), ("Helper", "assistant")]


@pytest.mark.parametrize("is_lines", [False, True])
def test_items_of_langgraph_are_read_from_lists_and_lines(is_lines: bool) -> None:
    data = "\n".join(json.dumps(item) for item in LANGGRAPH) if is_lines else json.dumps(LANGGRAPH)
    found = look(data.encode(), "store.jsonl" if is_lines else "store.json")
    assert found.format == "langgraph"
    bees, tea, profile = (item for item in found.experiences if isinstance(item, Note))
    assert (bees.text, bees.metadata["topic"]) == ("Ann keeps bees.", "garden")
    assert origin(bees, "langgraph")["namespace"] == ["memories", "ann"]
    assert (tea.text, origin(tea, "langgraph")["kind"]) == ("Ann prefers tea.", "Memory")
    assert json.loads(profile.text) == {"name": "Ann", "age": 40}


def test_memos_marks_what_is_archived_and_what_it_said_before() -> None:
    found = notes(MEMOS)
    hives = found["Ann has two hives."]
    assert (hives.tags, hives.role, hives.life) == (("bees",), "user", None)
    edges = origin(hives, "memos")["edges"]
    assert edges == [{"target": "6f1f0c7e-0000-4000-8000-000000000006", "type": "MERGED_TO"}]
    past, garden = found["Ann has one hive."].life, found["Ann has no garden."].life
    assert past is not None
    assert past.state == "archived"
    assert garden is not None
    assert (garden.state, garden.valid_to) == ("archived", day("2024-08-01"))


def test_settings_of_a_memos_cube_are_never_remembered() -> None:
    with pytest.raises(UnreadableSource, match="holds the settings") as told:
        seen(MEMOS_SETTINGS, "config.json")
    assert "s3cret" not in told.value.message


def test_a_folder_that_memos_wrote_gives_its_memories_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(MEMOS_SETTINGS))
    (tmp_path / "textual_memory.json").write_text(json.dumps(MEMOS_POINTS))
    (tmp_path / "parametric_memory.adapter").write_text("Placeholder")
    with Memory.open(":memory:") as memory:
        done = import_files(memory, [tmp_path])
        assert [source.outcome for source in done.sources] == ["skipped", "skipped", "added"]
        assert [cube.text for cube in memory.list().cubes] == ["Ann has two hives."]


def test_vector_stores_give_their_texts_with_metadata() -> None:
    bread = notes(CHROMA)["Ann's bread needs two days."]
    assert (bread.time, bread.metadata) == (
        day("2023-01-02"),
        {"topic": "bread", "date": "2023-01-02", "chroma": {"id": "c1"}},
    )
    assert notes(QDRANT)["Ann paints doors green."].metadata == {"room": "hall", "qdrant": {"id": 7}}


def test_a_key_of_the_user_with_the_name_of_the_system_is_kept() -> None:
    value = [{"id": "a", "memory": "Words.", "hash": "h", "metadata": {"mem0": 1, "x": 2}}]
    assert notes(value)["Words."].metadata == {"mem0": {"id": "a", "hash": "h", "metadata": {"mem0": 1, "x": 2}}}


@pytest.mark.parametrize(
    "value",
    [
        [{"text": "a"}, {"memory": "b"}],
        {"results": [{"id": "a", "memory": "b"}]},
        {"results": [], "relations": []},
        {"nodes": [{"id": 1}], "edges": []},
        {"ids": ["a"], "documents": [1]},
        {"ids": ["a"], "documents": ["x", "y"]},
        [*LANGGRAPH, {"text": "a"}],
        {"points": [{"id": 1, "payload": {"count": 1}}]},
        {"agents": [], "blocks": []},
        {"messages": [{"role": "user", "content": "a"}]},
    ],
)
def test_what_only_looks_alike_stays_what_it_was(value: Json) -> None:
    assert dump_of(value) is None
    assert look(json.dumps(value).encode(), "a.json").format == "JSON file"


# --- into a memory -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ALL)
def test_importing_twice_adds_nothing_whatever_the_file_is_called(form: str, tmp_path: Path) -> None:
    system, value = ALL[form]
    (tmp_path / "one.json").write_text(json.dumps(value))
    with Memory.open(":memory:", user="ann") as memory:
        first = import_files(memory, [tmp_path / "one.json"])
        assert (first.sources[0].outcome, first.sources[0].format) == ("added", system)
        before = {cube.id for cube in memory.list(where={"states": ["generated", "archived"]}).cubes}
        assert import_files(memory, [tmp_path / "one.json"]).sources[0].outcome == "unchanged"
        again = import_stream(memory, json.dumps(value, indent=1).encode(), str(tmp_path / "one.json"))
        assert again.cubes == 0
        if system not in ("chroma", "qdrant"):  # whose ids are the user's own, and may be those of other collections
            import_stream(memory, json.dumps(value, indent=2).encode(), "two.json")
            assert {cube.id for cube in memory.list(where={"states": ["generated", "archived"]}).cubes} == before


def test_superseded_facts_are_found_only_by_who_asks_when_they_held(tmp_path: Path) -> None:
    (tmp_path / "edges.json").write_text(json.dumps(GRAPHITI))
    with Memory.open(":memory:") as memory:
        import_files(memory, [tmp_path / "edges.json"])
        live = [hit.cube.text for hit in memory.search("Where does Ann live, Oslo?").hits]
        assert "Ann lives in Bergen." in live
        assert "Ann lives in Oslo." not in live
        then = [hit.cube.text for hit in memory.search("Where does Ann live?", where={"valid_at": "2022-01-01"}).hits]
        assert then == ["Ann lives in Oslo."]


def test_what_is_over_there_takes_the_place_of_nothing_here() -> None:
    said = {"group_id": "g", "created_at": "2024-05-02"}
    live = {"uuid": "a", "fact": "Ann lives in Bergen.", "valid_at": "2020-01-01", **said}
    over = {"uuid": "b", "fact": "Ann lives in Oslo.", "valid_at": "2024-01-01", "expired_at": "2024-02-01", **said}
    with Memory.open(":memory:", conflicts="rules") as memory:
        import_stream(memory, json.dumps([live, over]).encode(), "edges.json")
        (cube,) = memory.list().cubes
        assert (cube.text, cube.header.life.valid_to) == ("Ann lives in Bergen.", None)


def test_a_memory_that_changed_there_takes_the_place_of_its_former_words(tmp_path: Path) -> None:
    path = tmp_path / "mem0.json"
    value = copy.deepcopy(MEM0)
    path.write_text(json.dumps(value))
    with Memory.open(":memory:") as memory:
        import_files(memory, [path])
        path.write_text(json.dumps(value).replace("Ann moved to Bergen.", "Ann moved to Voss."))
        import_files(memory, [path])
        live = [cube.text for cube in memory.list().cubes]
        assert "Ann moved to Voss." in live
        assert "Ann moved to Bergen." not in live


def test_whose_a_memory_was_gives_nobody_a_right_to_it(tmp_path: Path) -> None:
    (tmp_path / "mem0.json").write_text(json.dumps(MEM0))
    with Memory.open(tmp_path / "m.db", user="bo") as memory:
        import_files(memory, [tmp_path / "mem0.json"])
        (cube,) = memory.list(where={"metadata": {"mem0.user_id": "ann"}}).cubes
        assert cube.owner.user == "bo"
        assert memory.list(user="ann").cubes == ()


def test_long_memories_keep_who_said_them_and_when_they_ended() -> None:
    long = "\n\n".join(f"Word number {n} of a long story." for n in range(200))
    edge = {"uuid": "e", "group_id": "g", "fact": long, "created_at": "2024-01-01", "expired_at": "2024-02-01"}
    with Memory.open(":memory:") as memory:
        for name in ("a.json", "b.json"):
            import_stream(memory, json.dumps([{**edge, "name": name}]).encode(), name)
        cubes = memory.list(where={"states": ["archived"]}).cubes
        cubes = tuple(sorted(cubes, key=lambda cube: cube.header.provenance.span or (0, 0)))
        assert "".join(cube.text for cube in cubes) == long
        assert {cube.header.life.valid_to for cube in cubes} == {day("2024-02-01")}
        assert memory.search("story").hits == ()


# --- near shapes ---------------------------------------------------------------------------------------------------

_LEAVES = st.sampled_from([None, True, 0, -1, 1e300, "", " ", "words", "2024-01-01", "\x00", "\ud800", [], {}, [[]]])


def _paths(value: Json, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, held in inner for found in _paths(held, (*path, key)))]


def _changed(value: Json, path: tuple[str | int, ...], leaf: Json) -> Json:
    if not path:
        return leaf
    held: dict[str | int, Json] | list[Json] = value  # type: ignore[assignment]  # a path leads through these
    held[path[0]] = _changed(held[path[0]], path[1:], leaf)  # type: ignore[index]
    return value


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(ALL)), st.data())
def test_near_shapes_are_read_whole_or_refused_in_one_sentence(form: str, data: st.DataObject) -> None:
    value = copy.deepcopy(ALL[form][1])
    for _ in range(data.draw(st.integers(1, 3))):
        value = _changed(value, data.draw(st.sampled_from(_paths(value))), copy.deepcopy(data.draw(_LEAVES)))
    with Memory.open(":memory:") as memory:
        done = import_stream(memory, json.dumps(value).encode(), "near.json").sources[0]
        held = len(memory.list(where={"states": ["generated", "archived"]}).cubes)
        if done.outcome == "skipped":
            assert held == 0
            assert done.reason
            assert "\n" not in done.reason
            assert "not a readable" not in done.reason
        else:
            assert held == done.cubes > 0


def test_other_json_is_a_document_as_before() -> None:
    (found,) = seen({"a": [1, 2]})
    assert isinstance(found, Document)
