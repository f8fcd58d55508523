"""A registry is there whole or not at all, and nothing in it can be changed unseen."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinyon.core.payload import canonical
from pinyon.errors import BadInput, Conflict, Damaged, NotFound, StoreError, TooNew
from pinyon.store.registry import (
    INDEX,
    Issue,
    Publication,
    Registry,
    Terms,
    archive_in,
    check_publication_name,
    index_bytes,
    index_from,
)

NOW = datetime(2024, 5, 1, tzinfo=UTC)
DATA = b"an archive" * 100

names = st.from_regex(r"[a-z0-9é][\w-]{0,9}", fullmatch=True)
moments = st.integers(0, 10**9).map(lambda s: NOW + timedelta(seconds=s))
terms = st.builds(
    Terms,
    calls=st.none() | st.integers(1, 10**9),
    expires=st.none() | moments,
    visible_to=st.lists(st.sampled_from(["public", "user:ann", "group:x"]), min_size=1, max_size=3, unique=True).map(
        tuple
    ),
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
issues = st.builds(
    Issue,
    version=names,
    parent=st.none() | names,
    time=moments,
    terms=terms,
    tags=st.lists(names, max_size=3).map(tuple),
    cubes=st.integers(1, 99),
    content=st.just("c" * 64),
    sha256=st.just("d" * 64),
    bytes=st.integers(0, 99),
)
publications = st.dictionaries(names, st.tuples(st.lists(issues, min_size=1, max_size=3), st.none() | moments)).map(
    lambda found: {name: Publication(name, tuple(each), gone) for name, (each, gone) in found.items()}
)


def issue(version: str, before: Publication | None, folder: Path, data: bytes = DATA) -> Issue:
    archive_in(folder, version).write_bytes(data)
    parent = None if before is None else before.latest.version
    return Issue(version, parent, NOW, Terms(), cubes=1, content="c" * 64)


def published(folder: Path, *versions: str, name: str = "bees") -> Registry:
    registry = Registry(str(folder))
    for version in versions:
        registry.publish(name, lambda before, place, v=version: issue(v, before, place))  # type: ignore[misc]
    return registry


@given(publications)
def test_an_index_says_what_was_written(known: dict[str, Publication]) -> None:
    assert index_from(index_bytes(known), "here") == known


@settings(max_examples=100)
@given(publications, st.data())
def test_an_index_that_was_cut_or_changed_is_refused(known: dict[str, Publication], data: st.DataObject) -> None:
    whole = index_bytes(known)
    place = data.draw(st.integers(0, len(whole) - 2))
    with pytest.raises((Damaged, TooNew)):
        index_from(whole[:place], "here")
    changed = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 127))]) + whole[place + 1 :]
    with suppress(Damaged, TooNew):
        assert index_from(changed, "here") == known  # another spelling of the same, such as a blank


def test_versions_follow_each_other(tmp_path: Path) -> None:
    registry = published(tmp_path / "r", "1", "2", "second")
    found = registry.find("bees")
    assert [(each.version, each.parent) for each in found.issues] == [("1", None), ("2", "1"), ("second", "2")]
    assert found.latest.sha256 == sha256(DATA).hexdigest()
    registry.fetch(found, found.latest, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == DATA


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", "/x", "x/../../y", ".hidden", "a\0b", "a b", "x" * 65, "c:", "end."]
)
def test_names_that_are_paths_are_refused(name: str, tmp_path: Path) -> None:
    for what in ("publication", "version"):
        with pytest.raises(BadInput, match="is no name of a"):
            check_publication_name(name, what)
    registry = published(tmp_path / "r", "1")
    with pytest.raises(BadInput):
        registry.publish(name, lambda before, folder: issue("1", before, folder))
    with pytest.raises(BadInput):
        published(tmp_path / "r", name)
    with pytest.raises(BadInput):
        registry.find(name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r"]


@pytest.mark.parametrize("where", ["name", "version"])
def test_an_index_that_names_a_path_is_refused(where: str, tmp_path: Path) -> None:
    bad = Issue("../../x" if where == "version" else "1", None, NOW, Terms(), cubes=1, content="c")
    data = index_bytes({"../x" if where == "name" else "bees": Publication("bees", (bad,))})
    (tmp_path / INDEX).write_bytes(data)
    with pytest.raises(BadInput, match="is no name of a"):
        Registry(str(tmp_path)).publications()


def test_what_failed_before_the_index_was_written_is_not_there(tmp_path: Path) -> None:
    registry = published(tmp_path / "r", "1")
    before = (tmp_path / "r" / INDEX).read_bytes()

    def fail(known: Publication | None, folder: Path) -> Issue:
        issue("2", known, folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        registry.publish("bees", fail)
    assert (tmp_path / "r" / INDEX).read_bytes() == before
    assert registry.find("bees").latest.version == "1"
    assert published(tmp_path / "r", "2").find("bees").latest.version == "2"  # the orphan is no obstacle


@pytest.mark.parametrize("damage", ["cut", "changed", "longer", "gone"])
def test_a_damaged_archive_is_refused(damage: str, tmp_path: Path) -> None:
    registry = published(tmp_path / "r", "1")
    path = archive_in(tmp_path / "r" / "bees", "1")
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": data[:-1], "changed": b"x" + data[1:], "longer": data + b"x"}[damage])
    found = registry.find("bees")
    with pytest.raises(Damaged, match="nothing was taken"):
        registry.fetch(found, found.latest, tmp_path / "got")


def test_a_later_form_is_named(tmp_path: Path) -> None:
    said = json.loads(index_bytes({}))
    (tmp_path / INDEX).write_text(canonical({**said, "version": 2}))
    with pytest.raises(TooNew, match="version 2"):
        Registry(str(tmp_path)).publications()


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{}", b'{"sha256":1}', b"[" * 10**5, b"\xff"])
def test_what_is_no_index_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_bytes(data)
    with pytest.raises(Damaged, match="index of the registry"):
        Registry(str(tmp_path)).publications()


def test_withdrawing_leaves_the_name_and_takes_the_archives(tmp_path: Path) -> None:
    registry = published(tmp_path / "r", "1", "2")
    registry.withdraw("bees", NOW)
    assert registry.find("bees").withdrawn == NOW
    assert not list((tmp_path / "r" / "bees").iterdir())
    with pytest.raises(Conflict, match="withdrawn already"):
        registry.withdraw("bees", NOW)
    with pytest.raises(NotFound):
        registry.withdraw("wasps", NOW)
    assert published(tmp_path / "r", "3").find("bees").withdrawn is None


def test_publishers_at_once_lose_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    threads = [threading.Thread(target=published, args=(folder, "1", "2"), kwargs={"name": f"n{n}"}) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    known = Registry(str(folder)).publications()
    assert {name: len(each.issues) for name, each in known.items()} == {f"n{n}": 2 for n in range(6)}


@pytest.mark.parametrize("place", ["ftp://x/y", "file:///etc", "", "  ", "a\0b"])
def test_a_place_of_another_kind_is_refused(place: str) -> None:
    with pytest.raises(BadInput, match="is no registry"):
        Registry(place)


def test_a_place_without_a_registry_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no registry"):
        Registry(str(tmp_path / "nowhere")).publications()


def test_terms_allow_something() -> None:
    for calls in (0, -1, True):
        with pytest.raises(BadInput):
            Terms(calls)
    with pytest.raises(BadInput):
        Terms(visible_to=())


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server that shows the folder ``r``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path / "r")))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_shows_the_same(address: str, tmp_path: Path) -> None:
    near = published(tmp_path / "r", "1", "2")
    far = Registry(address)
    assert far.is_address
    assert far.publications() == near.publications()
    found = far.find("bees")
    far.fetch(found, found.latest, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == DATA
    with pytest.raises(BadInput, match="read only"):
        far.withdraw("bees", NOW)
    with pytest.raises(Damaged, match="not there"):
        far.fetch(found, replace(found.latest, version="9"), tmp_path / "got")
    archive_in(tmp_path / "r" / "bees", "2").write_bytes(DATA[:-5])
    with pytest.raises(Damaged, match="cut off"):
        far.fetch(found, found.latest, tmp_path / "got")


def test_a_server_without_a_registry_or_that_is_away_is_named(address: str, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    with pytest.raises(NotFound, match="no registry"):
        Registry(address).publications()
    with pytest.raises(StoreError, match="cannot be reached"):
        Registry("http://127.0.0.1:9").publications()
