"""Seals, registries, subscriptions and recurring exports from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pinyon.serve._memory_verbs import importer_of
from pinyon.serve.verb import Given

if TYPE_CHECKING:
    from .conftest import Line


@pytest.fixture
def key(line: Line) -> str:
    path = line.folder / "seal.key"
    path.write_bytes(b"k" * 32)
    return str(path)


def other(line: Line, name: str) -> tuple[str, str]:
    return ("--path", str(line.folder / name))


def test_a_sealed_copy_is_checked_traced_and_imported(line: Line, key: str) -> None:
    line("add", "The hives stand behind the mill.")
    file = str(line.folder / "a.pinyon")
    assert line("export", file, "--seal", key, "--for", "bob").exit_code == 0
    checked = line.json("seal", "check", file, "--seal-key", key)
    assert (checked["is_sealed"], checked["recipient"], checked["cubes"]) == (True, "bob", 1)
    traced = line("seal", "trace", file, "--seal-key", key)
    assert "this copy was written for bob" in traced.stdout
    assert line(*other(line, "b.db"), "import", file, "--seal-key", key).exit_code == 0
    again = str(line.folder / "again.pinyon")
    line(*other(line, "b.db"), "export", again)
    assert "bears no seal" in line("seal", "check", again, "--seal-key", key).stderr
    assert line("seal", "trace", again, "--seal-key", key, "--for", "eve", "--for", "bob").exit_code == 0
    assert line(*other(line, "c.db"), "seal", "trace", again, "--seal-key", key).exit_code == 1
    assert "for bob" in line("seal", "trace", again, "--seal-key", key).stdout  # the audit remembers


def test_a_wrong_seal_is_one_sentence_and_nothing_is_imported(line: Line, key: str) -> None:
    wrong = line.folder / "wrong.key"
    wrong.write_bytes(b"w" * 32)
    line("add", "The hives stand behind the mill.")
    file = str(line.folder / "a.pinyon")
    line("export", file, "--seal", key)
    for words in (("seal", "check", file, "--seal-key", str(wrong)), ("import", file, "--seal-key", str(wrong))):
        done = line(*other(line, "b.db"), *words)
        assert done.exit_code == 1
        assert "was sealed with another key" in done.stderr
    assert line.json(*other(line, "b.db"), "stats")["cubes"] == 0
    assert line("export", file, "--for", "bob").exit_code == 1
    assert "there is no key" in line("seal", "check", file).stderr


def test_whoever_watches_asks_for_the_seal_and_moves_archives_too(key: str) -> None:
    importer = importer_of(Given({"seal_key": key, "into_space": "there", "tags": ("a",)}))
    assert importer.seal_key == b"k" * 32
    assert importer.rescope is not None
    assert importer.rescope.into_space == "there"


def test_publish_subscribe_pull_and_withdraw(line: Line) -> None:
    folder, bob = str(line.folder / "registry"), other(line, "bob.db")
    line("add", "The hives stand behind the mill.", "--space", "bees", "--user", "ann")
    asked = ("publish", "bees", "--to", folder, "--name", "bees", "--tags", "garden,hive", "--user", "ann")
    done = line.json(*asked, "--licence", "calls=2,expires=2037-01-01", "--terms", "not for sale")
    assert done["is_new"]
    assert done["versions"][0]["tags"] == ["garden", "hive"]
    listed = line("registry", "list", folder, "--tag", "hive", "--query", "sale")
    assert "bees 1: 1 memory [garden, hive] (2 calls; until 2037-01-01; not for sale)" in listed.stdout
    assert "every archive is whole" in line("registry", "check", folder).stdout
    assert "1 new" in line(*bob, "subscribe", "bees", "--from", folder, "--space", "got").stdout
    line(*bob, "search", "hives", "--space", "got")
    assert line.json(*bob, "subscriptions")[0]["used"] == 1
    assert "nothing changed" in line(*bob, "pull").stdout
    line("add", "Bees swarm in May.", "--space", "bees", "--user", "ann")
    line(*asked, "--licence", "calls=2,expires=2037-01-01")
    assert line.json(*bob, "pull", "bees", "--space", "got")[0]["created"] == 1
    assert line("unpublish", "bees", "--from", folder, "--user", "ann").exit_code == 0
    assert "withdrawn; 2 memories are found no more" in line(*bob, "pull").stdout
    assert line.json(*bob, "list", "--space", "got")["cubes"] == []
    assert line(*bob, "unsubscribe", "bees", "--space", "got").exit_code == 0
    assert line.json(*bob, "subscriptions") == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("publish", "main", "--to", "r", "--name", "../x"), "is no name of a publication"),
        (("publish", "main", "--to", "http://localhost/x", "--name", "x"), "read only"),
        (("publish", "main", "--to", "r", "--name", "x", "--licence", "calls=none"), "is no number of calls"),
        (("publish", "empty", "--to", "r", "--name", "x"), "holds nothing"),
        (("registry", "list", "nowhere"), "no registry"),
        (("subscribe", "x", "--from", "nowhere"), "no registry"),
        (("pull", "x"), "no subscription"),
        (("export", "--to", "b"), "nothing says when"),
        (("export", "--to", "b", "--every", "soon"), "no span of time"),
        (("export", "file", "--to", "b", "--every", "1d"), "goes into a folder"),
        (("export", "--to", "b", "--every", "1d", "--speaker", "Ann"), "chooses by tags alone"),
    ],
)
def test_a_mistake_is_one_sentence(words: tuple[str, ...], says: str, line: Line, tmp_path: Path) -> None:
    line("add", "The hives stand behind the mill.")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        done = line(*words)
    assert done.exit_code == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_an_export_that_recurs_is_done_by_work(line: Line) -> None:
    folder = line.folder / "backups"
    line("add", "The hives stand behind the mill.")
    assert line.json("export", "--to", str(folder), "--every", "1d")["job"] == 1
    assert line("work").exit_code == 0
    (path,) = folder.iterdir()
    assert "1 added" in line(*other(line, "b.db"), "import", str(path)).stdout
