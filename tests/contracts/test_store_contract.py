"""What every place where cubes rest must do, and that all of them answer alike."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from worlds import BLOBS, SCALARS, SOURCES, callers, drafts, headers, payloads, views

from pinyon.core.clock import micros
from pinyon.core.cube import Cube, Draft, cube_to_json
from pinyon.core.header import Header, Life, Provenance
from pinyon.core.payload import Delta, Kind, State, Text, canonical
from pinyon.core.scope import Scope
from pinyon.core.where import Condition, View, Where
from pinyon.errors import BadInput, NotFound
from pinyon.store import Engine, MemoryEngine, SourceMark, SqliteEngine, Store, VectorRows
from pinyon.testing import FixedClock, HashEmbedder

NOW = datetime(2024, 5, 1, tzinfo=UTC)
EVERY = Where(states=("generated", "activated", "merged", "archived", "expired", "frozen"))
NOBODY = Scope()
ANN = Scope(user="ann")
BOB = Scope(user="bob")
EMBEDDER = HashEmbedder(4)


def put(store: Store, *texts: str, owner: Scope = NOBODY, space: str = "main", **header: object) -> list[Cube]:
    made = [Draft(Text(text), Header(**header)) for text in texts]  # type: ignore[arg-type]
    return [placed.cube for placed in store.put(made, owner=owner, space=space, now=NOW)]


def found(store: Store, view: View) -> list[str]:
    return [cube.text for cube in store.engine.find(view, newest_first=False, limit=100, after=None)]


def embed(cubes: object) -> tuple[str, np.ndarray]:
    return EMBEDDER.fingerprint, EMBEDDER.embed([cube.text for cube in cubes]).astype(np.float16)  # type: ignore[attr-defined]


# --- one thing each ------------------------------------------------------------------------------------------------


def test_what_was_put_is_found_word_for_word(store: Store) -> None:
    put(store, "Ann keeps bees.\r\n  \x00 蜜蜂 👍🏽 \u202e")
    assert found(store, View()) == ["Ann keeps bees.\r\n  \x00 蜜蜂 👍🏽 \u202e"]


def test_putting_the_same_again_changes_nothing(store: Store) -> None:
    put(store, "one")
    head = store.engine.head()
    put(store, "one")
    assert store.engine.head() == head


def test_putting_the_same_with_another_header_is_the_next_version(store: Store) -> None:
    (first,) = put(store, "one")
    (second,) = put(store, "one", tags=("red",))
    assert (second.id, second.version, second.parent) == (first.id, 2, first.hash)


def test_metadata_that_python_finds_equal_but_json_does_not_is_a_change(store: Store) -> None:
    put(store, "one", metadata={"done": 1})
    (cube,) = put(store, "one", metadata={"done": True})
    assert cube.version == 2
    assert cube.header.metadata["done"] is True


def test_a_batch_may_change_several_of_its_own_cubes(store: Store) -> None:
    first, second = Draft(Text("a")), Draft(Text("b"))
    tagged = [replace(draft, header=Header(tags=("red",))) for draft in (first, second)]
    placed = store.put([first, second, *tagged, *tagged], owner=NOBODY, space="main", now=NOW)
    assert [p.outcome for p in placed] == ["created", "created", "updated", "updated", "unchanged", "unchanged"]
    assert store.check() == []


def test_a_user_called_none_is_not_the_shared_one(store: Store) -> None:
    put(store, "secret", owner=Scope(user="None"))
    (shared,) = put(store, "secret")
    assert shared.owner == NOBODY


def test_two_users_may_say_the_same_without_knowing(store: Store) -> None:
    (a,), (b,) = put(store, "secret", owner=ANN), put(store, "secret", owner=BOB)
    assert a.id != b.id
    assert b.version == 1


def test_turns_of_a_thread_get_the_next_place(store: Store) -> None:
    here = Header(provenance=Provenance(thread="t"))
    for text in "abc":
        store.put([Draft(Text(text), here)], owner=NOBODY, space="main", now=NOW)
    cubes = store.engine.find(View(), newest_first=False, limit=9, after=None)
    assert [cube.header.provenance.position for cube in cubes] == [0, 1, 2]


def test_a_turn_after_one_without_a_place_gets_the_first(store: Store) -> None:
    (cube,) = put(store, "a", provenance=Provenance(thread="t"))
    store.update(
        cube.id,
        lambda old: replace(old, header=Header(provenance=Provenance(thread="t"))),
        view=View(),
        actor=NOBODY,
        now=NOW,
    )
    (second,) = put(store, "b", provenance=Provenance(thread="t"))
    assert second.header.provenance.position == 0


def test_an_update_keeps_the_version_before(store: Store) -> None:
    (cube,) = put(store, "old")
    store.update(cube.id, lambda old: replace(old, payload=Text("new")), view=View(), actor=ANN, now=NOW)
    history = store.history(cube.id, View())
    assert [v.cube.text for v in history if v.cube] == ["old", "new"]
    assert [v.op for v in history] == ["create", "update"]
    assert history[1].actor == ANN


def test_updating_what_the_caller_cannot_see_is_refused(store: Store) -> None:
    (cube,) = put(store, "mine", owner=ANN)
    with pytest.raises(NotFound):
        store.update(cube.id, lambda old: old, view=View(BOB), actor=BOB, now=NOW)


def test_removing_what_the_caller_cannot_see_removes_nothing(store: Store) -> None:
    (cube,) = put(store, "mine", owner=ANN)
    assert store.remove([cube.id], view=View(BOB), actor=BOB, now=NOW) == []
    assert store.engine.count(View(ANN)) == 1


def test_a_removed_cube_leaves_only_its_entry_in_the_journal(store: Store) -> None:
    (cube,) = put(store, "gone", tags=("red",))
    store.update(cube.id, lambda old: replace(old, payload=Text("more")), view=View(), actor=NOBODY, now=NOW)
    store.remove([cube.id], view=View(), actor=NOBODY, now=NOW)
    assert store.engine.by_rows([cube.row]) == {}
    assert store.engine.versions(cube.id) == []
    assert [(e.op, e.version, e.hash) for e in store.journal()][-1] == ("forget", 0, "")


def test_what_was_removed_can_be_said_again_as_another_cube(store: Store) -> None:
    (cube,) = put(store, "again")
    store.remove([cube.id], view=View(), actor=NOBODY, now=NOW)
    (second,) = put(store, "again")
    assert second.id != cube.id
    assert second.version == 1


def test_a_failing_transaction_leaves_nothing(store: Store) -> None:
    def fail(cubes: object) -> None:
        raise RuntimeError("no vectors")

    with pytest.raises(RuntimeError, match="no vectors"):
        store.put([Draft(Text("half"))], owner=NOBODY, space="main", now=NOW, embed=fail)
    assert store.engine.head().seq == 0
    assert store.engine.count(View()) == 0


def test_the_journal_never_goes_back_in_time(store: Store) -> None:
    put(store, "late")
    store.put([Draft(Text("early"))], owner=NOBODY, space="main", now=NOW - timedelta(days=9))
    times = [e.time for e in store.journal()]
    assert times == sorted(times)


def test_retiring_archives_what_a_source_says_no_longer(store: Store) -> None:
    here = Header(provenance=Provenance(thread="f", source="f"))
    store.put([Draft(Text("kept"), here), Draft(Text("dropped"), here)], owner=NOBODY, space="main", now=NOW)
    store.put([Draft(Text("kept"), here)], owner=NOBODY, space="main", now=NOW, retire="f")
    assert found(store, View()) == ["kept"]
    assert found(store, View(where=Where(states=("archived",)))) == ["dropped"]


def test_a_source_that_says_it_again_restores_it(store: Store) -> None:
    here = Header(provenance=Provenance(thread="f", source="f"))
    for said in (["a"], [], ["a"]):
        store.put([Draft(Text(t), here) for t in said], owner=NOBODY, space="main", now=NOW, retire="f")
    (cube,) = store.engine.find(View(), newest_first=False, limit=9, after=None)
    assert [v.op for v in store.history(cube.id, View())] == ["create", "archive", "restore"]


def test_an_update_to_text_makes_its_old_vector_lacking(store: Store) -> None:
    store.put([Draft(Text("bees"))], owner=NOBODY, space="main", now=NOW, embed=embed)
    assert store.engine.missing_vectors(EMBEDDER.fingerprint, 9) == []
    (cube,) = store.engine.find(View(), newest_first=True, limit=1, after=None)
    store.update(cube.id, lambda old: replace(old, payload=Text("wax")), view=View(), actor=NOBODY, now=NOW)
    assert [c.text for c in store.engine.missing_vectors(EMBEDDER.fingerprint, 9)] == ["wax"]


def test_a_vector_of_a_cube_that_is_gone_is_not_kept(store: Store) -> None:
    with store.engine.transaction() as tx:
        rows = np.array([7], dtype=np.int64)
        tx.put_vectors("f", VectorRows(rows, rows, np.ones((1, 2), dtype=np.float16)))
    assert store.engine.fingerprints() == {}


def test_dropping_the_vectors_of_an_embedder_leaves_the_others(store: Store) -> None:
    store.put([Draft(Text("bees"))], owner=NOBODY, space="main", now=NOW, embed=embed)
    with store.engine.transaction() as tx:
        rows = np.array([1], dtype=np.int64)
        tx.put_vectors("other", VectorRows(rows, rows, np.ones((1, 2), dtype=np.float16)))
    store.engine.drop_vectors(EMBEDDER.fingerprint)
    assert store.engine.fingerprints() == {"other": 1}


def test_forgetting_a_cube_makes_its_source_unread(store: Store) -> None:
    here = Header(provenance=Provenance(thread="f", source="f"))
    mark = SourceMark("f", "d" * 64, 1)
    (placed,) = store.put([Draft(Text("a"), here)], owner=ANN, space="main", now=NOW, source=mark)
    assert store.engine.source("main", ANN, "f") == mark
    store.remove([placed.cube.id], view=View(ANN), actor=ANN, now=NOW)
    assert store.engine.source("main", ANN, "f") is None


def test_a_source_mark_is_known_to_its_owner_alone(store: Store) -> None:
    store.put([], owner=ANN, space="main", now=NOW, source=SourceMark("f", "d" * 64, 0))
    assert store.engine.source("main", BOB, "f") is None
    assert store.engine.source_of("main", BOB, "d" * 64) is None
    assert store.engine.source_of("main", ANN, "d" * 64) is not None


def test_settings_are_kept(store: Store) -> None:
    store.engine.set_setting("embedder", "static")
    store.engine.set_setting("embedder", "minilm")
    assert store.engine.setting("embedder") == "minilm"
    assert store.engine.setting("nothing") is None


def test_metadata_cannot_pose_as_a_tag(store: Store) -> None:
    put(store, "posing", metadata={"\x00tag": "red"})
    assert found(store, View(where=Where(tags=("red",)))) == []


def test_texts_are_ordered_by_code_point(store: Store) -> None:
    put(store, "high", metadata={"k": "\U00010000"})
    assert found(store, View(where=Where(metadata=(Condition("k", "gt", "\uffff"),)))) == ["high"]


@pytest.mark.parametrize("number", [10**400, -(10**400)], ids=["above", "below"])
def test_a_number_beyond_floating_point_can_be_kept_and_asked_for(store: Store, number: int) -> None:
    put(store, "huge", metadata={"k": number})
    assert found(store, View(where=Where(metadata=(Condition("k", "eq", number),)))) == ["huge"]


def test_a_long_list_can_be_asked_for(store: Store) -> None:
    put(store, "x", metadata={"k": 7})
    assert found(store, View(where=Where(metadata=(Condition("k", "in", list(range(5000))),)))) == ["x"]


def test_pages_follow_each_other_without_gap_or_repeat(store: Store) -> None:
    put(store, *(f"n{number}" for number in range(7)))
    for newest_first in (True, False):
        seen: list[str] = []
        after = None
        while page := store.engine.find(View(), newest_first=newest_first, limit=3, after=after):
            seen.extend(cube.text for cube in page)
            after = (micros(page[-1].time), page[-1].row)
        assert seen == [f"n{n}" for n in (range(6, -1, -1) if newest_first else range(7))]


def test_a_state_cube_comes_back_with_its_blob(store: Store) -> None:
    blob = store.engine.blobs.put(b"tensors" * 100)
    payload = State((blob,), {"model": "m", "dtype": "float16"}, tokens=7)
    (placed,) = store.put([Draft(payload)], owner=NOBODY, space="main", now=NOW)
    cube = store.engine.get(placed.cube.id, View())
    assert cube is not None
    assert cube.payload == payload
    assert store.engine.blobs.get(cube.payload.blobs[0]) == b"tensors" * 100
    assert cube.kind is Kind.STATE
    assert store.check() == []


def test_a_delta_cube_comes_back_with_its_modules(store: Store) -> None:
    blob = store.engine.blobs.put(b"\x00\xff")
    payload = Delta((blob,), {"model": "m"}, format="weight_delta", modules=("layers.0.mlp", "head"))
    (placed,) = store.put([Draft(payload)], owner=ANN, space="main", now=NOW)
    cube = store.engine.get(placed.cube.id, View(ANN, where=Where(kinds=(Kind.WEIGHTS,))))
    assert cube is not None
    assert cube.payload == payload


def test_a_lost_blob_is_found_by_the_check(store: Store) -> None:
    blob = store.engine.blobs.put(b"tensors")
    store.put([Draft(State((blob,), {}))], owner=NOBODY, space="main", now=NOW)
    store.engine.blobs.remove(blob)
    (problem,) = store.check()
    assert blob.sha256 in problem


def test_forgetting_removes_the_blobs_of_every_version(store: Store) -> None:
    first, second, shared = (store.engine.blobs.put(data) for data in (b"first", b"second", b"shared"))
    placed = store.put(
        [Draft(State((first, shared), {})), Draft(Delta((shared,), {}))], owner=NOBODY, space="main", now=NOW
    )
    id = placed[0].cube.id
    store.update(id, lambda old: replace(old, payload=State((second,), {})), view=View(), actor=NOBODY, now=NOW)
    store.remove([id], view=View(), actor=NOBODY, now=NOW)
    for blob in (first, second):
        with pytest.raises(NotFound):
            store.engine.blobs.get(blob)
    assert store.engine.blobs.get(shared) == b"shared"


def test_only_text_cubes_wait_for_vectors(store: Store) -> None:
    store.put([Draft(State((), {}))], owner=NOBODY, space="main", now=NOW)
    assert store.engine.missing_vectors("f", 9) == []


@pytest.mark.parametrize("op", ["eq", "ne", "in", "gt", "ge", "lt", "le"])
def test_every_comparison_with_every_scalar_is_that_of_the_plain_form(store: Store, op: str) -> None:
    for number, value in enumerate(SCALARS):
        put(store, f"{number}", metadata={"k": value, "m": [value, SCALARS[number - 1]], "a": {"b": value}})
    put(store, "bare")
    cubes = store.engine.by_rows(range(1, 100)).values()
    for key in ("k", "m", "a.b", "a", "nothing"):
        for value in SCALARS:
            try:
                condition = Condition(key, op, [value, "b"] if op == "in" else value)  # type: ignore[arg-type]
            except BadInput:
                continue
            view = View(where=Where(metadata=(condition,)))
            assert store.engine.rows(view).tolist() == sorted(cube.row for cube in cubes if view.admits(cube))


@pytest.mark.parametrize("wanted", [*SOURCES, ".md", "", "notes", "%.md", "NOTES.md", "/notes.md"])
def test_the_end_of_a_source_is_that_of_the_plain_form(store: Store, wanted: str) -> None:
    for source in (None, *SOURCES):
        put(store, f"{source}", provenance=Provenance(source=source))
    view = View(where=Where(source=wanted))
    expected = {source for source in SOURCES if source == wanted or source.endswith(f"/{wanted}")}
    assert set(found(store, view)) == expected


# --- all engines answer alike --------------------------------------------------------------------------------------


def exactly(cubes: list[Cube]) -> list[str]:
    """Return everything of cubes as text, so that 1 and true differ."""
    return [f"{cube.row} {canonical(cube_to_json(cube))}" for cube in cubes]


class Congruence(RuleBasedStateMachine):
    """The same random calls on every engine, compared with each other and with `View.admits`."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.sqlite = Store(SqliteEngine(Path(self.folder) / "m.db", durability="normal"))
        self.memory = Store(MemoryEngine())
        self.clock = FixedClock("2024-05-01T12:00")
        self.ids: list[str] = []

    def put_blobs(self) -> None:
        for store in self.both():
            for data in BLOBS:
                store.engine.blobs.put(data)

    def teardown(self) -> None:
        if hasattr(self, "sqlite"):
            assert self.sqlite.check() == []
            assert self.memory.check() == []
            self.sqlite.engine.close()
            shutil.rmtree(self.folder)

    def both(self) -> tuple[Store, Store]:
        return self.sqlite, self.memory

    def everything(self) -> list[Cube]:
        rows = range(1, self.memory.engine.head().seq + 1)
        return list(self.memory.engine.by_rows(rows).values())

    @rule(
        made=st.lists(drafts, min_size=1, max_size=5),
        owner=callers,
        space=st.sampled_from(["main", "work"]),
        source=st.none() | st.sampled_from(SOURCES),
        retire=st.sampled_from([None, None, None, "t1"]),
        seconds=st.sampled_from([0, 1, -5]),
        is_embedded=st.booleans(),
    )
    def put(
        self,
        made: list[Draft],
        owner: Scope,
        space: str,
        source: str | None,
        retire: str | None,
        seconds: float,
        is_embedded: bool,
    ) -> None:
        self.put_blobs()
        self.clock.advance(seconds)
        mark = None if source is None else SourceMark(source, source.encode().hex(), len(made))
        answers = []
        for store in self.both():
            placed = store.put(
                made,
                owner=owner,
                space=space,
                now=self.clock.now(),
                source=mark,
                retire=retire,
                embed=embed if is_embedded else None,
            )
            answers.append(([p.outcome for p in placed], exactly([p.cube for p in placed])))
        assert answers[0] == answers[1]
        self.ids.extend(p.cube.id for p in placed)
        for p in placed:
            assert replace(owner, session=None).sees(p.cube.owner)

    @rule(data=st.data(), payload=payloads, header=headers, view=views, is_fitting=st.booleans())
    def update(self, data: st.DataObject, payload: object, header: Header, view: View, is_fitting: bool) -> None:
        self.put_blobs()
        id = data.draw(st.sampled_from(self.ids or ["0" * 32]))
        owned = [cube for cube in self.everything() if cube.id == id]
        if owned and is_fitting:
            view = View(owned[0].owner, (owned[0].space,), EVERY)
        answers: list[object] = []
        for store in self.both():
            try:
                changed = store.update(
                    id,
                    lambda old: replace(old, payload=payload, header=header),  # type: ignore[arg-type]
                    view=view,
                    actor=view.scope,
                    now=self.clock.now(),
                )
                answers.append(exactly([changed]))
            except NotFound as error:
                answers.append(str(error))
        assert answers[0] == answers[1]

    @rule(data=st.data(), view=views, is_fitting=st.booleans())
    def remove(self, data: st.DataObject, view: View, is_fitting: bool) -> None:
        ids = data.draw(st.lists(st.sampled_from(self.ids or ["0" * 32]), max_size=3))
        owned = [cube for cube in self.everything() if cube.id in ids]
        if owned and is_fitting:
            view = View(owned[0].owner, (owned[0].space,), EVERY)
        admitted = {cube.id for cube in owned if view.admits(cube)}
        answers = [store.remove(ids, view=view, actor=view.scope, now=self.clock.now()) for store in self.both()]
        assert exactly(answers[0]) == exactly(answers[1])
        assert {cube.id for cube in answers[0]} == admitted

    @rule(made=st.lists(drafts, min_size=1, max_size=2))
    def fail(self, made: list[Draft]) -> None:
        def refuse(cubes: object) -> None:
            raise RuntimeError

        for store in self.both():
            head = store.engine.head()
            try:
                store.put(made, owner=NOBODY, space="main", now=self.clock.now(), embed=refuse)
            except RuntimeError:
                assert store.engine.head() == head

    @rule(view=views, newest_first=st.booleans(), limit=st.integers(1, 4), is_fitting=st.booleans(), data=st.data())
    def ask(self, view: View, newest_first: bool, limit: int, is_fitting: bool, data: st.DataObject) -> None:
        everything = self.everything()
        if everything and is_fitting:
            view = View(data.draw(st.sampled_from(everything)).owner, ("main", "work"), view.where)
        admitted = {cube.row: cube for cube in everything if view.admits(cube)}
        after = data.draw(st.none() | st.sampled_from([(micros(c.time), c.row) for c in everything] or [None]))
        prefix = data.draw(st.sampled_from([id[:5] for id in self.ids] or ["0"]))
        word = data.draw(st.sampled_from(["bees", "A", " ", "蜜", "zzz"]))
        for store in self.both():
            engine = store.engine
            assert engine.rows(view).tolist() == sorted(admitted)
            assert engine.count(view) == len(admitted)
            whole = engine.find(view, newest_first=newest_first, limit=10_000, after=None)
            assert exactly(sorted(whole, key=lambda c: c.row)) == exactly([admitted[row] for row in sorted(admitted)])
            matching = engine.matching(prefix, view, limit)
            assert all(cube.id.startswith(prefix) for cube in matching)
        self.alike(lambda e: exactly(e.find(view, newest_first=newest_first, limit=limit, after=after)))
        self.alike(lambda e: exactly(e.matching(prefix, view, limit)))
        self.alike(lambda e: exactly(e.containing(word, view, limit)))

    @rule(caller=callers, source=st.sampled_from(SOURCES), space=st.sampled_from(["main", "work"]))
    def look_around(self, caller: Scope, source: str, space: str) -> None:
        self.alike(lambda e: e.spaces(caller))
        self.alike(lambda e: e.source(space, caller, source))
        self.alike(lambda e: e.source_of(space, caller, source.encode().hex()))
        self.alike(lambda e: e.fingerprints())
        self.alike(lambda e: exactly(e.missing_vectors(EMBEDDER.fingerprint, 5)))

    @rule()
    def compare_vectors(self) -> None:
        rows = list(range(1, self.memory.engine.head().seq + 1))
        a, b = (store.engine.vectors(EMBEDDER.fingerprint, rows) for store in self.both())
        np.testing.assert_array_equal(a.rows, b.rows)
        np.testing.assert_array_equal(a.versions, b.versions)
        if len(a.rows):
            np.testing.assert_array_equal(a.data, b.data)

    @rule(data=st.data(), view=views)
    def compare_history(self, data: st.DataObject, view: View) -> None:
        id = data.draw(st.sampled_from(self.ids or ["0" * 32]))
        answers: list[object] = []
        for store in self.both():
            try:
                answers.append(
                    [(v.op, v.time, v.actor, exactly([v.cube]) if v.cube else None) for v in store.history(id, view)]
                )
            except NotFound:
                answers.append(None)
        assert answers[0] == answers[1]
        self.alike(lambda e: exactly(e.versions(id)))
        self.alike(lambda e: e.events_of(id))

    @invariant()
    def walls_hold(self) -> None:
        if not hasattr(self, "sqlite"):
            return
        everything = self.everything()
        for tenant, user, agent in itertools.product((None, "t"), (None, "ann", "bob"), (None, "bot")):
            view = View(Scope(tenant, user, agent), ("main", "work"), EVERY)
            admitted = sorted(cube.row for cube in everything if view.admits(cube))
            for store in self.both():
                assert store.engine.rows(view).tolist() == admitted

    @invariant()
    def journals_are_equal(self) -> None:
        if hasattr(self, "sqlite"):
            self.alike(lambda e: e.head())
            self.alike(lambda e: e.journal(max(0, e.head().seq - 5), 10))

    def alike(self, ask: object) -> None:
        a, b = (ask(store.engine) for store in self.both())  # type: ignore[operator]
        assert a == b


Congruence.TestCase.settings = settings(
    max_examples=30, stateful_step_count=16, deadline=None, suppress_health_check=list(HealthCheck)
)
TestCongruence = Congruence.TestCase


@pytest.mark.slow
class TestCongruenceAtLength(Congruence.TestCase):  # type: ignore[misc]  # made by Hypothesis
    settings = settings(max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck))


def test_engines_share_no_state() -> None:
    engines: list[Engine] = [MemoryEngine(), MemoryEngine()]
    put(Store(engines[0]), "one")
    assert engines[1].count(View()) == 0


def test_a_life_in_another_time_zone_is_the_same_moment(store: Store) -> None:
    moment = datetime.fromisoformat("2024-05-01T02:00:00+02:00")
    put(store, "x", life=Life(valid_from=moment))
    put(store, "x", life=Life(valid_from=moment.astimezone(UTC)))
    assert store.engine.head().seq == 1
