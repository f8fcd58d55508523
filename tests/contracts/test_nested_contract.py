"""Parts of a transaction, and one that carries several verbs, on every engine."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinyon.core.cube import Draft
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.core.where import EVERY_STATE, View, Where
from pinyon.errors import Conflict
from pinyon.store import MemoryEngine, SqliteEngine, Store
from pinyon.store.held import Held, hold
from pinyon.store.side import AuditLine

ANN = Scope(user="ann")
NOW = datetime(2024, 5, 1, tzinfo=UTC)
VIEW = View(ANN, ("default",), Where(states=EVERY_STATE))


def put(store: Store, text: str) -> str:
    (placed,) = store.put([Draft(Text(text))], owner=ANN, space="default", now=NOW)
    return placed.cube.id


def texts(store: Store) -> set[str]:
    return {cube.text for cube in store.engine.find(VIEW, newest_first=False, limit=100, after=None)}


def within(held: Held) -> Store:
    return Store(held.as_engine)


def test_what_several_verbs_wrote_is_kept_together(store: Store) -> None:
    with hold(store.engine) as held:
        inner = within(held)
        first = put(inner, "one")
        put(inner, "two")
        inner.remove([first], view=VIEW, actor=ANN, now=NOW)
        assert texts(inner) == {"two"}
        assert held.has_written
    assert texts(store) == {"two"}
    assert store.check() == []


def test_leaving_by_an_error_undoes_every_verb(store: Store) -> None:
    kept = put(store, "kept")
    head = store.engine.head()
    with suppress(ZeroDivisionError), hold(store.engine) as held:
        inner = within(held)
        put(inner, "gone")
        inner.remove([kept], view=VIEW, actor=ANN, now=NOW)
        held.set_setting("color", "blue")
        assert texts(inner) == {"gone"}
        raise ZeroDivisionError
    assert store.engine.head() == head
    assert texts(store) == {"kept"}
    assert store.engine.setting("color") is None
    put(store, "later")
    assert store.check() == []


def test_a_part_is_undone_alone(store: Store) -> None:
    with hold(store.engine) as held:
        inner = within(held)
        put(inner, "first")
        with suppress(ZeroDivisionError), held.transaction():
            put(inner, "lost")
            raise ZeroDivisionError
        put(inner, "last")
    assert texts(store) == {"first", "last"}
    assert [event.seq for event in store.journal()] == [1, 2]
    assert store.check() == []


def test_lines_of_the_audit_wait_for_the_end_and_only_denials_outlive_an_undone_one(store: Store) -> None:
    def line(allowed: bool) -> AuditLine:
        return AuditLine(NOW, ANN, "update", allowed, "default", "default", "", {})

    with suppress(ZeroDivisionError), hold(store.engine) as held:
        held.audit.append([line(True), line(False)])
        assert store.engine.audit.read(0, 9, tenant=None) == []
        raise ZeroDivisionError
    assert [entry.line.allowed for entry in store.engine.audit.read(0, 9, tenant=None)] == [False]
    with hold(store.engine) as held:
        held.audit.append([line(True)])
        with suppress(ZeroDivisionError), held.transaction():
            held.audit.append([line(True), line(False)])
            raise ZeroDivisionError
    assert [entry.line.allowed for entry in store.engine.audit.read(0, 9, tenant=None)] == [False, True, False]
    assert store.engine.audit.problems() == []


def test_blobs_that_nothing_names_at_the_end_are_gone(store: Store) -> None:
    with suppress(ZeroDivisionError), hold(store.engine) as held:
        blob = held.blobs.put(b"tensors")
        assert held.blobs.get(blob) == b"tensors"
        raise ZeroDivisionError
    with pytest.raises(KeyError):
        store.engine.blobs.get(blob)


def test_a_second_transaction_of_the_same_thread_is_refused(store: Store) -> None:
    with hold(store.engine), pytest.raises(Conflict, match="already"):
        put(store, "by the engine itself")
    put(store, "afterwards")
    assert texts(store) == {"afterwards"}


def test_another_thread_waits_with_its_writing(store: Store) -> None:
    begun = threading.Event()

    def write() -> None:
        begun.set()
        put(store, "from elsewhere")

    other = threading.Thread(target=write)
    with hold(store.engine) as held:
        put(within(held), "first")
        other.start()
        begun.wait(5)
    other.join(30)
    assert [event.op for event in store.journal()] == ["create", "create"]
    assert store.engine.by_rows([1])[1].text == "first"
    assert store.check() == []


STEPS = st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 3)), max_size=6)


@pytest.mark.parametrize("make", ["sqlite", "memory"])
@given(steps=STEPS, is_done=st.booleans())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_parts_leave_what_a_plain_set_says(
    make: str, steps: list[tuple[int, bool, int]], is_done: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    engine = MemoryEngine() if make == "memory" else SqliteEngine(tmp_path_factory.mktemp("n") / "m.db")
    store, expected = Store(engine), set[str]()
    try:
        with hold(engine) as held:
            for number, (writes, fails, deeper) in enumerate(steps):
                new = {f"{number}.{n}" for n in range(writes)}
                try:
                    with held.transaction():
                        for text in sorted(new):
                            put(within(held), text)
                        if deeper:
                            with held.transaction():
                                put(within(held), f"{number} deep")
                                new.add(f"{number} deep")
                        if fails:
                            raise ZeroDivisionError
                except ZeroDivisionError:
                    new = set()
                expected |= new
                assert texts(within(held)) == expected
            if not is_done:
                raise ZeroDivisionError
    except ZeroDivisionError:
        expected = set()
    assert texts(store) == expected
    assert store.check() == []
    engine.close()
