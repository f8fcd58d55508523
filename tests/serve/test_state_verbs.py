"""Converting on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

import state_cubes
from click.testing import CliRunner

from pinyon.serve.cli import main


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PINYON_PATH", str(tmp_path / "m.db"))
    model = tmp_path / "model"
    state_cubes.network(limit=800).save_pretrained(model)
    state_cubes.tokenizer().save_pretrained(model)
    return model


def run(*words: str) -> dict:
    done = CliRunner().invoke(main, [*words, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_memories_are_converted_and_an_answer_reads_on_from_them(place: Path) -> None:
    ids = [run("add", text)["cubes"][0]["id"] for text in state_cubes.TEXTS[:2]]
    made = run("convert", *ids, "--to", "state", "--model", str(place))
    assert (made["outcome"], made["sources"]) == ("created", ids)
    assert run("convert", *ids, "--model", str(place))["outcome"] == "unchanged"
    answer = run("ask", "Where are the bees?", "--model", f"local:{place}")
    assert answer["saved"]["state"] == made["cube"]["id"]
    assert answer["saved"]["tokens"] == made["tokens"]


def test_what_was_lost_by_a_smaller_form_is_shown(place: Path) -> None:
    run("add", state_cubes.TEXTS[0])
    done = CliRunner().invoke(main, ["convert", "--model", str(place), "--form", "int4"])
    assert done.exit_code == 0
    assert "approximate: keys_max" in done.stdout


def test_without_a_model_the_next_step_is_shown(place: Path) -> None:
    run("add", "x")
    done = CliRunner().invoke(main, ["convert"])
    assert done.exit_code == 1
    assert "smollm2" in done.stderr
