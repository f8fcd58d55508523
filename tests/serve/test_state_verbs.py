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
    assert answer["saved"]["ms"] is not None


def test_every_call_counts_as_a_session_and_a_named_one_once(place: Path) -> None:
    from pinyon.store import SqliteEngine

    run("add", state_cubes.TEXTS[0])
    counts = []
    for words in ((), (), ("--session", "monday"), ("--session", "monday")):
        run("recall", "bees", *words)
        engine = SqliteEngine(place.with_name("m.db"))
        counts += [len(used.sessions) for _, used in engine.usage.every(0, 9)]
        engine.close()
    assert counts == [1, 2, 3, 3]


def test_a_model_that_is_named_rests_where_the_settings_say(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = place.with_name("kept")
    monkeypatch.setenv("PINYON_MODEL_CACHE", str(kept))
    run("add", state_cubes.TEXTS[0])
    run("convert", "--model", str(place))
    assert [file.name for file in kept.iterdir()]
    assert not (place.parent / ".cache" / "pinyon-models").exists()


def test_states_are_fused_and_an_answer_reads_on_from_them(place: Path) -> None:
    ids = [run("add", text)["cubes"][0]["id"] for text in state_cubes.TEXTS[:2]]
    states = [run("convert", id, "--model", str(place))["cube"]["id"] for id in ids]
    made = run("convert", *states, "--fuse", "repair", "--repaired", "4", "--model", str(place))
    assert (made["outcome"], made["sources"]) == ("created", ids)
    assert made["cube"]["payload"]["details"]["fused"]["repaired"] == 4
    assert 0 < made["reused"] < made["tokens"]
    done = CliRunner().invoke(main, ["convert", *states, "--fuse", "reposition", "--model", str(place)])
    assert "approximate: fused by reposition" in done.stdout
    answer = run("ask", "Where are the bees?", "--model", f"local:{place}")
    assert answer["saved"]["is_approximate"] is True


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


def test_the_time_to_load_a_model_is_told_apart(place: Path) -> None:
    run("add", state_cubes.TEXTS[0])
    made = run("convert", "--model", str(place))
    assert made["loading_ms"] > 0
    assert made["ms"] > 0


def test_a_state_is_shown_with_what_is_known_of_it(place: Path) -> None:
    ids = [run("add", text)["cubes"][0]["id"] for text in state_cubes.TEXTS[:2]]
    before = run("stats")["bytes"]
    made = run("convert", *ids, "--model", str(place))
    assert run("stats")["bytes"] >= before + made["bytes"]
    shown = CliRunner().invoke(main, ["get", made["cube"]["id"]]).stdout
    lines = dict(line.split(maxsplit=1) for line in shown.split("\n\n")[0].split("\n"))
    assert lines["tokens"] == str(made["tokens"])
    assert lines["bytes"] == f"{made['bytes'] / 1000:.1f} kB"
    assert lines["form"] == "full (exact)"
    assert lines["model"].startswith(f"{place.name} weights ")
    assert lines["made"] == f"of  {ids[0][:10]}, {ids[1][:10]}"
    assert lines["stale"] == "no"
    run("update", ids[0], "--text", "Ann keeps goats.")
    shown = CliRunner().invoke(main, ["get", made["cube"]["id"]]).stdout
    assert "stale    yes" in shown
    assert f"(state of 2 texts, {made['tokens']} tokens, stale)" in shown


def test_states_are_listed_by_their_kind(place: Path) -> None:
    run("add", state_cubes.TEXTS[0])
    made = run("convert", "--model", str(place))
    assert [cube["id"] for cube in run("list", "--kind", "state")["cubes"]] == [made["cube"]["id"]]
    assert len(run("list", "--kind", "text")["cubes"]) == 1
    assert len(run("list")["cubes"]) == 2


def test_ids_and_a_filter_exclude_each_other(place: Path) -> None:
    id = run("add", state_cubes.TEXTS[0])["cubes"][0]["id"]
    done = CliRunner().invoke(main, ["convert", id, "--tag", "x", "--model", str(place)])
    assert done.exit_code == 1
    assert "ids and a filter exclude each other" in done.stderr


@pytest.mark.parametrize("way", ["option", "environment"])
def test_the_rule_that_makes_states_is_reached_from_the_command_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    run("add", state_cubes.TEXTS[0])
    for session in ("one", "two"):
        run("ask", "Where are the bees?", "--model", f"local:{place}", "--session", session)
    words = ["work", "--promote-every", "1h"]
    if way == "option":
        words += ["--model", str(place)]
    else:
        monkeypatch.setenv("PINYON_BACKBONE", str(place))
    done = run(*words)
    assert done == {"done": 1, "failed": []}
    (job,) = run("jobs")["jobs"]
    assert (job["kind"], job["state"], job["error"]) == ("state", "waiting", "")


def test_a_job_that_needs_a_model_fails_in_one_sentence(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    run("add", state_cubes.TEXTS[0])
    for words in (["work", "--promote-every", "1h"], ["work"]):
        done = CliRunner().invoke(main, words)
        said = "job 1 (state) failed: a state needs a model to be read by"
        expected = (1, f"{said}\ndid 0 jobs, 1 failed\n") if len(words) > 1 else (0, "did 0 jobs\n")
        assert (done.exit_code, done.stdout, done.stderr) == (*expected, "")
    assert not [record for record in caplog.records if record.levelname != "INFO"]
    (job,) = run("jobs")["jobs"]
    assert (job["state"], job["error"]) == ("waiting", "a state needs a model to be read by")


def test_a_job_that_does_not_recur_becomes_a_dead_letter(place: Path) -> None:
    from pinyon import Memory

    run("add", state_cubes.TEXTS[0])
    with Memory.open(place.with_name("m.db")) as memory:
        memory.jobs.add("state")
    assert CliRunner().invoke(main, ["work"]).exit_code == 1
    assert [job["state"] for job in run("jobs")["jobs"]] == ["dead"]


def test_a_model_is_named_with_its_device_and_number_type(place: Path) -> None:
    run("add", state_cubes.TEXTS[0])
    made = run("convert", "--model", f"{place}@cpu:bfloat16")
    assert made["cube"]["payload"]["binding"]["dtype"] == "bfloat16"
    assert run("ask", "Where are the bees?", "--model", f"local:{place}@bfloat16")["saved"]["tokens"] == made["tokens"]
    other = run("ask", "Where are the bees?", "--model", f"local:{place}")
    assert "saved" not in other
    assert "number type" in other["notes"][-1]
