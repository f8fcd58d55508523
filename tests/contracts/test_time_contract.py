"""Random walks: every engine answers alike, now and as of any time, and as a naive replay of the walk says."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from worlds import BLOBS, SOURCES, accesses, callers, drafts, headers, moments, payloads, views

from pinyon.core.access import ACTIONS, Access, Action
from pinyon.core.clock import micros
from pinyon.core.cube import Cube, Draft, cube_to_json
from pinyon.core.header import Header, Lineage, Parent, Rights
from pinyon.core.payload import Payload, canonical
from pinyon.core.scope import Scope
from pinyon.core.where import EVERY_STATE, View, Where
from pinyon.errors import Conflict, Denied, NotFound
from pinyon.past import rollback
from pinyon.store import Engine, MemoryEngine, SourceMark, SqliteEngine, Store
from pinyon.testing import FixedClock, HashEmbedder

EVERY = Where(states=EVERY_STATE)
BOTH = ("main", "work")
EMBEDDER = HashEmbedder(4)
MOVES = ("generated", "activated", "archived", "expired", "frozen")
REFUSED = (NotFound, Denied, Conflict)


def embed(cubes: Any) -> tuple[str, np.ndarray]:
    return EMBEDDER.fingerprint, EMBEDDER.embed([cube.text for cube in cubes]).astype(np.float16)


def exactly(cubes: list[Cube]) -> list[str]:
    """Return everything of cubes as text, so that 1 and true differ."""
    return [f"{cube.row} {cube.seq} {canonical(cube_to_json(cube))}" for cube in cubes]


def steward_of(cube: Cube) -> View:
    """Return a view that may do anything with a cube but change it while it is frozen."""
    access = Access.steward(cube.owner.tenant, cube.updated)
    return View(access.scope, (cube.space,), EVERY, access)


def moved_to(state: Any) -> Callable[[Cube], Cube]:
    return lambda old: replace(old, header=replace(old.header, life=replace(old.header.life, state=state)))


def unbound(header: Header) -> Header:
    """Return a header without what is bound by the cubes that something was made of, and by their changes."""
    return replace(header, rights=Rights(), life=replace(header.life, expires=None, stale=False))


def begin_to_erase(store: Store, cube: Cube) -> None:
    """Erase a cube in a transaction that fails."""
    with store.engine.transaction() as tx:
        tx.erase([cube])
        tx.set_setting("policy", "gone")
        raise RuntimeError


class Walk(RuleBasedStateMachine):
    """The same random calls on every engine, and a full copy of the world after each of them."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.sqlite = Store(SqliteEngine(Path(self.folder) / "m.db", durability="normal"))
        self.memory = Store(MemoryEngine())
        self.clock = FixedClock("2024-05-01T12:00")
        self.ids: list[str] = []
        self.worlds: dict[int, tuple[int, dict[int, Cube]]] = {0: (0, {})}  # after an entry: its time, every cube
        self.bring_blobs()

    def bring_blobs(self) -> None:
        """Put the bytes that payloads may name; what nobody names any more goes with the last cube that named it."""
        for store in self.both():
            for data in BLOBS:
                store.engine.blobs.put(data)

    def teardown(self) -> None:
        if hasattr(self, "sqlite"):
            assert self.sqlite.check() == []
            assert self.memory.check() == []
            self.frozen_ones_never_changed()
            self.sqlite.engine.close()
            shutil.rmtree(self.folder)

    def both(self) -> tuple[Store, Store]:
        return self.sqlite, self.memory

    def everything(self) -> list[Cube]:
        rows = range(1, self.memory.engine.head().seq + 1)
        return list(self.memory.engine.by_rows(rows).values())

    def one_of(self, data: st.DataObject) -> Cube | None:
        everything = self.everything()
        first = everything[:2]  # which more is made of than of others
        return data.draw(st.sampled_from([*first, *first, *everything])) if everything else None

    def alike(self, ask: Callable[[Engine], object]) -> object:
        a, b = (ask(store.engine) for store in self.both())
        assert a == b
        return a

    def do(self, step: Callable[[Store], list[Cube]]) -> list[Cube]:
        """Take the same step on both, which both refuse in the same words or do alike; refused ones leave no trace."""
        self.bring_blobs()
        answers: list[object] = []
        cubes: list[Cube] = []
        before = self.memory.engine.head()
        for store in self.both():
            try:
                cubes = step(store)
                answers.append(exactly(cubes))
            except REFUSED as error:
                cubes = []
                answers.append((type(error), str(error)))
                assert store.engine.head() == before
        assert answers[0] == answers[1]
        return cubes

    # --- steps

    @rule(
        made=st.lists(drafts, min_size=1, max_size=4),
        owner=callers,
        space=st.sampled_from(BOTH),
        source=st.none() | st.sampled_from(SOURCES),
        retire=st.sampled_from([None, None, None, "t1"]),
        seconds=st.sampled_from([0, 1, 5, -5]),
        is_embedded=st.booleans(),
        access=st.none() | accesses,
        data=st.data(),
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
        access: Access | None,
        data: st.DataObject,
    ) -> None:
        self.clock.advance(seconds)
        owner = owner if access is None else access.scope
        mark = None if source is None else SourceMark(source, source.encode().hex(), len(made))
        made = [self.derived(draft, data) for draft in made]

        def step(store: Store) -> list[Cube]:
            placed = store.put(made, owner=owner, space=space, now=self.clock.now(), source=mark, retire=retire,
                               embed=embed if is_embedded else None, access=access)  # fmt: skip
            assert all(p.cube.seq == p.cube.row for p in placed if p.cube.version == 1)
            return [p.cube for p in placed]

        for cube in self.do(step):
            self.ids.append(cube.id)
            assert replace(owner, session=None).sees(cube.owner)

    def derived(self, draft: Draft, data: st.DataObject) -> Draft:
        """Return a draft that may name a cube that is there as what it was made of."""
        relation = data.draw(st.sampled_from([None, "derived", "merged", "supersedes", "copied"]))
        if relation is None or not self.ids:
            return draft
        parent = Parent(data.draw(st.sampled_from([*self.ids[:2], *self.ids])), 1, relation)
        return replace(draft, header=replace(draft.header, lineage=Lineage((parent,))))

    @rule(
        data=st.data(),
        payload=payloads,
        header=headers,
        view=views,
        is_fitting=st.sampled_from([True, True, False]),
        is_kept=st.booleans(),
        action=st.sampled_from(["write", "write", *ACTIONS]),
        expected=st.sampled_from([None, None, None, 1, 2]),
        is_embedded=st.booleans(),
    )
    def update(
        self,
        data: st.DataObject,
        payload: Payload,
        header: Header,
        view: View,
        is_fitting: bool,
        is_kept: bool,
        action: Action,
        expected: int | None,
        is_embedded: bool,
    ) -> None:
        cube = self.one_of(data)
        if cube is None:
            return
        view = steward_of(cube) if is_fitting else view

        def change(old: Cube) -> Cube:
            return replace(old, payload=payload, header=old.header if is_kept else header)

        def step(store: Store) -> list[Cube]:
            return [store.update(cube.id, change, view=view, actor=view.scope, now=self.clock.now(), action=action,
                                 detail={"why": "walk"}, expected=expected,
                                 embed=embed if is_embedded else None)]  # fmt: skip

        before = {c.row: c for c in self.everything()}
        if self.do(step) and cube.payload != payload:
            self.what_was_made_of_it_is_stale(cube, before)

    def what_was_made_of_it_is_stale(self, source: Cube, before: dict[int, Cube]) -> None:
        """Follow lineage the slow way, over every cube, until nothing is added."""
        made = {source.id}
        while grown := {
            c.id for c in before.values() if c.id not in made and c.owner.tenant == source.owner.tenant
            and any(p.id in made and p.relation in ("derived", "merged", "converted") for p in c.header.lineage.parents)
        }:  # fmt: skip
            made |= grown
        for cube in self.everything():
            if cube.id == source.id:
                continue
            old = before[cube.row]
            is_spoilt = cube.id in made and old.header.life.state not in ("frozen", "expired")
            assert cube.header.life.stale == (old.header.life.stale or is_spoilt)
            assert cube.payload == old.payload

    @rule(data=st.data(), states=st.lists(st.sampled_from(MOVES), min_size=1, max_size=3), is_broken=st.booleans())
    def move(self, data: st.DataObject, states: list[Any], is_broken: bool) -> None:
        """Move several cubes through their lives at once; a frozen one is thawed by who may freeze."""
        cube = self.one_of(data)
        if cube is None:
            return
        others = [c for c in self.everything() if c.owner.tenant == cube.owner.tenant and c.space == cube.space]
        chosen = [data.draw(st.sampled_from(others)) for _ in states]
        detail = {"why": "walk"}
        changes = [(c.id, moved_to(state), "state", detail) for c, state in zip(chosen, states, strict=True)]
        changes += [("0" * 32, lambda old: old, "state", {})] if is_broken else []
        view = steward_of(cube)
        for action in ("write", "freeze"):
            self.do(lambda store, action=action: store.change(
                changes, view=view, actor=view.scope, now=self.clock.now(), action=action))  # fmt: skip

    @rule(data=st.data(), version=st.integers(1, 3), caller=callers, is_fitting=st.sampled_from([True, True, False]))
    def roll_back(self, data: st.DataObject, version: int, caller: Scope, is_fitting: bool) -> None:
        """Let a cube say again what it said, and then what it said before that."""
        cube = self.one_of(data)
        if cube is None:
            return
        view = steward_of(cube) if is_fitting else View(caller, (cube.space,))
        wanted = {c.version: c for c in (*self.memory.engine.versions(cube.id), cube)}.get(version)
        now = self.clock.now()
        back = self.do(lambda s: [rollback(s, cube.id, version, view=view, actor=view.scope, now=now)])
        if not back:
            return
        assert wanted is not None
        assert back[0].payload == wanted.payload
        assert unbound(back[0].header) == unbound(wanted.header)
        again = self.do(lambda s: [rollback(s, cube.id, cube.version, view=view, actor=view.scope, now=now)])
        if again:
            assert again[0].payload == cube.payload
            assert unbound(again[0].header) == unbound(cube.header)

    @rule(data=st.data(), view=views, is_fitting=st.booleans())
    def remove(self, data: st.DataObject, view: View, is_fitting: bool) -> None:
        ids = data.draw(st.lists(st.sampled_from(self.ids or ["0" * 32]), max_size=3))
        owned = [cube for cube in self.everything() if cube.id in ids]
        if owned and is_fitting:
            view = steward_of(owned[0])
        admitted = {cube.id for cube in owned if view.admits(cube)}
        is_forbidden = any(not view.allows(cube, "write").allowed for cube in owned if cube.id in admitted)
        gone = self.do(lambda store: store.remove(ids, view=view, actor=view.scope, now=self.clock.now(),
                                                  detail={"why": "walk"}))  # fmt: skip
        assert {cube.id for cube in gone} == (set() if is_forbidden else admitted)

    @rule(value=st.sampled_from(["{}", '{"closed":true}']), actor=callers, seconds=st.sampled_from([0, 3]))
    def govern(self, value: str, actor: Scope, seconds: float) -> None:
        self.clock.advance(seconds)
        for store in self.both():
            store.rule("policy", value, actor=actor, now=self.clock.now(), detail={"tenant": actor.tenant})
        self.alike(lambda e: e.setting("policy"))

    @rule(made=st.lists(drafts, min_size=1, max_size=2), data=st.data())
    def fail(self, made: list[Draft], data: st.DataObject) -> None:
        def refuse(cubes: object) -> None:
            raise RuntimeError

        cube = self.one_of(data)
        for store in self.both():
            head = store.engine.head()
            try:
                store.put(made, owner=Scope(), space="main", now=self.clock.now(), embed=refuse, retire="t1")
            except RuntimeError:
                assert store.engine.head() == head
            if cube is not None:
                with pytest.raises(RuntimeError):
                    begin_to_erase(store, cube)

    # --- questions

    @rule(view=views, newest_first=st.booleans(), limit=st.integers(1, 4), is_fitting=st.booleans(), data=st.data())
    def ask(self, view: View, newest_first: bool, limit: int, is_fitting: bool, data: st.DataObject) -> None:
        """Ask now or as of the end of an earlier step, about which the copies of the world know."""
        cube = self.one_of(data)
        if cube is not None and is_fitting:
            view = View(cube.owner, BOTH, view.where, None, None, view.moment)
        view = replace(view, at=data.draw(st.none() | st.sampled_from(sorted(self.worlds))))
        now = {cube.row: cube for cube in self.everything()}
        then = now if view.at is None else self.worlds[view.at][1]
        today = {row: None if view.at is None else now[row] for row in then if row in now}
        admitted = {row: then[row] for row in today if view.admits(then[row], today[row])}
        every = {c.space for row in today
                 if replace(view, spaces=((c := then[row]).space,)).admits(c, today[row])}  # fmt: skip
        whole = sorted(admitted.values(), key=lambda c: (micros(c.time), c.row), reverse=newest_first)
        after = data.draw(st.none() | st.sampled_from([(micros(c.time), c.row) for c in now.values()] or [None]))
        page = [c for c in whole if after is None or self.follows(c, after, newest_first)][:limit]
        prefix = data.draw(st.sampled_from([id[:2] for id in self.ids] or ["0"]))
        word = data.draw(st.sampled_from(["bees", "A", " ", "蜜", "zzz"]))
        holding = [c for c in (whole if newest_first else whole[::-1]) if word in c.text][:limit]
        named = sorted((c for c in whole if c.id.startswith(prefix)), key=lambda c: c.id)[:limit]
        for store in self.both():
            engine = store.engine
            assert engine.rows(view).tolist() == sorted(admitted)
            assert engine.count(view) == len(admitted)
            found = engine.find(view, newest_first=newest_first, limit=limit, after=after)
            assert exactly(found) == exactly(page)
            assert exactly(engine.containing(word, view, limit)) == exactly(holding)
            assert exactly(engine.matching(prefix, view, limit)) == exactly(named)
            assert engine.spaces(view) == sorted(every)
            for row, c in now.items():
                assert engine.get(c.id, view) == admitted.get(row)

    @staticmethod
    def follows(cube: Cube, after: tuple[int, int], newest_first: bool) -> bool:
        key = micros(cube.time), cube.row
        return key < after if newest_first else key > after

    @rule(seconds=st.integers(-20, 20), data=st.data())
    def go_back(self, seconds: int, data: st.DataObject) -> None:
        """Read rows as they were after any entry, and find the entry of a moment."""
        now = {cube.row: cube for cube in self.everything()}
        seq = data.draw(st.sampled_from(sorted(self.worlds)))
        world = {row: cube for row, cube in self.worlds[seq][1].items() if row in now}
        between = data.draw(st.integers(0, self.memory.engine.head().seq + 1))
        rows = [*range(self.memory.engine.head().seq + 2)]
        for store in self.both():
            assert store.engine.by_rows(rows, seq) == world
        self.alike(lambda e: e.by_rows(rows, between))
        moment = self.clock.now().timestamp() + seconds
        at = FixedClock(moment).now()
        last = max((e.seq for e in self.memory.journal() if e.time <= at), default=0)
        assert self.alike(lambda e: e.seq_at(at)) == last

    @rule(caller=callers, source=st.sampled_from(SOURCES), space=st.sampled_from(BOTH), moment=st.none() | moments)
    def look_around(self, caller: Scope, source: str, space: str, moment: Any) -> None:
        self.alike(lambda e: e.spaces(View(caller, moment=moment)))
        self.alike(lambda e: e.source(space, caller, source))
        self.alike(lambda e: e.source_of(space, caller, source.encode().hex()))

    @invariant()
    def vectors_are_equal(self) -> None:
        if not hasattr(self, "sqlite"):
            return
        self.alike(lambda e: e.fingerprints())
        self.alike(lambda e: exactly(e.missing_vectors(EMBEDDER.fingerprint, 99)))
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
                answers.append([(v.op, v.time, v.actor, exactly([v.cube]) if v.cube else None)
                                for v in store.history(id, view)])  # fmt: skip
            except NotFound:
                answers.append(None)
        assert answers[0] == answers[1]
        rows = [cube.row for cube in self.everything()]
        self.alike(lambda e: exactly(e.versions(id)))
        self.alike(lambda e: e.events_of(id))
        self.alike(lambda e: exactly(e.past(rows)))
        children = [c for c in self.everything() if any(p.id == id for p in c.header.lineage.parents)]
        for store in self.both():
            assert exactly(store.engine.children([id])) == exactly(children)

    # --- what always holds

    @invariant()
    def keep_a_copy(self) -> None:
        if hasattr(self, "sqlite"):
            head = self.memory.engine.head()
            self.worlds[head.seq] = head.time, {cube.row: cube for cube in self.everything()}

    @invariant()
    def walls_hold(self) -> None:
        """Look through wide views, now and as of the latest steps: walls alone, and what the memory itself sees."""
        if not hasattr(self, "sqlite"):
            return
        now = {cube.row: cube for cube in self.everything()}
        moment = self.clock.now()
        times: list[int | None] = [None, *sorted(self.worlds)[-3:]]
        for tenant, at in itertools.product((None, "t"), times):
            steward = Access.steward(tenant, moment)
            then = now if at is None else self.worlds[at][1]
            for view in (
                View(Scope(tenant), BOTH, EVERY, steward, at),
                View(Scope(tenant), BOTH, Where(), steward, at, moment),
                View(Scope(tenant, "ann"), BOTH, Where(valid_at=moment), None, at),
            ):
                admitted = [row for row, cube in then.items()
                            if row in now and view.admits(cube, None if at is None else now[row])]  # fmt: skip
                for store in self.both():
                    assert store.engine.rows(view).tolist() == sorted(admitted)

    @invariant()
    def journals_are_equal(self) -> None:
        if hasattr(self, "sqlite"):
            self.alike(lambda e: e.head())
            self.alike(lambda e: e.journal(max(0, e.head().seq - 5), 10))
            self.alike(lambda e: e.changes(max(0, e.head().seq - 5), 10))

    def frozen_ones_never_changed(self) -> None:
        """See that whatever follows on a frozen version says the same: it is thawed, or has other rights."""
        for cube in self.everything():
            kept = [*self.memory.engine.versions(cube.id), cube]
            for old, new in itertools.pairwise(kept):
                if old.header.life.state == "frozen":
                    assert new.payload == old.payload
                    life = replace(new.header.life, state="frozen", thaws_to=old.header.life.thaws_to)
                    if new.header.life.state != "frozen":  # what it was made of may have ended sooner meanwhile
                        life = replace(life, expires=old.header.life.expires)
                    assert replace(new.header, rights=old.header.rights, life=life) == old.header


HEALTH = list(HealthCheck)
Walk.TestCase.settings = settings(max_examples=8, stateful_step_count=20, deadline=None, suppress_health_check=HEALTH)
TestWalk = Walk.TestCase


@pytest.mark.slow
class TestTenThousandSteps(Walk.TestCase):  # type: ignore[misc]  # made by Hypothesis
    settings = settings(max_examples=100, stateful_step_count=100, deadline=None, suppress_health_check=HEALTH)
