"""The command line as processes: pipes, terminals, signals, exit codes."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest


def test_help_needs_neither_numpy_nor_the_memory(line: Any) -> None:
    code = (
        "import sys\n"
        "from pinyon.serve.cli import main\n"
        "try: main(['search', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'torch', 'tqdm', 'pinyon.memory', 'pinyon.index', 'tokenizers'} & set(sys.modules)\n"
        "sys.exit(str(sorted(heavy)) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=line.whole_environment, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_pipe_in_and_a_pipe_out(line: Any) -> None:
    done = line.process("add", input="Ünïcode 🥜 from a pipe\n".encode())
    assert done.returncode == 0
    assert b"\x1b" not in done.stdout
    done = line.process("--json", "list")
    assert json.loads(done.stdout)["cubes"][0]["payload"]["content"] == "Ünïcode 🥜 from a pipe"
    assert done.stderr == b""


def test_exit_codes_and_streams(line: Any) -> None:
    assert line.process("list").returncode == 1
    done = line.process("serch")
    assert done.returncode == 2
    assert done.stdout == b""
    assert b"did you mean `pinyon search`" in done.stderr


def test_a_closed_standard_input_is_nothing_to_add(line: Any) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m pinyon add <&-'],
        env=line.whole_environment,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert b"nothing to add" in done.stderr


def test_a_terminal_that_cannot_say_it_all_gets_question_marks(line: Any) -> None:
    line.environment["PYTHONIOENCODING"] = "ascii"
    done = line.process("add", "peanut 🥜")
    assert done.returncode == 0
    assert done.stdout.endswith(b"peanut ?\n")
    assert line.json("list")["cubes"][0]["payload"]["content"] == "peanut 🥜"


def test_a_reader_that_goes_away_is_no_error_message(told: Any) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pinyon", "list"],
        env=told.whole_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # before anything can have been written
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), said) == (141, b"")


def test_the_first_line_is_all_that_head_wants(told: Any) -> None:
    words = f'"{sys.executable}" -m pinyon list | head -1'
    done = subprocess.run(["sh", "-c", words], env=told.whole_environment, capture_output=True, timeout=60)
    assert (len(done.stdout.splitlines()), done.stderr) == (1, b"")


def test_a_full_disk_behind_standard_output_is_one_sentence(told: Any) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "pinyon", "list"],
            env=told.whole_environment,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith(b"error: No space left")
    assert b"Traceback" not in done.stderr


def test_a_memory_that_may_only_be_read_is_one_sentence(told: Any) -> None:
    if os.geteuid() == 0:
        done = told.process("add", "x", "--path", "/proc/nothing/memory.db")  # nobody may write there, not even root
    else:
        told.path.parent.chmod(0o500)
        told.path.chmod(0o400)
        done = told.process("add", "x")
        told.path.parent.chmod(0o700)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: ")
    assert b"Traceback" not in done.stderr


def test_a_path_through_a_file_is_one_sentence(told: Any) -> None:
    done = told.process("add", "x", "--path", str(told.path / "inside.db"))
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


def test_the_shell_completes_verbs_options_and_choices(line: Any) -> None:
    def completed(words: str) -> list[str]:
        line.environment.update(
            _PINYON_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1)
        )
        return [text.partition(",")[2] for text in line.process().stdout.decode().splitlines()]

    assert completed("pinyon sear") == ["search"]
    assert "--where" in completed("pinyon list --")
    assert "archived" in completed("pinyon list --state ")


def at_terminal(line: Any, *words: str, typed: bytes = b"") -> tuple[int, str]:
    """Run at a terminal and return the exit code and everything shown."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pinyon", *words],
        env=line.whole_environment,
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
    )
    os.close(child)
    if typed:
        os.write(parent, typed)
    shown = b""
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(parent)
    return process.wait(60), shown.decode()


def test_a_terminal_gets_colours_unless_they_are_refused(told: Any) -> None:
    code, shown = at_terminal(told, "search", "spare key", "-k", "1")
    assert code == 0
    assert "\x1b[1;33mspare\x1b[0m" in shown
    told.environment["NO_COLOR"] = "1"
    assert "\x1b[" not in at_terminal(told, "list")[1]
    told.environment["NO_COLOR"] = ""
    assert "\x1b[" not in at_terminal(told, "list", "--no-color")[1]


def test_a_terminal_is_asked_before_forgetting(told: Any) -> None:
    code, shown = at_terminal(told, "forget", "--tag", "home", typed=b"n\n")
    assert code == 1
    assert "would forget 2 memories" in shown
    assert "nothing was forgotten" in shown
    code, shown = at_terminal(told, "forget", "--tag", "home", typed=b"y\n")
    assert code == 0
    assert "forgot 2 memories" in shown
    assert len(told.json("list")["cubes"]) == 2


def test_an_import_at_a_terminal_ends_with_its_summary(line: Any) -> None:
    (line.folder / "a.md").write_text("# Bees\n\nBees like sun.")
    code, shown = at_terminal(line, "import", str(line.folder / "a.md"))
    assert code == 0
    assert shown.rstrip().endswith("1 source: 1 added; 1 memory written")


@pytest.mark.slow
def test_watching_imports_what_changes_until_it_is_interrupted(line: Any) -> None:
    pytest.importorskip("watchfiles")
    folder = line.folder / "notes"
    folder.mkdir()
    (folder / "a.md").write_text("# Bees\n\nBees like sun.")
    process = subprocess.Popen(
        [sys.executable, "-m", "pinyon", "import", "--json", "--watch", str(folder)],
        env=line.whole_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["cubes"] == 1
    stop = threading.Event()

    def write() -> None:  # again and again, for the watch begins a moment after the first import
        for number in range(100):
            (folder / "b.md").write_text(f"# Trees\n\nTree {number}.")
            if stop.wait(0.3):
                return

    writer = threading.Thread(target=write)
    writer.start()
    second = json.loads(process.stdout.readline())
    stop.set()
    writer.join()
    assert second["sources"][0]["source"].endswith("b.md")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, b'{"error": "interrupted", "hint": ""}\n')


def test_an_interruption_is_one_line(line: Any) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pinyon", "add", "-"],
        env=line.whole_environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
    )
    wait_until_reading(process.pid)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"error: interrupted\n")


def wait_until_reading(pid: int) -> None:
    """Wait until a process sleeps in a read of its standard input; where that cannot be seen, two seconds."""
    call = Path(f"/proc/{pid}/wchan")
    end = time.monotonic() + 2
    while time.monotonic() < end:
        if "pipe" in (call.read_text() if call.exists() else ""):
            return
        time.sleep(0.02)


@pytest.mark.parametrize("place", ["mysql://u:secret@h/db", "http://u:secret@h/x"])
@pytest.mark.parametrize("verb", ["add", "search", "doctor"])
def test_an_address_of_no_store_is_refused_without_its_password(line: Any, place: str, verb: str) -> None:
    result = line("--path", place, verb, *([] if verb == "doctor" else ["hi"]))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: there is no store for ")
    assert "secret" not in result.output
    assert list(line.folder.iterdir()) == []


def test_an_address_of_a_file_is_the_file(line: Any) -> None:
    assert line("--path", f"sqlite:///{line.folder}/a.db", "add", "hi").exit_code == 0
    assert line("--path", str(line.folder / "a.db"), "search", "hi").exit_code == 0


@pytest.mark.parametrize("verb", [["search", "hi"], ["stats"], ["ask", "hi"], ["list"], ["doctor"]])
def test_reading_makes_no_memory_of_an_empty_file(line: Any, verb: list[str]) -> None:
    line.path.touch()
    result = line(*verb)
    assert result.exit_code == 1
    assert f"{line.path} is an empty file and no memory" in result.output
    assert line.path.stat().st_size == 0


def test_adding_makes_a_memory_of_an_empty_file(line: Any) -> None:
    line.path.touch()
    assert line("add", "hi").exit_code == 0
    assert line("search", "hi").exit_code == 0


@pytest.mark.parametrize("verb", ["search", "recall", "ask"])
@pytest.mark.parametrize("words", [[], [""], ["  "], ["", " "]])
def test_an_empty_question_is_misuse(told: Any, verb: str, words: list[str]) -> None:
    result = told(verb, *words)
    assert result.exit_code == 2
    assert f"hint: `pinyon {verb} --help` shows what it takes" in result.stderr


def test_the_doctor_says_what_is_left_of_a_damaged_file(told: Any) -> None:
    data = told.path.read_bytes()
    told.path.write_bytes(data[: len(data) // 8])
    first = told("search", "peanuts")
    assert first.exit_code == 1
    assert "`pinyon doctor` says what is left" in first.stderr
    result = told("doctor")
    assert result.exit_code == 1
    assert "be read in it" in result.stdout


DEAD = "openai:foo@http://127.0.0.1:9/v1"  # the port of a service that nobody runs


@pytest.fixture
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for an endpoint that is down."""
    pytest.importorskip("httpx")
    from pinyon.models.http import Patience

    monkeypatch.setattr("pinyon.models.http.Patience", lambda: Patience(attempts=1, timeout_s=5.0))


@pytest.mark.usefixtures("one_attempt")
def test_an_endpoint_that_is_down_breaks_no_verb(line: Any, tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("The otters sleep at noon.")
    assert line("add", "The hives stand behind the mill.", "--embedder", DEAD).exit_code == 0
    done = line("import", str(tmp_path / "more.txt"))
    assert done.exit_code == 0
    assert "vectors wait for their embedder: POST http://127.0.0.1:9/v1/embeddings got no answer" in done.stderr
    assert "Traceback" not in done.output
    for verb in (["search", "hives"], ["recall", "hives"], ["ask", "where are the hives"], ["doctor"], ["stats"]):
        assert line(*verb).exit_code == 0, verb
    said = line.json("stats")
    assert said["pending"] == 2
    assert said["detail"]["chosen_embedder"] == "openai:foo@http://127.0.0.1:9/v1:own"
    assert "got no answer" in said["detail"]["embedder_failure"]
    repaired = line("doctor", "--repair")
    assert repaired.exit_code == 0
    assert "made no missing vectors: POST" in repaired.stdout
