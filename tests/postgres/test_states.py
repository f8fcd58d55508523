"""States of a local model in a memory on a server."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

import state_cubes
from pg_server import Server

from pinyon import Memory
from pinyon.core.cube import Cube
from pinyon.core.payload import State
from pinyon.importing import export, export_everything, import_archive, migrate_between, restore
from pinyon.models.backbone import Backbone
from pinyon.results import Answer
from pinyon.states import StateDesk
from pinyon.store.postgres import PostgresEngine
from pinyon.testing import FixedClock, HashEmbedder, WordCounter

pytestmark = pytest.mark.postgres

QUESTION = "Where does Ann keep her bees?"


@pytest.fixture(scope="module")
def model() -> Backbone:
    return state_cubes.backbone(limit=680)  # so that an answer is short


@pytest.fixture
def open_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Memory]:
    monkeypatch.setenv("HOME", str(tmp_path))

    def opened(place: str | Path, **given: object) -> Memory:
        return Memory.open(place, embedder=HashEmbedder(), tokens=WordCounter(), clock=FixedClock(), **given)  # type: ignore[arg-type]

    return opened


@pytest.fixture
def memory(address: str, open_at: Callable[..., Memory]) -> Iterator[Memory]:
    with open_at(address) as opened:
        yield opened


def filled(memory: Memory, count: int = 3) -> list[str]:
    return [memory.add(text).cubes[0].id for text in state_cubes.TEXTS[:count]]


def states(memory: Memory) -> list[Cube]:
    return list(memory.list(where={"kinds": ["state"]}).cubes)


def sha256(cube: Cube) -> str:
    assert isinstance(cube.payload, State)
    return cube.payload.blobs[0].sha256


def blobs(memory: Memory) -> list[str]:
    """Return the names of all tensors that the server holds."""
    engine = memory.store.engine
    assert isinstance(engine, PostgresEngine)
    with engine.links.hold() as db:
        return sorted({str(name) for (name,) in db.execute("SELECT sha256 FROM blobs").fetchall()})


def age(engine: PostgresEngine) -> None:
    """Let an hour go by for all tensors."""
    with engine.links.hold() as db:
        db.execute("UPDATE blobs SET put = put - interval '61 minutes'")


def asked(memory: Memory, model: Backbone) -> Answer:
    return memory.ask(QUESTION, generator=model)


def test_an_answer_reads_on_from_a_state_and_is_that_of_a_memory_in_a_file(
    memory: Memory, model: Backbone, open_at: Callable[..., Memory], tmp_path: Path
) -> None:
    ids = filled(memory, 4)
    made = memory.convert(ids[:3], backbone=model)
    assert (made.outcome, memory.convert(ids[:3], backbone=model).outcome) == ("created", "unchanged")
    answer = asked(memory, model)
    assert answer.saved is not None
    assert (answer.saved.state, answer.saved.tokens) == (made.cube.id, made.tokens)
    with open_at(tmp_path / "m.db") as file:
        alike = file.convert(filled(file, 4)[:3], backbone=model)
        assert (alike.cube.id, alike.cube.payload) == (made.cube.id, made.cube.payload)
        assert asked(file, model).text == answer.text
    assert memory.verify().is_sound


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_a_smaller_form_is_attached_too(memory: Memory, model: Backbone, form: str) -> None:
    filled(memory)
    memory.convert(backbone=model, form=form)  # type: ignore[arg-type]
    saved = asked(memory, model).saved
    assert saved is not None
    assert saved.is_approximate


def test_another_process_attaches_what_one_has_read(
    memory: Memory, address: str, model: Backbone, open_at: Callable[..., Memory]
) -> None:
    ids = filled(memory)
    made = memory.convert(backbone=model)
    with open_at(address) as other:
        saved = asked(other, model).saved
        assert saved is not None
        assert saved.state == made.cube.id
        memory.forget([ids[0]])
        assert asked(other, model).saved is None
        assert not other.caller.parts.desk.shelf().names()


def test_after_a_change_a_state_is_stale_and_made_again_from_what_came_before(memory: Memory, model: Backbone) -> None:
    ids = filled(memory)
    old = memory.convert(backbone=model)
    memory.update(ids[2], text="Tom is allergic to nothing at all.")
    stale = asked(memory, model)
    assert stale.saved is None
    assert "stale" in stale.recall.found.notes[-1]
    new = memory.convert([old.cube.id], backbone=model)
    assert new.reused > len(old.sources[0].text)
    assert new.replaced == (old.cube.id,)
    assert blobs(memory) == [sha256(new.cube)]
    assert asked(memory, model).saved is not None
    assert memory.verify().is_sound


def test_what_is_forgotten_takes_its_states_with_it_and_a_purge_leaves_nothing(memory: Memory, model: Backbone) -> None:
    ids = filled(memory)
    gone, kept = memory.convert(ids[:2], backbone=model), memory.convert(ids[2:], backbone=model)
    asked(memory, model)
    done = memory.forget([ids[0]])
    assert gone.cube.id in {cube.id for cube in done.cubes}
    assert done.receipt is not None
    assert blobs(memory) == [sha256(kept.cube)]
    assert sha256(gone.cube) not in memory.caller.parts.desk.shelf().names()
    memory.purge()
    assert memory.verify(receipts=[done.receipt]).is_sound
    assert asked(memory, model).text


def test_a_purge_removes_what_a_killed_process_left_an_hour_ago(memory: Memory, model: Backbone) -> None:
    filled(memory)
    made = memory.convert(backbone=model)
    engine = memory.store.engine
    assert isinstance(engine, PostgresEngine)
    left = engine.blobs.put(b"tensors that no cube names")
    assert memory.purge().orphans == 0
    assert blobs(memory) == sorted([left.sha256, sha256(made.cube)])
    age(engine)
    engine.blobs.put(b"tensors that no cube names")  # about to be named after all
    assert memory.purge(level="log").orphans == 0
    age(engine)
    assert memory.purge(level="log").orphans == 1
    assert blobs(memory) == [sha256(made.cube)]
    assert asked(memory, model).saved is not None


def test_damaged_tensors_are_found_never_attached_and_made_again(memory: Memory, model: Backbone) -> None:
    filled(memory)
    made = memory.convert(backbone=model)
    engine = memory.store.engine
    assert isinstance(engine, PostgresEngine)
    with engine.links.hold() as db:
        db.execute("UPDATE blobs SET data = set_byte(data, 5000, 255 - get_byte(data, 5000))")
    memory.caller.parts.desk.close()
    assert asked(memory, model).saved is None
    assert [problem.subject for problem in memory.verify().problems] == ["blob"]
    again = memory.convert(backbone=model)
    assert (again.cube.id, again.outcome) == (made.cube.id, "rewritten")
    assert memory.verify().is_sound


def test_states_travel_in_both_kinds_of_archive(
    memory: Memory, postgres: Server, model: Backbone, open_at: Callable[..., Memory], tmp_path: Path
) -> None:
    filled(memory)
    made = memory.convert(backbone=model)
    export(memory, tmp_path / "some.pinyon")
    export_everything(memory, tmp_path / "all.pinyon")
    places = [tmp_path / "m.db", *(f"{postgres.address}?schema=t{uuid.uuid4().hex[:16]}" for _ in range(2))]
    for place, take in zip(places, (import_archive, import_archive, restore), strict=True):
        with open_at(place) as other:
            take(other, tmp_path / ("all.pinyon" if take is restore else "some.pinyon"))
            assert [replace(cube, row=0, seq=0) for cube in states(other)] == [replace(made.cube, row=0, seq=0)]
            assert asked(other, model).saved is not None
            assert other.verify().is_sound


def test_a_memory_in_a_file_moves_onto_a_server_with_its_states(
    address: str, model: Backbone, open_at: Callable[..., Memory], tmp_path: Path
) -> None:
    with open_at(tmp_path / "m.db") as file:
        filled(file)
        made = file.convert(backbone=model)
        file.recall(QUESTION, session="monday")
        text = asked(file, model).text
    migrate_between(tmp_path / "m.db", address)
    with open_at(address) as moved:
        assert states(moved) == [made.cube]
        answer = asked(moved, model)
        assert answer.saved is not None
        assert answer.text == text
        usage = dict(moved.store.engine.usage.every(0, 9))
        assert all(used.sessions for used in usage.values())
        assert len(usage) == 3


def test_a_branch_attaches_its_copy_of_a_state(memory: Memory, model: Backbone) -> None:
    filled(memory)
    memory.convert(backbone=model)
    memory.branch("if")
    answer = memory.ask(QUESTION, generator=model, space="if")
    assert answer.saved is not None
    assert [cube.id for cube in states(memory.at(space="if"))] == [answer.saved.state]
    memory.forget([next(iter(memory.list(where={"kinds": ["text"]}, space="if").cubes)).id], space="if")
    assert states(memory.at(space="if")) == []
    assert len(blobs(memory)) == 1


def test_what_several_processes_use_is_promoted_and_what_is_used_no_more_is_dropped(
    address: str, model: Backbone, open_at: Callable[..., Memory]
) -> None:
    with open_at(address) as memory:
        ids = filled(memory, 2)
        costs = {"t_direct": 0.01, "t_cached": 0.0, "t_build": 0.01, "bytes_per_token": 1000}
        memory.store.engine.set_setting(StateDesk(model)._key(model), json.dumps(costs))
    for promoted in (0, 1):
        with open_at(address) as memory:
            for _ in range(3):
                asked(memory, model)
        with open_at(address, backbone=model) as keeper:
            keeper.jobs.add("state")
            keeper.work()
            assert len(states(keeper)) == promoted
    with open_at(address, backbone=model) as keeper:
        assert {parent.id for cube in states(keeper) for parent in cube.header.lineage.parents} == set(ids)
        assert asked(keeper, model).saved is not None
        clock = keeper.caller.parts.clock
        assert isinstance(clock, FixedClock)
        clock.advance(60 * 86400)
        keeper.jobs.add("state")
        keeper.work()
        assert blobs(keeper) == []
        assert keeper.verify().is_sound


def test_costs_are_measured_on_a_server(address: str, model: Backbone, open_at: Callable[..., Memory]) -> None:
    with open_at(address, backbone=model) as memory:
        desk, engine = memory.caller.parts.desk, memory.store.engine
        found = desk.costs(model, engine)
        assert found.t_build >= found.t_direct > 0
        assert desk.costs(model, engine) == found
        assert blobs(memory) == []
