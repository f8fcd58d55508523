import io
import json
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pinyon import Memory
from pinyon.serve.cli import main
from pinyon.serve.screen import Screen


def texts(document: Any) -> list[str]:
    cubes = document["cubes"] if "cubes" in document else [hit["cube"] for hit in document["hits"]]
    return [cube["payload"]["content"] for cube in cubes]


# --- help and misuse -------------------------------------------------------------------------------------------------


def test_without_arguments_the_verbs_are_shown(line: Any) -> None:
    result = line()
    assert result.exit_code == 0
    assert [name for name in main.commands if f"\n  {name} " not in result.stdout] == []


@pytest.mark.parametrize("name", sorted(main.commands))
def test_the_help_of_every_command_ends_with_an_example(line: Any, name: str) -> None:
    result = line(name, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert f"pinyon {name}" in result.stdout.rstrip().rsplit("Example", 1)[1]


def test_the_version_is_shown(line: Any) -> None:
    assert line("--version").stdout.startswith("pinyon ")


@pytest.mark.parametrize(("typed", "meant"), [("serch", "search"), ("lits", "list"), ("rekall", "recall")])
def test_an_unknown_verb_names_the_nearest(line: Any, typed: str, meant: str) -> None:
    result = line(typed, "x")
    assert result.exit_code == 2
    assert result.stderr == f"error: there is no verb '{typed}'\nhint: did you mean `pinyon {meant}`?\n"


@pytest.mark.parametrize(
    "words",
    [
        ["xyzzy"],
        ["search"],
        ["search", "x", "--nope"],
        ["search", "x", "-k", "0"],
        ["search", "x", "-k", "many"],
        ["search", "x", "--where", "nothing"],
        ["search", "x", "--since", "yesterday"],
        ["search", "x", "--until", "2023-02-30"],
        ["search", "x", "--user", ""],
        ["list", "--space", " "],
        ["list", "--limit", "0"],
        ["list", "--limit", "10001"],
        ["list", "--state", "lost"],
        ["recall", "x", "--budget", "0"],
        ["add"],
        ["add", "x", "--meta", "nothing"],
        ["add", "x", "--time", "soon"],
        ["add", "x", "--role", "king"],
        ["add", "x", "--messages", "y"],
        ["add", "x", "--path", ""],
        ["add", "x", "--path", "a\x00b"],
        ["import"],
        ["import", "-", "other.md"],
        ["import", "-", "--watch"],
        ["import", "x.md", "--name", "y.md"],
        ["update", "abcd"],
        ["get"],
        ["export"],
        ["completion"],
        ["completion", "tcsh"],
        ["search", " "],
        ["ask", ""],
        ["recall", "\t"],
    ],
)
def test_a_wrong_call_is_one_sentence_and_exit_2(line: Any, words: list[str]) -> None:
    result = line(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) <= 2
    document = json.loads(line(*words, "--json").stderr)
    assert set(document) == {"error", "hint"}


@pytest.mark.parametrize(
    "words",
    [
        ["get", "abcd"],
        ["get", "ab"],
        ["get", "../../etc/passwd"],
        ["get", "%"],
        ["history", "ffff"],
        ["update", "ffff", "--text", "x"],
        ["forget", "ffff", "--yes"],
        ["forget", "--yes"],
        ["list", "--cursor", "x"],
        ["add", "  "],
        ["add", "x", "--tag", ""],
        ["add", "x", "--tag", "a\nb"],
        ["add", "x", "--user", "a\x00b"],
        ["add", "--messages", "missing.json"],
        ["import", "missing.md"],
        ["ask", "x", "--model", "oracle"],
        ["search", "x", "--embedder", "oracle"],
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exit_1(told: Any, words: list[str]) -> None:
    result = told(*words)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert 1 <= len(result.stderr.splitlines()) <= 2


def test_an_error_is_a_json_object_with_json(told: Any) -> None:
    result = told("get", "ffff", "--json")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert json.loads(result.stderr) == {
        "error": "there is no cube 'ffff' here",
        "hint": "`pinyon list` shows what there is",
    }


@pytest.mark.parametrize(
    "verb", ["search x", "recall x", "ask x", "get abcd", "list", "history abcd", "stats", "doctor"]
)
def test_a_verb_that_reads_makes_no_memory(line: Any, verb: str) -> None:
    result = line(*verb.split())
    assert result.exit_code == 1
    assert "there is no memory at" in result.stderr
    assert not line.path.exists()


def test_a_folder_without_a_memory_is_none(line: Any) -> None:
    assert line("stats", "--path", str(line.folder)).exit_code == 1
    assert line("add", "hello", "--path", str(line.folder / "deep" / "x.db")).exit_code == 0


# --- add -------------------------------------------------------------------------------------------------------------


def test_words_are_joined_and_kept(line: Any) -> None:
    document = line.json(
        "add", "the", "key", "hangs", "--tag", "home", "--tag", "key", "--meta", "n=3", "--meta", "who=Ann"
    )
    cube = document["cubes"][0]
    assert document["created"] == 1
    assert cube["payload"]["content"] == "the key hangs"
    assert cube["header"]["tags"] == ["home", "key"]
    assert cube["header"]["metadata"] == {"n": 3, "who": "Ann"}


@pytest.mark.parametrize(
    "text", ["\x00", "a\x00b", "🥜🐝", "е́", "NEAR( OR *", '"', "'; DROP TABLE cubes;--", "\ufeff", "a\r\nb"]
)
def test_strange_text_is_kept_and_found_letter_for_letter(line: Any, text: str) -> None:
    assert line.json("add", "--", text)["cubes"][0]["payload"]["content"] == text
    assert texts(line.json("search", "--", text)) == [text]


def test_standard_input_is_read(line: Any) -> None:
    assert texts(line.json("add", stdin="from a pipe\n")) == ["from a pipe"]
    assert texts(line.json("add", "-", stdin="two\nlines\n\n")) == ["two\nlines\n"]
    assert texts(line.json("search", "-", "-k", "1", stdin="pipe")) == ["from a pipe"]


def test_standard_input_that_is_no_text_is_refused(line: Any) -> None:
    result = line("add", "-", stdin=b"\xff\xfe\x00")
    assert result.exit_code == 1
    assert "not UTF-8" in result.stderr


def test_a_speaker_makes_a_turn(line: Any) -> None:
    words = ["add", "--speaker", "Ann", "--role", "user", "--time", "2023-05-08", "--session", "s1", "hello"]
    cube = line.json(*words)["cubes"][0]
    assert cube["header"]["unit"] == "turn"
    assert cube["header"]["speaker"] == "Ann"
    assert cube["owner"] == {"session": "s1"}
    assert cube["time"] == "2023-05-08T00:00:00+00:00"


@pytest.mark.parametrize(
    "written",
    [
        '[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]',
        '{"role": "user", "content": "hi"}\n{"role": "assistant", "content": "ho"}\n',
    ],
)
def test_messages_are_read_from_a_file_and_from_standard_input(line: Any, written: str) -> None:
    file = line.folder / "chat.json"
    file.write_text(written)
    assert texts(line.json("add", "--messages", str(file))) == ["hi", "ho"]
    assert texts(line.json("add", "--messages", "-", "--session", "s2", stdin=written)) == ["hi", "ho"]


@pytest.mark.parametrize(
    "written", ["", "nothing", "3", "[]", "[3]", '[{"role": "king", "content": "x"}]', "[" * 100_000]
)
def test_messages_of_another_shape_are_refused(line: Any, written: str) -> None:
    result = line("add", "--messages", "-", stdin=written)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")


def test_words_about_what_was_added_go_to_stderr(line: Any) -> None:
    result = line("add", "hello")
    assert result.stdout.endswith("  hello\n")
    assert result.stderr.startswith("1 new in ")
    assert line("add", "hello").stderr.startswith("1 known already")


# --- import and export -----------------------------------------------------------------------------------------------


def test_files_are_imported_and_what_cannot_be_read_is_named(line: Any, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("# Bees\n\nBees like sun.")
    (tmp_path / "notes" / "b.png").write_bytes(b"\x89PNG")
    result = line("import", str(tmp_path / "notes"), str(tmp_path / "missing.md"), "--tag", "garden", "--meta", "n=1")
    assert result.exit_code == 0
    assert result.stdout == "3 sources: 1 added, 2 skipped; 1 memory written\n"
    assert "skipped " in result.stderr
    assert "missing.md: does not exist" in result.stderr
    assert line("import", str(tmp_path / "notes" / "a.md"), "--tag", "garden", "--meta", "n=1").stdout.startswith(
        "1 source: 1 unchanged"
    )
    assert len(line.json("list", "--tag", "garden", "--where", "n=1", "--source", "a.md")["cubes"]) == 1


def test_a_stream_is_imported_under_its_name(line: Any) -> None:
    document = line.json("import", "-", "--name", "x.md", stdin="# Bees\n\nBees like sun.")
    assert document["sources"] == [
        {"source": "x.md", "outcome": "added", "cubes": 1, "reason": "", "format": "Markdown"}
    ]


def test_streams_without_a_name_do_not_take_each_others_place(line: Any) -> None:
    line("import", "-", stdin="The code of the wifi is 4711.")
    line("import", "-", stdin="The code of the alarm is 9.")
    assert line.json("import", "-", stdin="The code of the alarm is 9.")["sources"][0]["outcome"] == "unchanged"
    assert len(line.json("list")["cubes"]) == 2


def test_an_empty_stream_is_a_failure(line: Any) -> None:
    result = line("import", "-", stdin="")
    assert result.exit_code == 1
    assert "skipped" in result.stderr


def test_an_archive_gives_everything_back(told: Any, tmp_path: Path) -> None:
    archive = tmp_path / "backup.jsonl"
    assert told.json("export", str(archive)) == {"path": str(archive), "cubes": 4}
    assert told("export", str(archive), "--tag", "bees").stdout.startswith("1 memory in ")
    assert told("export", str(archive)).exit_code == 0
    other = str(tmp_path / "other.db")
    assert told.json("import", str(archive), "--path", other)["cubes"] == 4
    assert told.json("list", "--path", other) == told.json("list")


def test_an_archive_goes_to_standard_output(told: Any) -> None:
    with zipfile.ZipFile(io.BytesIO(told("export", "-").stdout_bytes)) as archive:
        assert json.loads(archive.read("manifest.json"))["format"] == "pinyon-archive"
        assert len(archive.read("cubes.jsonl").splitlines()) == 4


@pytest.mark.parametrize(("given", "unit", "done"), [((), "memories", 4), (("--everything",), "entries", 4)])
def test_an_export_shows_a_bar(
    told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], unit: str, done: int
) -> None:
    bars: dict[str, int] = {}

    @contextmanager
    def bar(_self: Screen, unit: str) -> Iterator[Callable[[object], object]]:
        bars[unit] = 0

        def tell(step: object) -> None:
            bars[unit] += step if isinstance(step, int) else 1

        yield tell

    monkeypatch.setattr(Screen, "bar", bar)
    result = told("export", str(tmp_path / "a.pinyon"), *given)
    assert result.exit_code == 0
    assert list(bars) == [unit]
    assert bars[unit] >= done


def test_an_export_replaces_nothing_but_an_archive(told: Any, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    for target in (notes, told.path, tmp_path, Path("/dev/null")):
        result = told("export", str(target))
        assert result.exit_code == 1
        assert "no archive" in result.stderr
    assert notes.read_text() == "mine"
    assert len(told.json("list")["cubes"]) == 4


# --- search, recall, ask ---------------------------------------------------------------------------------------------


def test_a_search_shows_hits_and_says_why(told: Any) -> None:
    result = told("search", "where", "is", "the", "spare", "key", "-k", "1", "--why")
    assert "The spare key hangs behind the blue door." in result.stdout
    assert "(rank 1)" in result.stdout
    assert "\x1b" not in result.stdout
    assert told.json("search", "spare key", "-k", "2")["hits"][0]["why"][0]["rank"] == 1


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--speaker", "Ann"], {"I am allergic to peanuts."}),
        (["--speaker", ""], set()),
        (["--in-session", "s1", "--until", "2024-01-01"], {"I am allergic to peanuts.", "I never knew that."}),
        (["--tag", "home", "--tag", "bees"], {"The bees live behind the old mill."}),
        (["--where", "year>2021"], {"The spare key hangs behind the blue door."}),
        (["--where", "year in 2020,2021"], {"The bees live behind the old mill."}),
        (["--where", "year>=2020", "--where", "year!=2020"], {"The spare key hangs behind the blue door."}),
        (["--where", "year<1000"], set()),
        (["--source", "x.md"], set()),
        (["--since", "2023-05-08", "--until", "2023-05-08"], set()),
    ],
)
def test_filters_mean_the_same_everywhere(told: Any, filters: list[str], expected: set[str]) -> None:
    assert set(texts(told.json("list", *filters))) == expected
    assert set(texts(told.json("search", "peanuts key bees knew", *filters))) == expected
    assert set(texts(told.json("recall", "peanuts key bees knew", *filters))) == expected


def test_a_search_without_a_hit_says_so_and_is_no_failure(told: Any) -> None:
    result = told("search", "x", "--tag", "nothing")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "nothing found\n")


def test_recall_prints_the_context_and_its_trace_elsewhere(told: Any) -> None:
    result = told("recall", "what is Ann allergic to", "--budget", "500", "--why")
    assert result.stdout.startswith("[1] ")
    assert "considered 4 memories" in result.stderr
    assert "considered" not in result.stdout
    assert told.json("recall", "peanuts", "--budget", "15")["tokens"] <= 15


def test_an_answer_has_numbered_citations(told: Any) -> None:
    result = told("ask", "what is Ann allergic to", "--why")
    assert result.stdout.startswith("I am allergic to peanuts. [1]\n[1] ")
    assert "8 May 2023 · Ann · s1" in result.stdout
    assert "score" in result.stderr
    document = told.json("ask", "what is Ann allergic to")
    assert document["is_known"]
    assert document["citations"][0]["number"] == 1


def test_an_answer_that_is_not_known_says_so(told: Any) -> None:
    assert not told.json("ask", "Who won the regatta?")["is_known"]


# --- get, list, update, history --------------------------------------------------------------------------------------


def test_one_memory_is_shown_whole(told: Any, ids: Any) -> None:
    key = told.json("list", "--where", "year=2024")["cubes"][0]["id"]
    result = told("get", key[:6])
    assert result.stdout.startswith(f"id        {key}\n")
    assert result.stdout.endswith("\n\nThe spare key hangs behind the blue door.\n")
    assert told.json("get", key)["id"] == key
    assert len(ids()) == 4


def test_a_list_goes_on_where_its_page_ended(told: Any) -> None:
    first = told.json("list", "--limit", "3", "--oldest-first")
    second = told.json("list", "--limit", "3", "--oldest-first", "--cursor", first["cursor"])
    assert texts(first)[0] == "I am allergic to peanuts."
    assert second["cursor"] is None
    assert len({cube["id"] for cube in (*first["cubes"], *second["cubes"])}) == 4
    shown = told("list", "--limit", "3")
    assert len(shown.stdout.splitlines()) == 3
    assert shown.stderr.startswith("more: --cursor=")


def test_stages_of_life_can_be_listed(told: Any) -> None:
    assert told.json("list", "--state", "archived", "--state", "expired")["cubes"] == []


def test_an_update_is_the_next_version(told: Any, ids: Any) -> None:
    id = ids()[0]
    assert (
        told.json("update", id, "--text", "new words", "--tag", "a", "--meta", "n=1", "--time", "2020-01-01")["version"]
        == 2
    )
    assert told.json("update", id[:8], "--text", "-", stdin="newer words\n")["payload"]["content"] == "newer words"
    cube = told.json("update", id, "--tag", "b")
    assert (cube["payload"]["content"], cube["header"]["tags"], cube["header"]["metadata"]) == (
        "newer words",
        ["b"],
        {"n": 1},
    )
    document = told.json("history", id)
    assert [version["cube"]["version"] for version in document["versions"]] == [1, 2, 3, 4]
    assert told("history", id).stdout.count("version ") == 4


# --- forget ----------------------------------------------------------------------------------------------------------


def test_forgetting_needs_a_yes(told: Any, ids: Any) -> None:
    result = told("forget", ids()[0])
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert len(ids()) == 4


def test_a_dry_run_shows_what_would_go(told: Any, ids: Any) -> None:
    result = told("forget", "--tag", "home", "--dry-run")
    assert result.stdout.endswith("would forget 2 memories\n")
    assert told.json("forget", "--tag", "home", "--dry-run")["is_done"] is False
    assert len(ids()) == 4


def test_what_is_agreed_to_is_forgotten(told: Any, ids: Any) -> None:
    first = ids()[0]
    assert told("forget", first[:8], "--yes").stdout.endswith("forgot 1 memory\n")
    assert told.json("forget", "--query", "spare key", "-k", "1", "--yes")["is_done"]
    assert told.json("forget", "--speaker", "Bob", "-y")["is_done"]
    assert texts(told.json("list")) == ["The bees live behind the old mill."]
    assert told("get", first).exit_code == 1


def test_a_filter_that_fits_nothing_forgets_nothing(told: Any, ids: Any) -> None:
    result = told("forget", "--source", "nothing.md", "--yes")
    assert (result.exit_code, result.stdout) == (0, "would forget 0 memories\n")
    assert len(ids()) == 4


# --- who asks --------------------------------------------------------------------------------------------------------


def test_each_caller_has_a_memory_of_their_own(line: Any) -> None:
    line("add", "mine", "--user", "ann", "--space", "work", "--agent", "bot", "--tenant", "t")
    who = ["--space", "work", "--user", "ann", "--agent", "bot", "--tenant", "t"]
    assert texts(line.json("list", *who)) == ["mine"]
    assert texts(line.json(*who, "list")) == ["mine"]
    for name, other in (("--user", "bob"), ("--space", "home"), ("--agent", "x"), ("--tenant", "u")):
        assert texts(line.json("list", *who, name, other)) == []
    assert texts(line.json("list")) == []
    assert line.json("stats", "--user", "bob")["cubes"] == 0


def test_an_option_after_the_verb_wins(line: Any) -> None:
    line("add", "mine", "--user", "ann")
    assert texts(line.json("--user", "bob", "list", "--user", "ann")) == ["mine"]


def test_settings_give_what_is_not_said(line: Any) -> None:
    line.environment["PINYON_USER"] = "ann"
    line("add", "mine")
    assert texts(line.json("list", "--user", "bob")) == []
    assert texts(line.json("list")) == ["mine"]


def test_a_setting_that_is_not_known_is_named(line: Any) -> None:
    line.environment["PINYON_DURABILITY"] = "none; DROP TABLE cubes"
    result = line("add", "x")
    assert result.exit_code == 1
    assert "durability" in result.stderr


# --- stats and doctor ------------------------------------------------------------------------------------------------


def test_stats_count_what_the_caller_sees(told: Any) -> None:
    assert "memories   4" in told("stats").stdout
    document = told.json("stats")
    assert (document["cubes"], document["by_space"], document["pending"]) == (4, {"main": 4}, 0)


def test_a_sound_memory_is_said_to_be_sound(told: Any) -> None:
    result = told("doctor")
    assert result.exit_code == 0
    assert result.stdout.startswith("sound: no problem found\n")
    for word in ("embedder", "pending", "sqlite", "numpy", str(told.path)):
        assert word in result.stdout
    assert told.json("doctor", "--repair")["repairs"] == [
        "made 0 missing vectors",
        "built the index again from 4 memories",
    ]


def test_a_changed_memory_is_found_by_the_doctor(told: Any) -> None:
    db = sqlite3.connect(told.path)
    db.execute("UPDATE cubes SET content = 'another' WHERE speaker = 'Bob'")
    db.commit()
    db.close()
    result = told("doctor")
    assert result.exit_code == 1
    assert "problem: " in result.stdout
    assert "doctor --repair" in result.stderr
    assert not json.loads(told("doctor", "--json").stdout)["is_sound"]


@pytest.mark.parametrize("damage", ["random", "cut", "middle"])
def test_a_damaged_file_is_a_clear_sentence(told: Any, damage: str) -> None:
    with Memory.open(told.path) as memory:
        memory.add("filler " * 20_000)
    for end in ("-wal", "-shm"):
        Path(f"{told.path}{end}").unlink(missing_ok=True)
    data = bytearray(told.path.read_bytes())
    if damage == "random":
        data[:] = bytes(range(256)) * 32
    elif damage == "cut":
        del data[len(data) // 3 :]
    else:
        data[8192 : len(data) // 2] = b"\xa5" * (len(data) // 2 - 8192)
    told.path.write_bytes(data)
    result = told("doctor")
    assert result.exit_code == 1
    assert "problem: " in result.stdout
    assert "Traceback" not in result.output
    result = told("search", "key", "--json")
    assert result.exit_code == 1
    assert "not a sound pinyon database" in json.loads(result.stderr)["error"]


def test_a_database_of_another_program_is_left_alone(line: Any) -> None:
    db = sqlite3.connect(line.path)
    db.execute("CREATE TABLE mine (a)")
    db.commit()
    db.close()
    result = line("add", "x")
    assert result.exit_code == 1
    assert "not one of pinyon's" in result.stderr


# --- the rest --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(line: Any, shell: str) -> None:
    result = line("completion", shell)
    assert result.exit_code == 0
    assert "_PINYON_COMPLETE" in result.stdout


def test_the_demo_runs_beside_the_memory(line: Any) -> None:
    result = line("demo", "--json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    by_kind = {asked["kind"]: asked for asked in told["questions"]}
    assert told["summary"]["right"] == sum(asked["is_right"] for asked in told["questions"])
    assert by_kind["changed fact"]["is_right"]
    assert "four days" in by_kind["changed fact"]["answer"].split("[1]")[0]  # what is so now leads
    assert by_kind["never said"]["is_right"]
    whole = all(town in by_kind["list"]["answer"] for town in ("Arbroath", "Perth", "St Andrews"))
    assert by_kind["list"]["is_right"] is whole  # two towns of three are not the answer
    assert not line.path.exists()
    assert (line.folder / "demo.db").exists()
