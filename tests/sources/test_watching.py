from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pinyon.errors import UnreadableSource
from pinyon.sources import watch


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
