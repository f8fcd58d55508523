"""What every place where cubes rest must do, and that all of them answer alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from worlds import SCALARS, SOURCES

from pinyon.core.access import Access, Policy, SpaceRights
from pinyon.core.clock import micros
from pinyon.core.cube import Cube, Draft
from pinyon.core.header import Header, Life, Lineage, Parent, Provenance, Rights
from pinyon.core.payload import Delta, Kind, State, Text
from pinyon.core.scope import Scope
from pinyon.core.where import EVERY_STATE, Condition, View, Where
from pinyon.errors import BadInput, Conflict, Denied, NotFound
from pinyon.store import Engine, MemoryEngine, SourceMark, Store, VectorRows
from pinyon.store.side import Usage
from pinyon.testing import HashEmbedder

NOW = datetime(2024, 5, 1, tzinfo=UTC)
EVERY = Where(states=EVERY_STATE)
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
    assert [v.op for v in history] == ["create", "overwrite"]
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
    assert [v.op for v in store.history(cube.id, View())] == ["create", "state", "restore"]


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


def test_engines_share_no_state() -> None:
    engines: list[Engine] = [MemoryEngine(), MemoryEngine()]
    put(Store(engines[0]), "one")
    assert engines[1].count(View()) == 0


def test_a_life_in_another_time_zone_is_the_same_moment(store: Store) -> None:
    moment = datetime.fromisoformat("2024-05-01T02:00:00+02:00")
    put(store, "x", life=Life(valid_from=moment))
    put(store, "x", life=Life(valid_from=moment.astimezone(UTC)))
    assert store.engine.head().seq == 1


# --- rights, versions and lineage ------------------------------------------------------------------------------------


def made_of(*parents: Cube, relation: str = "derived") -> Header:
    return Header(lineage=Lineage(tuple(Parent(c.id, c.version, relation) for c in parents)))  # type: ignore[arg-type]


def rewrite(store: Store, id: str, text: str, **how: object) -> Cube:
    return store.update(
        id, lambda c: replace(c, payload=Text(text)), view=View(where=EVERY), actor=NOBODY, now=NOW, **how
    )  # type: ignore[arg-type]


def live(store: Store, cube: Cube) -> Cube:
    return store.engine.by_rows([cube.row])[cube.row]


def lived(**life: object) -> Callable[[Cube], Cube]:
    return lambda c: replace(c, header=replace(c.header, life=replace(c.header.life, **life)))  # type: ignore[arg-type]


def derive(store: Store, text: str, header: Header, owner: Scope = NOBODY) -> Cube:
    (placed,) = store.put([Draft(Text(text), header)], owner=owner, space="main", now=NOW)
    return placed.cube


def test_a_changed_text_makes_stale_what_was_made_of_it_at_any_remove(store: Store) -> None:
    (source,) = put(store, "source")
    summary = derive(store, "summary", made_of(source))
    outline = derive(store, "outline", made_of(summary, relation="converted"))
    rewrite(store, source.id, "another")
    assert found(store, View()) == ["another"]
    assert sorted(found(store, View(where=Where(states=("stale",))))) == ["outline", "summary"]
    last = store.engine.events_of(outline.id)[-1]
    assert (last.op, last.detail) == ("state", {"why": "stale", "source": source.id})


def test_a_changed_header_makes_nothing_stale(store: Store) -> None:
    (source,) = put(store, "source")
    summary = derive(store, "summary", made_of(source))
    store.update(source.id, lived(pinned=True), view=View(), actor=NOBODY, now=NOW)
    assert live(store, summary).version == 1


def test_what_superseded_a_cube_was_not_made_of_it(store: Store) -> None:
    (source,) = put(store, "source")
    newer = derive(store, "newer", made_of(source, relation="supersedes"))
    rewrite(store, source.id, "another")
    assert not live(store, newer).header.life.stale


@pytest.mark.parametrize("state", ["frozen", "expired"])
def test_what_is_kept_as_it_is_never_becomes_stale_and_hides_nothing_behind_it(store: Store, state: str) -> None:
    (source,) = put(store, "source")
    summary = derive(store, "summary", replace(made_of(source), life=Life(state=state)))  # type: ignore[arg-type]
    outline = derive(store, "outline", made_of(summary))
    rewrite(store, source.id, "another")
    assert live(store, summary) == summary
    assert live(store, outline).header.life.stale


def test_nothing_of_another_tenant_becomes_stale(store: Store) -> None:
    (source,) = put(store, "source")
    foreign = derive(store, "foreign", made_of(source), owner=Scope(tenant="t"))
    rewrite(store, source.id, "another")
    assert live(store, foreign) == foreign


def test_a_circle_of_parents_ends(store: Store) -> None:
    (first,) = put(store, "first")
    second = derive(store, "second", made_of(first))
    store.update(first.id, lambda c: replace(c, header=made_of(second)), view=View(), actor=NOBODY, now=NOW)
    rewrite(store, first.id, "changed")
    assert live(store, second).header.life.stale
    assert not live(store, first).header.life.stale


def test_what_is_made_again_is_stale_no_more_until_its_source_changes_again(store: Store) -> None:
    (source,) = put(store, "source")
    summary = derive(store, "summary", made_of(source))
    rewrite(store, source.id, "another")
    assert not rewrite(store, summary.id, "summary of another").header.life.stale
    rewrite(store, source.id, "a third")
    assert live(store, summary).header.life.stale


def test_a_caller_may_say_itself_that_something_is_stale(store: Store) -> None:
    (cube,) = put(store, "summary")

    def change(old: Cube) -> Cube:
        return replace(lived(stale=True)(old), payload=Text("half a summary"))

    assert store.update(cube.id, change, view=View(), actor=NOBODY, now=NOW).header.life.stale


def test_saying_the_same_of_a_stale_cube_makes_it_fresh(store: Store) -> None:
    (source,) = put(store, "source")
    summary = derive(store, "summary", made_of(source))
    rewrite(store, source.id, "another")
    assert derive(store, "summary", made_of(source)).id == summary.id
    assert found(store, View()) == ["another", "summary"]


def test_an_update_of_a_version_that_is_gone_is_a_conflict(store: Store) -> None:
    (cube,) = put(store, "one")
    rewrite(store, cube.id, "two", expected=1)
    with pytest.raises(Conflict, match="has version 2, expected 1"):
        rewrite(store, cube.id, "three", expected=1)
    assert found(store, View()) == ["two"]


def test_a_frozen_cube_is_thawed_before_it_is_changed(store: Store) -> None:
    (cube,) = put(store, "one", life=Life(state="frozen"))
    with pytest.raises(Denied, match="'frozen'"):
        rewrite(store, cube.id, "two")
    store.update(cube.id, lived(state="activated"), view=View(), actor=NOBODY, now=NOW, op="state", action="freeze")
    assert rewrite(store, cube.id, "two").version == 3


def test_a_refusal_names_the_rule(store: Store) -> None:
    (cube,) = put(store, "one")
    access = Access.of(ANN, Policy(spaces=(("main", SpaceRights(Rights(read=("*",)))),)))
    with pytest.raises(Denied, match="'default'"):
        store.update(cube.id, lambda c: c, view=View(ANN, access=access), actor=ANN, now=NOW)


def test_the_journal_keeps_why_something_was_changed(store: Store) -> None:
    (cube,) = put(store, "one")
    rewrite(store, cube.id, "two", op="merge", detail={"with": "three"})
    assert [(e.op, e.detail) for e in store.journal()][1:] == [("merge", {"with": "three"})]


def test_nothing_goes_when_one_of_them_may_not(store: Store) -> None:
    free, held = *put(store, "free"), *put(store, "held", life=Life(state="frozen"))
    with pytest.raises(Denied, match=held.id):
        store.remove([free.id, held.id], view=View(), actor=NOBODY, now=NOW)
    assert found(store, View()) == ["free", "held"]


def test_the_journal_keeps_why_something_was_forgotten(store: Store) -> None:
    (cube,) = put(store, "one")
    store.remove([cube.id], view=View(), actor=NOBODY, now=NOW, detail={"receipt": "r1"})
    assert [e.detail for e in store.journal()][-1] == {"receipt": "r1"}


def test_several_changes_are_made_together_or_not_at_all(store: Store) -> None:
    one, two = put(store, "one", "two")
    steps = [(c.id, lived(state="archived"), "state", {"why": "idle"}) for c in (one, two)]
    with pytest.raises(NotFound):
        store.change([*steps, ("0" * 32, lived(), "state", {})], view=View(), actor=NOBODY, now=NOW)  # type: ignore[list-item]
    assert store.engine.head().seq == 2
    changed = store.change(steps, view=View(), actor=NOBODY, now=NOW)  # type: ignore[arg-type]
    assert [(c.version, c.header.life.state, c.seq) for c in changed] == [(2, "archived", 3), (2, "archived", 4)]
    assert store.check() == []


def test_a_cube_may_be_changed_twice_in_one_go(store: Store) -> None:
    (cube,) = put(store, "one")
    steps = [(cube.id, lived(state=state), "state", {}) for state in ("activated", "archived")]
    changed = store.change(steps, view=View(), actor=NOBODY, now=NOW)  # type: ignore[arg-type]
    assert [c.version for c in changed] == [2, 3]
    assert store.check() == []


def test_a_source_and_its_summary_changed_together_leave_neither_stale(store: Store) -> None:
    (source,) = put(store, "source")
    summary = derive(store, "summary", made_of(source))
    outline = derive(store, "outline", made_of(summary))

    def say(text: str) -> Callable[[Cube], Cube]:
        return lambda c: replace(c, payload=Text(text))

    steps = [(source.id, say("a"), "overwrite", {}), (summary.id, say("b"), "overwrite", {})]
    store.change(steps, view=View(), actor=NOBODY, now=NOW)  # type: ignore[arg-type]
    assert not live(store, summary).header.life.stale
    assert live(store, outline).header.life.stale


def test_a_rule_is_a_setting_and_an_entry_that_concerns_no_cube(store: Store) -> None:
    put(store, "one")
    event = store.rule("policy", "{}", actor=ANN, now=NOW, detail={"tenant": None})
    assert store.engine.setting("policy") == "{}"
    assert (event.op, event.cube, event.row, event.version, event.actor) == ("policy", "", 0, 0, ANN)
    assert list(store.journal())[-1] == event
    assert store.engine.changes(0, 9).rows == (1,)
    assert store.engine.changes(0, 9).entries == 2
    assert store.check() == []


def test_a_rule_that_was_changed_without_an_entry_is_found_by_the_check(store: Store) -> None:
    store.rule("policy", "{}", actor=ANN, now=NOW, detail={})
    store.engine.set_setting("policy", '{"closed":true}')
    assert store.check() == ["the rules under 'policy' are not those that entry 1 of the journal names"]


@pytest.mark.parametrize(
    ("policy", "writer", "rule"),
    [
        (Policy(spaces=(("main", SpaceRights(Rights(write=("*",), deny=("user:ann",)))),)), ANN, "deny"),
        (Policy(spaces=(("main", SpaceRights(Rights(write=("*",), purposes=("audit",)))),)), ANN, "purpose"),
        (Policy(spaces=(("main", SpaceRights(Rights(read=("*",)))),)), ANN, "space"),
        (Policy(is_closed=True), NOBODY, "default"),
    ],
    ids=["deny", "purpose", "space", "default"],
)
def test_writing_into_a_space_that_does_not_admit_it_is_refused(
    store: Store, policy: Policy, writer: Scope, rule: str
) -> None:
    access = Access.of(writer, policy)
    with pytest.raises(Denied, match=f"'{rule}'"):
        store.put([Draft(Text("x"))], owner=writer, space="main", now=NOW, access=access)
    assert store.engine.head().seq == 0


def test_a_closed_policy_lets_one_write_what_is_ones_own(store: Store) -> None:
    access = Access.of(ANN, Policy(is_closed=True))
    store.put([Draft(Text("x"))], owner=ANN, space="main", now=NOW, access=access)
    assert found(store, View(ANN, access=access)) == ["x"]


def test_saying_it_again_never_changes_a_frozen_cube(store: Store) -> None:
    (cube,) = put(store, "one", life=Life(state="frozen"))
    assert put(store, "one", tags=("red",)) == [cube]
    assert store.engine.head().seq == 1


def test_saying_it_again_opens_nothing_that_was_closed(store: Store) -> None:
    put(store, "one", rights=Rights(deny=("user:bob",)))
    (cube,) = put(store, "one", tags=("red",))
    assert cube.header.rights.deny == ("user:bob",)
    assert found(store, View(BOB)) == []


def test_saying_again_what_one_may_not_change_is_refused(store: Store) -> None:
    put(store, "one", rights=Rights(deny=("*",)))
    with pytest.raises(Denied, match="'deny'"):
        store.put([Draft(Text("one"), Header(tags=("red",)))], owner=NOBODY, space="main", now=NOW, access=Access())
    assert store.engine.head().seq == 1


def test_a_vector_goes_along_when_the_words_stay(store: Store) -> None:
    store.put([Draft(Text("bees"))], owner=NOBODY, space="main", now=NOW, embed=embed)
    (cube,) = store.engine.find(View(), newest_first=True, limit=1, after=None)
    store.update(cube.id, lived(state="activated"), view=View(), actor=NOBODY, now=NOW)
    assert store.engine.missing_vectors(EMBEDDER.fingerprint, 9) == []
    assert store.engine.vectors(EMBEDDER.fingerprint, [cube.row]).versions.tolist() == [2]


def test_usage_goes_with_its_cube_and_with_nothing_less(store: Store) -> None:
    (cube,) = put(store, "one")
    store.engine.usage.change([cube.row], lambda _: {cube.row: Usage(3, NOW, 1.0)})
    with pytest.raises(RuntimeError), store.engine.transaction() as tx:
        tx.erase([cube])
        raise RuntimeError
    assert store.engine.usage.of([cube.row])[cube.row].count == 3
    store.remove([cube.id], view=View(), actor=NOBODY, now=NOW)
    assert store.engine.usage.of([cube.row]) == {}


def test_the_history_as_of_a_time_ends_there(store: Store) -> None:
    (cube,) = put(store, "one")
    rewrite(store, cube.id, "two")
    assert [v.op for v in store.history(cube.id, View())] == ["create", "overwrite"]
    assert [v.op for v in store.history(cube.id, View(at=1))] == ["create"]


def test_what_one_may_not_read_today_one_may_not_read_as_it_was(store: Store) -> None:
    (cube,) = put(store, "open")
    store.update(cube.id, lambda c: replace(c, header=Header(rights=Rights(deny=("user:bob",)))), view=View(),
                 actor=NOBODY, now=NOW)  # fmt: skip
    assert found(store, View(BOB, at=1)) == []
    assert found(store, View(ANN, at=1)) == ["open"]
    assert store.engine.spaces(View(BOB, at=1)) == []


def test_spaces_are_those_of_the_whole_store(store: Store) -> None:
    put(store, "one", space="here")
    put(store, "two", space="there", owner=ANN)
    assert store.engine.spaces(View(spaces=("nowhere",))) == ["here"]
    assert store.engine.spaces(View(ANN)) == ["here", "there"]
