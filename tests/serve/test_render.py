import json
import re
from datetime import UTC, datetime

import pytest

from pinyon import Conversation, Memory, Turn
from pinyon.core.cube import cube_to_json
from pinyon.importing import Importer, import_stream
from pinyon.results import Imported, SourceResult
from pinyon.serve.doctor import examine
from pinyon.serve.documents import json_of
from pinyon.serve.outcomes import Exported, Health, Past
from pinyon.serve.render import _EXTRACTED, Look, remarks_of, text_of, trace_of, visible
from pinyon.sources.docx import Docx
from pinyon.sources.epub import Epub
from pinyon.sources.html import Html
from pinyon.sources.pdf import Pdf

PLAIN = Look()
COLORED = Look(is_colored=True, width=80)
LONG = " ".join(f"word{n}" for n in range(400)) + " the hidden treasure lies here " + "more words " * 200


@pytest.fixture(scope="module")
def memory() -> Memory:
    memory = Memory.open(":memory:")
    said = (Turn("My sister keeps happy bees.", speaker="Ann", time=datetime(2023, 5, 8, tzinfo=UTC)),)
    memory.add(Conversation(said, session="monday"))
    memory.add("The spare key\nhangs behind the blue door.", tags=["home"], metadata={"year": 2024})
    memory.add(LONG)
    memory.add("evil \x1b[2J\x07 text \x9b31m about snakes")
    import_stream(memory, b"# Garden\n\nTomatoes need sun.", "garden.md", importer=Importer())
    return memory


def results(memory: Memory) -> list[object]:
    cube = memory.list(limit=1).cubes[0]
    return [
        cube,
        memory.add("The spare key\nhangs behind the blue door."),
        Imported((SourceResult("a.md", "added", 2), SourceResult("b.bin", "skipped", reason="holds no words")), 1.0),
        memory.search("spare key"),
        memory.recall("spare key", budget_tokens=60),
        memory.ask("Where is the spare key?"),
        memory.ask("What is the capital of Peru?"),
        memory.list(limit=2),
        memory.plan_forget([cube.id]),
        Past(cube.id, tuple(memory.history(cube.id))),
        Exported("a.jsonl", 3),
        memory.stats(),
        examine(memory),
    ]


def test_every_result_is_one_json_document_and_plain_text(memory: Memory) -> None:
    for result in results(memory):
        json.loads(json.dumps(json_of(result), allow_nan=False))
        assert isinstance(text_of(result, PLAIN), str)
        assert isinstance(text_of(result, COLORED), str)
        assert all("\n" not in remark for remark in remarks_of(result))


def test_what_is_no_result_is_refused() -> None:
    with pytest.raises(TypeError):
        json_of(3)
    with pytest.raises(TypeError):
        text_of(3, PLAIN)


def test_json_shows_cubes_as_everywhere(memory: Memory) -> None:
    found = memory.search("spare key")
    document = json_of(found)
    assert isinstance(document, dict)
    assert document["hits"][0]["cube"] == cube_to_json(found.hits[0].cube)  # type: ignore[index,call-overload]
    assert set(document) == {"hits", "repeated", "considered", "terms", "ms", "notes"}


def test_a_hit_shows_its_id_date_speaker_and_session(memory: Memory) -> None:
    found = memory.search("who keeps bees", k=1)
    text = text_of(found, PLAIN)
    assert text.split("\n")[0] == f" 1  {found.hits[0].cube.id[:10]}  8 May 2023 · Ann · monday"
    assert text.split("\n")[1] == "    My sister keeps happy bees."


def test_a_chunk_shows_its_source_and_place(memory: Memory) -> None:
    line = text_of(memory.search("tomatoes", k=1), PLAIN).split("\n")[0]
    assert re.search(r"added \d+ \w+ \d{4} · garden\.md:\d+-\d+$", line)


@pytest.mark.parametrize(("page", "shown"), [
    (b"<h1>Garden</h1><p>Yes.</p><h2>Beds</h2><p>Leeks like the cold.</p>", "garden.HTML:Garden > Beds"),
    (b"<p>Leeks like the cold.</p>", "garden.HTML"),
])  # fmt: skip
def test_a_chunk_of_a_page_shows_its_section_and_no_offsets_of_a_text_that_is_no_file(page: bytes, shown: str) -> None:
    with Memory.open(":memory:") as memory:
        import_stream(memory, page, "garden.HTML", importer=Importer())
        found = memory.search("leeks", k=1)
        assert text_of(found, PLAIN).split("\n")[0].endswith(f" · {shown}")
        assert f"{shown}\n" in text_of(found.hits[0].cube, PLAIN)
        assert found.hits[0].cube.header.provenance.span is not None


def test_offsets_are_hidden_for_every_kind_of_file_whose_words_are_read_out_of_it() -> None:
    readers = (Html(), Docx(), Epub(), Pdf())
    assert set(_EXTRACTED) == set().union(*(reader.suffixes for reader in readers))


@pytest.mark.parametrize(("name", "text"), [
    ("a.md", "---\ntags: [x]\n---\n# Über\n\nÄpfel.\n\n## Beete\n\nLauch.\n"), ("a.csv", "name,age\nÄnne,3\nBob,4\n"),
    ("a.txt", "Erstes.\n\nZweites — Ende.\n"),
])  # fmt: skip
def test_offsets_that_are_shown_lead_back_into_the_file(name: str, text: str) -> None:
    with Memory.open(":memory:") as memory:
        import_stream(memory, text.encode(), name, importer=Importer())
        for cube in memory.iterate():
            start, end = cube.header.provenance.span or (0, 0)
            assert text[start:end].strip() == cube.text.strip()


def test_terms_are_marked_by_their_stem_and_only_in_colour(memory: Memory) -> None:
    found = memory.search("happiness of a bee", k=1)
    assert "\x1b[1;33mhappy\x1b[0m \x1b[1;33mbees\x1b[0m." in text_of(found, COLORED)
    assert "\x1b" not in text_of(found, PLAIN)


def test_why_names_legs_ranks_terms_and_time(memory: Memory) -> None:
    text = text_of(memory.search("happy bees", k=1), Look(is_why=True))
    assert "score " in text
    assert "(rank 1)" in text
    assert "matched: happi, bee" in text
    assert re.search(r"ms .*total \d", text)
    assert "why" not in text_of(memory.search("happy bees", k=1), PLAIN)


def test_an_excerpt_shows_the_part_that_matches(memory: Memory) -> None:
    text = text_of(memory.search("hidden treasure", k=1), PLAIN)
    assert "hidden treasure lies here" in text
    assert len(text) < 500
    assert text.count("…") == 2


def test_a_memory_cannot_drive_the_terminal(memory: Memory) -> None:
    found = memory.search("snakes", k=1)
    for result in (found, found.hits[0].cube, memory.list(limit=10)):
        shown = text_of(result, Look(width=80))
        assert "\x1b" not in shown
        assert "\x07" not in shown
        assert "\x9b" not in shown
    assert "\\x1b[2J" in text_of(found, Look(width=80))


def test_a_pipe_gets_the_words_as_they_are(memory: Memory) -> None:
    cube = memory.search("snakes", k=1).hits[0].cube
    assert text_of(cube, PLAIN).endswith("\n\nevil \x1b[2J\x07 text \x9b31m about snakes")


def test_lines_of_a_list_are_cut_on_a_terminal_only(memory: Memory) -> None:
    page = memory.list(limit=10)
    assert max(map(len, text_of(page, Look(width=80)).split("\n"))) <= 80
    assert max(map(len, text_of(page, PLAIN).split("\n"))) > 1000
    assert len(text_of(page, PLAIN).split("\n")) == len(page.cubes)


def test_an_answer_lists_each_citation_once(memory: Memory) -> None:
    text = text_of(memory.ask("Where is the spare key?"), PLAIN)
    assert len(re.findall(r"^\[1\] [0-9a-f]{10}  ", text, re.MULTILINE)) == 1


def test_a_long_plan_names_twenty_and_counts_the_rest() -> None:
    with Memory.open(":memory:") as memory:
        memory.add_many([Conversation(tuple(Turn(f"line {n}", speaker="Ann") for n in range(25)))])
        text = text_of(memory.plan_forget(where={"speaker": "Ann"}), PLAIN)
    assert text.endswith("… and 5 more\nwould forget 25 memories")


def test_remarks_name_what_was_skipped_and_how_to_go_on(memory: Memory) -> None:
    done = Imported((SourceResult("b.bin", "skipped", reason="holds no words"),), 1.0)
    assert remarks_of(done) == ["skipped b.bin: holds no words"]
    page = memory.list(limit=1)
    assert remarks_of(page) == [f"more: --cursor={page.cursor}"]
    assert "doctor --repair" in remarks_of(Health(("x",), (), memory.stats(), {}, {}))[0]


def test_a_trace_says_what_was_considered(memory: Memory) -> None:
    assert trace_of(memory.search("spare key"))[0].startswith("considered ")


def test_visible_keeps_line_breaks_tabs_and_every_script() -> None:
    assert visible("a\n\tб 🥜") == "a\n\tб 🥜"
    assert visible("\x00\x7f") == "\\x00\\x7f"
