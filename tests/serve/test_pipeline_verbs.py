"""Pipelines on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pinyon.serve.cli import main


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PINYON_PATH", str(tmp_path / "m.db"))
    monkeypatch.setenv("PINYON_USER", "ann")
    for text in ("Ann keeps bees behind the mill.", "The bees gave honey.", "the BEES gave honey"):
        assert run("add", text, "--tag", "bees").exit_code == 0
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def data(*words: str, exit_code: int = 0) -> Any:
    done = run(*words, "--json")
    assert done.exit_code == exit_code, done.output
    return json.loads(done.stdout)


def test_the_templates_are_listed_and_shown(place: Path) -> None:
    assert {"transfer", "purification", "rollback"} <= {each["name"] for each in data("pipeline", "list")}
    assert "--set to=…" in run("pipeline", "list").stdout
    shown = data("pipeline", "show", "transfer")
    assert shown["order"] == ["find", "copy", "archive"]
    assert "2. copy: copy (to ${to}" in run("pipeline", "show", "transfer").stdout


def test_a_dry_run_shows_what_a_run_then_does(place: Path) -> None:
    dry = run("pipeline", "run", "transfer", "--set", "to=farm", "--set", "tag=bees", "--dry-run")
    assert dry.exit_code == 0
    assert "nothing was changed" in dry.stdout
    assert "copy  done: 3 → 3" in dry.stdout
    assert data("list", "--space", "farm")["cubes"] == []
    done = data("pipeline", "run", "transfer", "--set", "to=farm", "--set", "tag=bees")
    assert (done["status"], done["entries"]) == ("done", 6)
    assert len(data("list", "--space", "farm")["cubes"]) == 3
    (note,) = data("pipeline", "log")
    assert (note["run"], note["name"], note["entries"]) == (1, "transfer", 6)
    assert "transfer  done  by ann  entries 4 to 9" in run("pipeline", "log").stdout


def test_a_run_that_fails_is_shown_with_the_step_and_ends_with_1(place: Path) -> None:
    file = place / "bad.toml"
    file.write_text(
        '[[step]]\ndo = "list"\n[[step]]\ndo = "freeze"\nfrom = "list"\n[[step]]\ndo = "archive"\nfrom = "freeze"\n',
        encoding="utf-8",
    )
    before = data("list")
    failed = data("pipeline", "run", str(file), exit_code=1)
    assert [step["status"] for step in failed["steps"]] == ["done", "done", "failed"]
    assert failed["error"]
    assert data("list") == before
    said = run("pipeline", "run", str(file))
    assert said.exit_code == 1
    assert "failed, nothing of it is left" in said.stdout
    assert "undone" in run("pipeline", "log").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run",), "nothing says what to run"),
        (("run", "transfer"), "needs 'to'"),
        (("run", "transfer", "--set", "to=farm", "--set", "tagg=x"), "takes no 'tagg'"),
        (("run", "nothing"), "there is no pipeline 'nothing'"),
        (("show", "missing.toml"), "cannot be opened"),
        (("run", "rollback", "--set", "to=yesterdayish"), "yesterdayish"),
    ],
)
def test_bad_input_is_one_sentence(words: tuple[str, ...], said: str, place: Path) -> None:
    done = run("pipeline", *words)
    assert done.exit_code == 1
    assert said in done.output
    assert "Traceback" not in done.output


def test_without_runs_the_log_says_so(place: Path) -> None:
    assert run("pipeline", "log").stdout.strip() == "no pipeline was run here"
