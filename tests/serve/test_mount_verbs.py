"""Spaces of other memories from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pinyon import Memory

if TYPE_CHECKING:
    from .conftest import Line


@pytest.fixture
def team(line: Line) -> str:
    path = line.folder / "team.db"
    with Memory.open(path) as memory:
        memory.add("The hives stand behind the mill.", space="bees")
    return str(path)


def test_a_memory_is_mounted_read_and_unmounted(line: Line, team: str) -> None:
    assert line("mounts").exit_code == 1  # there is no memory yet
    done = line("mount", "experts", team, "--space", "bees")
    assert done.stdout == f"mounted experts: the space 'bees' of {team}, to be read\n"
    said = {"name": "experts", "place": team, "space": "bees", "is_writable": False, "trouble": ""}
    assert line.json("mounts") == [said]
    assert "behind the mill" in line("search", "hives", "--space", "experts").stdout
    assert line.json("stats")["detail"]["mounts"] == {"experts": team}
    assert f"mounted as experts  {team}" in line("stats").stdout
    refused = line("add", "one more", "--space", "experts")
    assert (refused.exit_code, refused.stderr.split("\n")[0]) == (
        1,
        "error: the space 'experts' is mounted for reading alone",
    )
    assert line("mount", "experts", team, "--space", "bees", "--writable").exit_code == 0
    assert line("add", "one more", "--space", "experts").exit_code == 0
    assert line.json("--path", team, "list", "--space", "bees")["cubes"][0]["payload"]["content"] == "one more"
    assert line("unmount", "experts").stdout == f"experts is mounted no more; {team} stays as it is\n"
    assert (line("mounts").stdout, line.json("mounts")) == ("nothing\n", [])
    assert [one["action"] for one in line.json("audit")] == ["mount", "write", "mount", "unmount"]


def test_what_cannot_be_used_is_said_in_a_sentence(line: Line, team: str) -> None:
    nowhere = line("mount", "experts", str(line.folder / "nowhere.db"))
    assert nowhere.stderr.startswith("error: there is no memory at")
    line("mount", "experts", team, "--space", "bees")
    (line.folder / "team.db").rename(line.folder / "away.db")
    assert line("add", "I like tea.").exit_code == 0
    result = line("ask", "hives", "--space", "experts")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: 'experts' is mounted and cannot be used: there is no memory at")
    assert "hint: " in result.stderr
    assert "; cannot be used: there is no memory at" in line("mounts").stdout
    assert line("unmount", "experts").exit_code == 0


def test_forgetting_a_person_names_what_it_did_not_look_into(line: Line, team: str) -> None:
    line("add", "I like tea.", "--user", "ann")
    line("mount", "experts", team)
    shown = line("forget", "--about", "ann", "--user", "ann", "--yes")
    assert "not looked into, because other memories are mounted there: experts" in shown.stdout
    line("add", "I like tea.", "--user", "ann")
    assert line.json("forget", "--about", "ann", "--user", "ann", "--yes")["not_covered"] == ["experts"]


def test_an_encrypted_memory_is_mounted_by_a_file(line: Line) -> None:
    pytest.importorskip("sqlcipher3")
    key, path = line.folder / "team.key", line.folder / "team.db"
    key.write_bytes(b"k" * 32)
    with Memory.open(path, key=b"k" * 32) as memory:
        memory.add("The hives stand behind the mill.")
    assert "is encrypted" in line("mount", "team", str(path)).stderr
    assert line("mount", "team", str(path), "--mount-key-file", str(key)).exit_code == 0
    refused = line("search", "hives", "--space", "team")
    assert "PINYON_MOUNT_TEAM_KEY_FILE" in refused.stderr
    line.environment["PINYON_MOUNT_TEAM_KEY_FILE"] = str(key)  # type: ignore[index]  # a dict, as it happens
    assert "behind the mill" in line("search", "hives", "--space", "team").stdout
