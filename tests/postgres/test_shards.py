"""A coordinator and three servers: parts on the three, one killed and brought back, one moved while it is written."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import pytest
from pg_server import WHY_NOT, Server, make_folder, shared, unpack

from pinyon.core.cube import Draft
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.core.where import View
from pinyon.errors import Busy, NotFound, StoreError
from pinyon.store import Store, VectorRows
from pinyon.store.postgres import (
    PostgresEngine,
    PostgresSearch,
    attach_server,
    detach_server,
    move_bucket,
    move_space,
    parts,
)

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]
NOW = datetime(2024, 5, 1, tzinfo=UTC)
NOBODY = Scope()
SPACES = ("red", "green", "blue")


@dataclass
class Town:
    """A store in schema ``town``, and its servers by name."""

    engine: PostgresEngine
    store: Store
    servers: dict[str, Server]


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    folder = make_folder()
    made = {name: Server(unpack(), folder) for name in ("one", "two", "three")}
    try:
        for server in made.values():
            server.start()
        yield made
    finally:
        for server in made.values():
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def town(servers: dict[str, Server], address: str) -> Iterator[Town]:
    engine = PostgresEngine(address, buckets=2)
    for name, server in servers.items():
        attach_server(engine, name, server.address)
    yield Town(engine, Store(engine), servers)
    engine.close()


def put(town: Town, space: str, text: str, owner: Scope = NOBODY) -> str:
    (placed,) = town.store.put([Draft(Text(text))], owner=owner, space=space, now=NOW)
    return placed.cube.id


def texts(town: Town, *spaces: str, owner: Scope = NOBODY) -> list[str]:
    cubes = town.engine.find(View(owner, spaces), newest_first=False, limit=10_000, after=None)
    return sorted(cube.text for cube in cubes)


def test_spaces_on_three_servers_are_asked_through_one_and_rights_apply(town: Town) -> None:
    ann, bob = Scope(user="ann"), Scope(user="bob")
    for space, server in zip(SPACES, town.servers, strict=True):
        put(town, space, f"shared in {space}")
        put(town, space, f"of ann in {space}", ann)
        move_space(town.engine, space, server)
    put(town, "red", "later of ann", ann)
    assert {(part.space, part.server) for part in parts(town.engine) if part.space} == set(
        zip(SPACES, town.servers, strict=True)
    )
    assert texts(town, *SPACES, owner=bob) == [f"shared in {space}" for space in sorted(SPACES)]
    assert len(texts(town, *SPACES, owner=ann)) == 7
    assert town.engine.count(View(ann, SPACES)) == 7
    assert town.engine.spaces(View(ann)) == sorted(SPACES)
    assert town.store.check() == []


def test_every_verb_works_on_a_cube_that_lies_elsewhere(town: Town) -> None:
    move_space(town.engine, "red", "one")
    id = put(town, "red", "old\x00")
    view = View(spaces=("red",))
    town.store.update(id, lambda cube: replace(cube, payload=Text("new")), view=view, actor=NOBODY, now=NOW)
    assert [v.cube.text for v in town.store.history(id, view) if v.cube] == ["old\x00", "new"]
    assert [c.text for c in town.engine.find(replace(view, at=1), newest_first=True, limit=9, after=None)] == [
        "old\x00"
    ]
    with town.engine.transaction() as tx:
        rows = np.array([1], dtype=np.int64)
        tx.put_vectors("f", VectorRows(rows, rows, np.ones((1, 4), dtype=np.float16)))
    assert town.engine.vectors("f", [1]).data.tolist() == [[1, 1, 1, 1]]
    assert [cube.id for cube in town.store.remove([id], view=view, actor=NOBODY, now=NOW)] == [id]
    assert town.engine.fingerprints() == {}
    assert town.store.check() == []


def test_buckets_move_and_come_back(town: Town) -> None:
    for number in range(20):
        put(town, f"space {number}", f"text {number}")
    for number in (0, 1):
        move_bucket(town.engine, number, "two")
    every = tuple(f"space {number}" for number in range(20))
    assert len(texts(town, *every)) == 20
    assert {part.server for part in parts(town.engine)} == {"two"}
    with pytest.raises(StoreError, match="lie on 'two'"):
        detach_server(town.engine, "two")
    move_space(town.engine, "space 3", "one")  # out of a bucket that lies elsewhere
    assert texts(town, "space 3") == ["text 3"]
    assert town.store.check() == []
    for number in (0, 1):
        move_bucket(town.engine, number, None)
    move_space(town.engine, "space 3", None)
    detach_server(town.engine, "two")
    put(town, "space 3", "another")
    assert len(texts(town, *every)) == 21
    assert town.store.check() == []


def test_moving_what_is_not_there_is_refused(town: Town) -> None:
    with pytest.raises(NotFound, match="no bucket 9"):
        move_bucket(town.engine, 9, "one")
    with pytest.raises(NotFound, match="no server 'four'"):
        move_space(town.engine, "red", "four")


def test_a_move_that_was_cut_off_is_begun_again(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(self: object, seq: int) -> None:
        raise KeyboardInterrupt

    put(town, "red", "one")
    with monkeypatch.context() as patch:
        patch.setattr("pinyon.store._pg_shards._Move._switch", cut)
        with pytest.raises(KeyboardInterrupt):
            move_space(town.engine, "red", "one")
    assert texts(town, "red") == ["one"]
    put(town, "red", "two")
    with pytest.raises(Busy, match="being moved"):
        town.engine.drop_vectors("f")
    move_space(town.engine, "red", "one")
    town.engine.drop_vectors("f")
    assert texts(town, "red") == ["one", "two"]
    assert town.store.check() == []


def test_while_a_server_is_dead_its_spaces_say_so_and_others_go_on(town: Town) -> None:
    put(town, "red", "there")
    put(town, "green", "here")
    move_space(town.engine, "red", "three")
    assert texts(town, "red", "green") == ["here", "there"]
    town.servers["three"].kill()
    try:
        with pytest.raises(StoreError, match="holds a part"):
            texts(town, "red")
        with pytest.raises(StoreError, match="holds a part"):
            put(town, "red", "lost")
        put(town, "green", "also here")
        assert texts(town, "green") == ["also here", "here"]
    finally:
        town.servers["three"].boot()
    put(town, "red", "there again")
    assert texts(town, "red") == ["there", "there again"]
    assert town.store.check() == []


def test_a_space_moves_while_it_is_written_and_nothing_is_lost(town: Town) -> None:
    written: list[list[str]] = [[], []]
    stop = threading.Event()
    failed: list[BaseException] = []

    def write(number: int) -> None:
        try:
            while not stop.is_set():
                text = f"{number} {len(written[number])}"
                id = put(town, "red", text)
                if len(written[number]) % 5 == 0:
                    view = View(spaces=("red",))
                    town.store.update(
                        id, lambda cube: replace(cube, payload=Text(cube.text + "!")), view=view, actor=NOBODY, now=NOW
                    )
                    text += "!"
                written[number].append(text)
        except BaseException as error:
            failed.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in (0, 1)]
    for writer in writers:
        writer.start()
    for server in ("one", "two", None, "three"):
        before = sum(len(mine) for mine in written)
        while sum(len(mine) for mine in written) < before + 20 and not failed:
            time.sleep(0.01)
        move_space(town.engine, "red", server)
    stop.set()
    for writer in writers:
        writer.join()
    assert failed == []
    assert texts(town, "red") == sorted(written[0] + written[1])
    assert town.store.check() == []


def test_what_the_first_server_did_not_commit_is_taken_back_on_the_others(town: Town) -> None:
    kept = put(town, "red", "kept")
    move_space(town.engine, "red", "one")
    put(town, "red", "second")
    leaf = next(f"cubes_{part.key}__one" for part in parts(town.engine) if part.space == "red")
    with town.engine.links.beside(town.servers["one"].address).connect() as db:  # as a lost commit would leave it
        db.execute(f"INSERT INTO {leaf.replace('cubes', 'versions', 1)} SELECT *, 3 FROM {leaf} WHERE row = 1")
        db.execute(f"UPDATE {leaf} SET seq = 3, version = 2, content = 'half', hash = 'x' WHERE row = 1")
        db.execute(
            f"INSERT INTO {leaf} (row, id, version, space, kind, state, time, created, updated, seq, rights, content,"
            " header, hash, parent)"
            " VALUES (4, 'f', 1, 'red', 'text', 'generated', 0, 0, 0, 4, 0, 'half', '{}', 'y', '')"
        )
    with town.engine.links.hold() as db:
        db.execute("INSERT INTO intents (spaces, first, last) VALUES ('{red}', 3, 4)")
    third = put(town, "red", "third")
    fourth = put(town, "red", "fourth")
    assert texts(town, "red") == ["fourth", "kept", "second", "third"]
    assert {cube.row for id in (third, fourth) if (cube := town.engine.get(id, View(spaces=("red",))))} == {3, 4}
    assert [v.op for v in town.store.history(kept, View(spaces=("red",)))] == ["create"]
    assert town.store.check() == []


def test_a_space_elsewhere_is_searched_exactly(town: Town) -> None:
    data = np.eye(4, dtype=np.float16)
    drafts = [Draft(Text(f"word{number} bees")) for number in range(4)]
    town.store.put(drafts, owner=NOBODY, space="red", now=NOW, embed=lambda cubes: ("f", data[: len(cubes)]))
    move_space(town.engine, "red", "two")
    found = PostgresSearch(town.engine, "f").search(["word2"], data[2], View(spaces=("red",)), 3)
    assert (found[0].row, dict(found[0].legs)) == (3, {"words": 1, "vectors": 1})


def test_the_coordinator_remembers_no_intent_after_a_commit(town: Town) -> None:
    put(town, "red", "one")
    with town.engine.links.hold() as db:
        assert db.execute("SELECT count(*) FROM intents").fetchone() == (0,)
    assert shared().port != town.servers["one"].port
