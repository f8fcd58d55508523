"""A damaged file is named in one sentence, never misread and never changed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from pinyon import Memory
from pinyon.errors import BadInput, Damaged, NotFound, StoreError

TEXTS = [f"Ann told Bob about mill number {number} behind the river." for number in range(60)]


def made(opened: Callable[..., Memory], path: Path) -> bytes:
    memory = opened(path)
    for text in TEXTS:
        memory.add(text, tags=["mill"], metadata={"n": len(text)}, user="ann")
    memory.close()
    return path.read_bytes()


def use(memory: Memory) -> list[str]:
    """Read in every way and return the problems that were said; any other exception passes through."""
    said: list[str] = []
    ann = memory.at(user="ann")
    steps: list[Callable[[], object]] = [
        lambda: [said.append(f"changed: {c.text}") for c in ann.iterate() if c.text not in TEXTS],
        lambda: ann.search("the mill behind the river"),
        lambda: ann.list(where={"tags": ["mill"]}),
        lambda: ann.stats(),
        lambda: said.extend(ann.check()),
    ]
    for step in steps:
        try:
            step()
        except (StoreError, NotFound) as error:
            said.append(error.message)
    return said


def test_random_bytes_anywhere_are_survived_or_named(opened, tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    sound = made(opened, path)
    chance = random.Random(7)
    named = 0
    for _ in range(25):
        damaged = bytearray(sound)
        for _ in range(chance.choice([1, 3, 40])):
            start = chance.randrange(len(sound))
            junk = chance.randbytes(chance.choice([1, 16, 600]))
            damaged[start : start + len(junk)] = junk[: len(sound) - start]
        path.write_bytes(damaged)
        said, is_there = look(opened, path)
        assert said or is_there
        assert all("\n" not in problem for problem in said)
        named += bool(said)
        for extra in tmp_path.glob("m.db-*"):
            extra.unlink()
    assert named > 10


def look(opened: Callable[..., Memory], path: Path) -> tuple[list[str], bool]:
    """Open a file and return what was said of it, and whether every text is there."""
    try:
        memory = opened(path)
    except StoreError as error:
        return [error.message], False
    said = use(memory)
    try:
        cubes = sorted(memory.at(user="ann").iterate(), key=lambda cube: cube.row)
    except StoreError as error:
        return [*said, error.message], False
    finally:
        memory.close()
    return said, [cube.text for cube in cubes] == TEXTS


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_named_and_left_as_it_is(opened, tmp_path: Path, part: float) -> None:
    path = tmp_path / "m.db"
    sound = made(opened, path)
    path.write_bytes(sound[: int(len(sound) * part)])
    before = path.read_bytes()
    said, _ = look(opened, path)
    assert said
    assert path.read_bytes() == before


def test_a_page_of_junk_is_named_and_left_as_it_is(opened, tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    sound = bytearray(made(opened, path))
    for start in range(4096, len(sound), 8192):
        sound[start : start + 4096] = random.Random(start).randbytes(4096)
    path.write_bytes(sound)
    said, _ = look(opened, path)
    assert any("not a sound pinyon database" in problem for problem in said)
    assert path.read_bytes() == bytes(sound)


def test_a_text_file_is_refused_with_one_sentence(opened, tmp_path: Path) -> None:
    path = tmp_path / "diary.txt"
    path.write_text("Dear diary, today I met a whale.\n" * 100)
    before = path.read_bytes()
    with pytest.raises(Damaged) as caught:
        opened(path)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert path.read_bytes() == before


def test_a_cursor_of_junk_is_bad_input(opened, tmp_path: Path) -> None:
    memory = opened(tmp_path / "m.db")
    with pytest.raises(BadInput):
        memory.list(cursor=f"{10**30}-{10**30}")
