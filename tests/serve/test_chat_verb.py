"""A talk without end on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

import state_cubes
from click.testing import CliRunner

from pinyon.serve.cli import main

LINES = "Good morning.\n\nWhere is the key?\nThank you.\nGood night.\n"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PINYON_PATH", str(tmp_path / "m.db"))
    folder = tmp_path / "model"
    state_cubes.network(limit=800).save_pretrained(folder)
    state_cubes.tokenizer().save_pretrained(folder)
    return str(folder)


def run(*words: str, lines: str = LINES, code: int = 0) -> str:
    done = CliRunner().invoke(main, ["chat", *words, "--max-tokens", "9"], input=lines)
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.stderr


def turns(*words: str, lines: str = LINES) -> list[dict]:
    return [json.loads(line) for line in run(*words, "--json", lines=lines).splitlines()]


def test_each_line_is_answered_within_the_bytes(model: str, tmp_path: Path) -> None:
    *said, end = turns(model, "--budget", "40kB")
    assert [turn["line"] for turn in said] == [line for line in LINES.splitlines() if line]
    assert [turn["turn"] for turn in said] == [1, 2, 3, 4]
    assert max(turn["held_bytes"] for turn in said) <= 40_000
    assert said[-1]["read_tokens"] > said[-1]["held_tokens"]
    assert (end["turns"], end["saved"], end["budget_bytes"], end["is_interrupted"]) == (4, None, 40_000, False)
    assert not (tmp_path / "m.db").exists()  # no memory is opened


def test_answers_are_written_on_stdout_and_words_beside_them(model: str) -> None:
    done = CliRunner().invoke(main, ["chat", model, "--max-tokens", "9", "--budget", "40kB"], input=LINES)
    assert done.exit_code == 0
    assert "turn 4: " in done.stderr
    assert "kB held" in done.stderr
    assert "not saved" in done.stderr
    assert "kB held" not in done.stdout


@pytest.mark.parametrize("policy", ["sirllm", "window", "key-norm", "snapkv"])
def test_a_talk_in_two_sittings_is_the_talk_in_one_bit_for_bit(model: str, tmp_path: Path, policy: str) -> None:
    one, two = tmp_path / "one.session", tmp_path / "two.session"
    more = ("--policy", policy, *(("--half-life", "3") if policy == "sirllm" else ()))
    *whole, _ = turns(model, "--budget", "90kB", "--system", "Be brief.", "--save", str(one), *more)
    first, last = LINES[:33], LINES[33:]
    *begun, end = turns(model, "--budget", "90kB", "--system", "Be brief.", "--save", str(two), *more, lines=first)
    assert end["saved"] == str(two)
    *gone_on, _ = turns(model, "--save", str(two), "--resume", *more, lines=last)
    assert [turn["text"] for turn in (*begun, *gone_on)] == [turn["text"] for turn in whole]
    assert [turn["turn"] for turn in gone_on] == [3, 4]
    assert one.read_bytes() == two.read_bytes()


def test_an_interruption_saves_the_talk(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pinyon.state.session import Session

    plain, seen = Session.stream, []

    def interrupted(self: Session, message: str, *, max_tokens: int) -> object:
        seen.append(message)
        for piece in plain(self, message, max_tokens=max_tokens):
            yield piece
            if len(seen) == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(Session, "stream", interrupted)
    file = tmp_path / "talk.session"
    *said, end = turns(model, "--save", str(file))
    assert (len(said), end["is_interrupted"], end["turns"]) == (1, True, 2)
    monkeypatch.undo()
    monkeypatch.setenv("PINYON_PATH", str(tmp_path / "m.db"))
    *gone_on, _ = turns(model, "--save", str(file), "--resume", lines="Go on.\n")
    assert gone_on[0]["turn"] == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--budget", "much"), "'much' is no number of bytes"),
        (("--budget", "10"), "a budget of 10 bytes holds 0 tokens"),
        (("--resume",), "nothing says which talk to go on with"),
        (("--resume", "--save", "none.session"), "there is no session 'none.session'"),
        (("--save", "nowhere/talk.session"), "there is no folder 'nowhere'"),
        (("--save", "there.session"), "'there.session' is there"),
        (("--resume", "--save", "there.session"), "is not a saved session"),
        (("--resume", "--save", "there.session", "--system", "Hi"), "was told its first words already"),
        (("--policy", "window", "--half-life", "3"), "a half-life of 3 turns is not possible here"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.session").write_bytes(b"something else")
    told = run(model, *words, code=1)
    assert said in told
    assert "Traceback" not in told
    assert (tmp_path / "there.session").read_bytes() == b"something else"


def test_what_does_not_fit_the_saved_talk_is_refused(model: str, tmp_path: Path) -> None:
    file = str(tmp_path / "talk.session")
    turns(model, "--save", file, "--budget", "90kB", lines="Hello.\n")
    before = Path(file).read_bytes()
    assert "budget of 90000 bytes, not 80000" in run(model, "--save", file, "--resume", "--budget", "80kB", code=1)
    assert "saved with the policy" in run(model, "--save", file, "--resume", "--policy", "window", code=1)
    assert Path(file).read_bytes() == before
