"""Paths, folders and addresses name a file, or are refused without telling what they hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinyon import Memory
from pinyon.errors import BadInput, Damaged
from pinyon.places import check_whole, file_of, is_server


def test_a_path_a_folder_and_an_address_name_a_file(tmp_path: Path) -> None:
    assert file_of(tmp_path / "a.db") == tmp_path / "a.db"
    assert file_of(tmp_path) == tmp_path / "memory.db"
    assert file_of(f"{tmp_path}/new/") == tmp_path / "new" / "memory.db"
    assert file_of("sqlite:///a.db") == Path("a.db")
    assert file_of("sqlite:////tmp/a.db") == Path("/tmp/a.db")
    assert file_of("C:/a.db") == Path("C:/a.db")
    assert file_of("~/a.db") == Path.home() / "a.db"


@pytest.mark.parametrize(
    "place", ["mysql://u:secret@h/db", "mysql:/u:secret@h/db", "http://u:secret@h/", "x+y://secret"]
)
@pytest.mark.parametrize("sort", [str, Path])
def test_an_address_of_something_else_is_refused_and_its_password_stays_hidden(place: str, sort: type) -> None:
    with pytest.raises(BadInput, match="there is no store for") as caught:
        Memory.open(sort(place))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("place", [None, 3, "", " ", "a\x00b", ["a"]])
def test_what_is_no_place_is_refused(place: object) -> None:
    with pytest.raises(BadInput):
        Memory.open(place)  # type: ignore[arg-type]


def test_only_postgres_is_a_server() -> None:
    assert is_server("postgresql://user@host/database")
    assert not is_server("mysql://host/database")
    assert not is_server(Path("notes.db"))


def test_a_file_cut_to_nothing_is_no_new_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    path.touch()
    check_whole(path)  # somebody made it for a memory that is still to be
    with pytest.raises(Damaged, match="is an empty file and no memory"):
        check_whole(path, is_wanted=True)
    (tmp_path / "m.db.index").mkdir()
    with pytest.raises(Damaged, match="is an empty file and no memory"):
        Memory.open(path)
    assert path.stat().st_size == 0
    check_whole(tmp_path / "none.db", is_wanted=True)  # what is not there is for others to say
