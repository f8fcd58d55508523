from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinyon.core.access import Access, Policy, SpaceRights
from pinyon.core.cube import Cube, Draft
from pinyon.core.header import Header, Life, Lineage, Parent, Provenance, Rights
from pinyon.core.payload import State, Text
from pinyon.core.scope import Scope
from pinyon.core.where import EVERY_STATE, View, Where
from pinyon.errors import BadInput
from pinyon.govern import (
    ForgetPlan,
    Retention,
    Rule,
    Subject,
    carry_out,
    closure,
    plan_forgetting,
    receipt_to_json,
    subject_cubes,
    verify,
)
from pinyon.store import MemoryEngine, SourceMark, SqliteEngine, Store, VectorRows
from pinyon.store.side import Usage
from pinyon.testing import FixedClock

ANN, BOB = Scope(user="ann"), Scope(user="bob")
NOW = FixedClock().now()


class World:
    """A store and short words for what tests do."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.store = Store(engine)

    def add(self, text: str, *parents: Cube, owner: Scope = ANN, space: str = "main", **header: Any) -> Cube:
        relation = header.pop("relation", "derived")
        lineage = Lineage(tuple(Parent(p.id, p.version, relation) for p in parents))
        draft = Draft(Text(text), Header(lineage=lineage, **header))
        (placed,) = self.store.put([draft], owner=owner, space=space, now=NOW)
        return placed.cube

    def state(self, data: bytes, *parents: Cube, key: str = "", owner: Scope = ANN) -> Cube:
        blob = self.engine.blobs.put(data)
        lineage = Lineage(tuple(Parent(p.id, p.version, "converted") for p in parents))
        draft = Draft(State((blob,), {"model": "m"}), Header(lineage=lineage), key=key)
        (placed,) = self.store.put([draft], owner=owner, space="main", now=NOW)
        return placed.cube

    def view(self, scope: Scope = ANN, policy: Policy | None = None) -> View:
        access = Access.of(scope, policy or Policy(), moment=NOW)
        return View(scope, ("main",), Where(states=EVERY_STATE), access, None, NOW)

    def change(self, cube: Cube, **header: Any) -> Cube:
        def change(old: Cube) -> Cube:
            return replace(old, header=replace(old.header, **header))

        view = self.view(cube.owner)
        return self.store.update(cube.id, change, view=view, actor=cube.owner, now=NOW, action="share")

    def freeze(self, cube: Cube) -> Cube:
        return self.change(cube, life=Life(state="frozen", thaws_to="generated"))

    def forget(self, plan: ForgetPlan) -> Any:
        return carry_out(self.store, plan, actor=plan.view.scope, now=NOW)

    def there(self, *cubes: Cube) -> list[bool]:
        found = self.engine.by_rows([cube.row for cube in cubes])
        return [cube.row in found for cube in cubes]

    def standing(self, cube: Cube) -> str:
        return self.engine.by_rows([cube.row])[cube.row].header.life.standing


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    engine: Any = MemoryEngine() if request.param == "memory" else SqliteEngine(tmp_path / "memory.db")
    yield World(engine)
    engine.close()


def ids(cubes: Any) -> set[str]:
    return {each.id for each in cubes}


# --- the closure ----------------------------------------------------------------------------------------------------


@given(st.lists(st.sets(st.integers(0, 11), max_size=3), min_size=1, max_size=12), st.sets(st.integers(0, 11)))
def test_the_closure_is_what_a_walk_over_all_parents_finds(edges: list[set[int]], roots: set[int]) -> None:
    world = World(MemoryEngine())
    cubes = [world.add(f"text {n}") for n in range(len(edges))]
    for n, parents in enumerate(edges):  # cycles and self-loops too
        named = tuple(Parent(cubes[p].id, 1) for p in sorted(parents) if p < len(cubes))
        cubes[n] = world.change(cubes[n], lineage=Lineage(named))
    begun = {cubes[n].id for n in roots if n < len(cubes)}
    reached = set(begun)
    for _ in cubes:
        reached |= {c.id for c in cubes if any(p.id in reached for p in c.header.lineage.parents)}
    found = closure(world.engine, begun)
    assert ids(found.derived) == reached - begun
    assert len(found.derived) == len(ids(found.derived))
    for cube in found.derived:
        assert set(found.parents[cube.id]) == {p.id for p in cube.header.lineage.parents} & reached


def test_what_replaces_a_cube_holds_nothing_of_it(world: World) -> None:
    old = world.add("Ann lives in Ulm.")
    new = world.add("Ann lives in Bonn.", old, relation="supersedes")
    summary = world.add("Ann's home.", old)
    world.forget(plan_forgetting(world.store, world.view(), ids=[old.id]))
    assert world.there(old, new, summary) == [False, True, False]


# --- the plan -------------------------------------------------------------------------------------------------------


def test_a_plan_lists_the_closure_and_does_nothing(world: World) -> None:
    one, two = world.add("bees"), world.add("mill")
    both = world.add("both", one, two)
    deeper = world.add("deeper", both)
    cache = world.state(b"kv", deeper)
    seq = world.engine.head().seq
    plan = plan_forgetting(world.store, world.view(), ids=[one.id, "f" * 32])
    assert [each.id for each in plan.targets] == [one.id]
    assert [each.id for each in plan.derived] == [both.id, deeper.id, cache.id]
    assert plan.shared_parents == {both.id: (two.id,)}
    assert world.engine.head().seq == seq
    receipt = world.forget(plan)
    assert world.there(one, two, both, deeper, cache) == [False, True, False, False, False]
    assert [(each.id, each.asked) for each in receipt.erased] == [
        (cache.id, False), (deeper.id, False), (both.id, False), (one.id, True),
    ]  # fmt: skip
    assert receipt.is_complete
    assert world.store.check() == []


def test_what_has_other_sources_is_marked_stale_where_that_is_asked(world: World) -> None:
    one, two = world.add("bees"), world.add("mill")
    alone, both = world.add("alone", one), world.add("both", one, two)
    deeper, cache = world.add("deeper", both), world.state(b"kv", both)
    plan = plan_forgetting(world.store, world.view(), ids=[one.id], derived="stale")
    assert (ids(plan.derived), ids(plan.stale)) == ({alone.id, cache.id}, {both.id, deeper.id})
    receipt = world.forget(plan)
    assert world.there(one, alone, cache, both, deeper) == [False, False, False, True, True]
    assert [world.standing(c) for c in (both, deeper)] == ["stale", "stale"]
    assert {(each.id, each.reason) for each in receipt.retained} == {(both.id, "stale"), (deeper.id, "stale")}
    with pytest.raises(BadInput, match="perhaps"):
        plan_forgetting(world.store, world.view(), ids=[one.id], derived="perhaps")  # type: ignore[arg-type]


def test_what_is_frozen_or_held_stays_and_is_named(world: World) -> None:
    court, invoice, plain = world.add("court"), world.add("invoice", tags=("tax",)), world.add("plain")
    made = world.freeze(world.add("made", plain))
    below = world.add("below", made)
    world.freeze(court)
    retention = Retention(world.store)
    retention.change([Rule("tax law", Where(tags=("tax",)), hold=True)], access=Access.of(ANN), now=NOW)
    plan = plan_forgetting(
        world.store, world.view(), where=Where(kinds=(court.kind,)), holds=lambda cubes: retention.held(cubes, NOW)
    )
    assert {(each.id, each.reason) for each in plan.held} == {
        (court.id, "frozen"), (made.id, "frozen"), (invoice.id, "hold: tax law"),
    }  # fmt: skip
    receipt = world.forget(plan)
    assert world.there(court, invoice, plain, made, below) == [True, True, False, True, False]
    assert set(receipt.retained) == set(plan.held)


def test_what_was_made_by_others_becomes_stale_and_their_caches_go(world: World) -> None:
    mine = world.add("bees", rights=Rights(read=("user:bob", "user:cy")))
    seen = world.add("bob's", mine, owner=BOB, rights=Rights(read=("user:ann",)))
    unseen = world.add("cy's", mine, owner=Scope(user="cy"))
    cache = world.state(b"kv", mine, owner=BOB)
    plan = plan_forgetting(world.store, world.view(), ids=[mine.id])
    assert [(each.id, each.reason) for each in plan.not_allowed] == [(seen.id, "not allowed: default")]
    assert plan.has_unseen
    assert unseen.id not in str(plan)
    receipt = world.forget(plan)
    assert world.there(mine, seen, unseen, cache) == [False, True, True, False]
    assert [world.standing(c) for c in (seen, unseen)] == ["stale", "stale"]
    assert ids(receipt.erased) == {mine.id, cache.id}
    assert ids(receipt.retained) == {seen.id}
    assert not receipt.is_complete


def test_what_one_may_not_change_is_not_forgotten(world: World) -> None:
    theirs = world.add("bob's", owner=BOB, rights=Rights(read=("user:ann",)))
    hidden = world.add("secret", owner=BOB)
    plan = plan_forgetting(world.store, world.view(), ids=[theirs.id, hidden.id])
    assert (plan.targets, ids(plan.not_allowed)) == ((), {theirs.id})
    receipt = world.forget(plan)
    assert world.there(theirs, hidden) == [True, True]
    assert (receipt.erased, ids(receipt.retained)) == ((), {theirs.id})


def test_a_filter_forgets_every_state_and_never_everything(world: World) -> None:
    old = world.add("bees", tags=("a",), life=Life(state="archived"))
    expired = world.add("mill", tags=("a",), life=Life(state="expired"))
    other = world.add("river")
    world.forget(plan_forgetting(world.store, world.view(), where=Where(tags=("a",))))
    assert world.there(old, expired, other) == [False, False, True]
    with pytest.raises(BadInput, match="everything"):
        plan_forgetting(world.store, world.view(), where=Where())
    with pytest.raises(BadInput, match="nothing says"):
        plan_forgetting(world.store, world.view())


# --- a person -------------------------------------------------------------------------------------------------------


def test_everything_about_a_person_is_found_in_every_space_and_version(world: World) -> None:
    admin = Scope(user="root")
    reach = SpaceRights(Rights(read=("user:root",), write=("user:root",)), reach=("user:root",))
    policy = Policy(spaces=(("main", reach), ("work", reach)))
    owned = world.add("bees", space="work")
    spoken = world.add("hello", owner=Scope(), provenance=Provenance(speaker="ANN"))
    tagged = world.add("note", owner=BOB, tags=("subject:Ann",))
    listed = world.add("list", owner=BOB, metadata={"subject": ["cy", "ann"]}, space="work")
    named = world.add("I met Ann, at the mill.", owner=BOB)
    titled = world.add("A page.", owner=BOB, provenance=Provenance(title="Letters to Ann"))
    before = world.add("Ann was here.", owner=BOB)
    other = [
        world.add("Hannah and Johann plant annuals.", owner=BOB),
        world.add("elsewhere", owner=Scope(tenant="t", user="ann")),
    ]
    world.store.update(
        before.id, lambda old: replace(old, payload=Text("gone")), view=world.view(BOB), actor=BOB, now=NOW
    )
    view = world.view(admin, policy)
    about = subject_cubes(world.engine, view, Subject("ann"))
    assert ids(about.owned) == {owned.id}
    assert ids(about.spoken) == {spoken.id}
    assert ids(about.named) == {tagged.id, listed.id}
    assert ids(about.mentions) == {named.id, titled.id, before.id}
    assert ids(subject_cubes(world.engine, view, Subject("nobody", ("Hannah",))).mentions) == {other[0].id}
    plan = plan_forgetting(world.store, view, subject=Subject("ann"))
    assert ids(plan.mentions) == {named.id, titled.id, before.id}
    world.forget(plan)
    assert world.there(owned, spoken, tagged, listed, named, *other) == [False] * 4 + [True] * 3
    world.forget(plan_forgetting(world.store, view, subject=Subject("ann"), mentions=True))
    assert world.there(named, titled, before, *other) == [False] * 3 + [True] * 2


def test_a_caller_finds_of_a_person_what_it_may_see(world: World) -> None:
    mine, theirs = world.add("bees"), world.add("I met Ann.", owner=BOB)
    plan = plan_forgetting(world.store, world.view(), subject=Subject("ann"), mentions=True)
    assert ids(plan.targets) == {mine.id}
    world.forget(plan)
    assert world.there(mine, theirs) == [False, True]


@pytest.mark.parametrize("name", ["", " ", "a\x00b"])
def test_a_person_has_a_name(name: str) -> None:
    with pytest.raises(BadInput):
        Subject(name)


# --- carrying it out ------------------------------------------------------------------------------------------------


def test_the_receipt_names_every_copy(world: World) -> None:
    source = Provenance(source="letter.txt")
    cube = world.add("bees", provenance=source)
    with world.engine.transaction() as tx:
        tx.mark_source("main", ANN, SourceMark("letter.txt", "0" * 64, 1))
    cube = world.store.update(
        cube.id, lambda old: replace(old, payload=Text("wasps")), view=world.view(), actor=ANN, now=NOW
    )
    shared, kept = world.state(b"shared", cube, key="a"), world.state(b"shared", key="b")
    rows = VectorRows(np.array([cube.row]), np.array([2]), np.ones((1, 4), dtype=np.float16))
    with world.engine.transaction() as tx:
        tx.put_vectors("model-1", rows)
    world.engine.usage.change([cube.row], lambda _: {cube.row: Usage(3, NOW, 1.0)})
    seqs = [event.seq for event in world.engine.events_of(cube.id)]
    receipt = world.forget(plan_forgetting(world.store, world.view(), ids=[cube.id]))
    cache, target = receipt.erased
    (blob,) = shared.payload.blobs  # type: ignore[union-attr]
    assert (cache.id, cache.kind, cache.blobs, cache.blobs_kept) == (shared.id, "state", (), (blob.sha256,))
    assert (target.id, target.versions, dict(target.vectors), target.row) == (cube.id, 2, {"model-1": 1}, cube.row)
    assert (target.usage, target.source, target.asked) == (True, True, True)
    head = world.engine.head()
    assert target.journal == (*seqs, head.seq)
    assert (receipt.seq, receipt.chain) == (head.seq, head.chain)
    event = world.engine.journal(head.seq - 1, 1)[0]
    assert (event.op, dict(event.detail)) == ("forget", {"why": "asked", "receipt": receipt.id})
    assert world.engine.usage.of([cube.row]) == {}
    assert world.engine.source("main", ANN, "letter.txt") is None
    assert world.engine.blobs.get(blob) == b"shared"
    last = world.forget(plan_forgetting(world.store, world.view(), ids=[kept.id]))
    assert last.erased[0].blobs == (blob.sha256,)
    assert verify(receipt, world.engine) == verify(last, world.engine) == []


def test_a_receipt_holds_no_content_and_no_name(world: World) -> None:
    plan = plan_forgetting(world.store, world.view(), ids=[world.add("index").id])
    dropped: list[int] = []
    receipt = carry_out(world.store, plan, actor=ANN, now=NOW, drop_index=lambda: dropped.append(1))
    assert (receipt.index, dropped) == (True, [1])
    world.add("the zebra password", tags=("quokka",), metadata={"k": "wombat"}, provenance=Provenance(source="emu.txt"))
    world.add("seen", provenance=Provenance(speaker="Lorikeet"))
    by_filter = world.forget(plan_forgetting(world.store, world.view(), where=Where(tags=("quokka",))))
    by_name = world.forget(plan_forgetting(world.store, world.view(), subject=Subject("Lorikeet")))
    said = str([receipt_to_json(each) for each in (by_filter, by_name)])
    assert len(by_filter.erased) == len(by_name.erased) == 1
    for word in ("zebra", "quokka", "wombat", "emu", "orikeet"):
        assert word not in said


def test_what_is_frozen_after_the_plan_stays(world: World) -> None:
    one, two = world.add("bees"), world.add("mill")
    plan = plan_forgetting(world.store, world.view(), ids=[one.id, two.id])
    world.freeze(one)
    receipt = world.forget(plan)
    assert world.there(one, two) == [True, False]
    assert [(each.id, each.reason) for each in receipt.retained] == [(one.id, "frozen")]


def test_what_is_made_after_the_plan_goes_too(world: World) -> None:
    one, two = world.add("bees"), world.add("mill")
    plan = plan_forgetting(world.store, world.view(), ids=[one.id])
    late = world.add("late", one, two)
    later = world.add("later", late)
    world.forget(plan)
    assert world.there(one, two, late, later) == [False, True, False, False]


def test_what_others_forgot_meanwhile_is_not_claimed(world: World) -> None:
    one, two = world.add("bees"), world.add("mill")
    plan = plan_forgetting(world.store, world.view(), ids=[one.id, two.id])
    world.store.remove([one.id], view=world.view(), actor=ANN, now=NOW)
    receipt = world.forget(plan)
    assert (ids(receipt.erased), receipt.retained) == ({two.id}, ())


class Killed(Exception):
    """The process ends here."""


def test_a_killed_forgetting_is_completed_by_doing_it_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one = world.add("bees")
    derived = [world.add(f"derived {n}", one) for n in range(3)]
    remove, calls = Store.remove, []

    def killed(self: Store, *given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return remove(self, *given, **named)

    monkeypatch.setattr(Store, "remove", killed)
    with pytest.raises(Killed):
        world.forget(plan_forgetting(world.store, world.view(), ids=[one.id]))
    assert world.there(one, *derived) == [True, False, False, False]
    world.forget(plan_forgetting(world.store, world.view(), ids=[one.id]))
    assert world.there(one) == [False]
    assert world.store.check() == []
