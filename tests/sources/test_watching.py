from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinyon.errors import UnreadableSource
from pinyon.sources import watch

is_posix = os.name == "posix"


def test_a_missing_path_cannot_be_watched(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="does not exist"):
        next(watch([tmp_path / "no"], stop=threading.Event()))


def test_changes_are_told_until_stopped(tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    stop = threading.Event()
    is_done = threading.Event()

    def write() -> None:  # again and again: the watch begins at a moment nobody tells
        number = 0
        while not is_done.wait(0.05) and number < 200:
            number += 1
            (tmp_path / ".hidden.md").write_text(str(number))
            (tmp_path / "a.md").write_text(str(number))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        changes = watch([tmp_path], stop=stop)
        assert next(changes) == {tmp_path / "a.md"}
    finally:
        is_done.set()
        stop.set()
        writer.join()
    assert list(changes) in ([], [{tmp_path / "a.md"}])


def test_a_pattern_is_watched_where_it_begins(tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    (tmp_path / "deep").mkdir()
    wanted, other = tmp_path / "deep" / "a.md", tmp_path / "deep" / "a.txt"
    assert next(written_to(tmp_path / "**" / "*.md", [wanted, other])) == {wanted}
    with pytest.raises(UnreadableSource, match="does not exist"):
        next(watch([tmp_path / "no" / "*.md"], stop=threading.Event()))


@pytest.mark.skipif(not is_posix, reason="names are bytes on POSIX alone")
def test_a_name_that_is_no_unicode_does_not_end_the_watch(tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff.md"))
    try:
        odd.write_text("b")
    except OSError:
        pytest.skip("this file system takes no such names")
    (tmp_path / "a.md").write_text("a")
    assert next(written_to(tmp_path, [odd])) == {odd, tmp_path / "a.md"}


def written_to(watched: Path, files: list[Path]) -> Iterator[set[Path]]:
    """Yield the first change that is told while files are written again and again."""
    stop, is_done = threading.Event(), threading.Event()

    def write() -> None:
        number = 0
        while not is_done.wait(0.05) and number < 200:
            number += 1
            for file in files:
                file.write_text(str(number))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield next(watch([watched], stop=stop))
    finally:
        is_done.set()
        stop.set()
        writer.join()
