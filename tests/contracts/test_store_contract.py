"""What every place where cubes rest must do, and that all of them answer alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from worlds import SCALARS, SOURCES

from pinyon.core.clock import micros
from pinyon.core.cube import Cube, Draft
from pinyon.core.header import Header, Life, Provenance
from pinyon.core.payload import Delta, Kind, State, Text
from pinyon.core.scope import Scope
from pinyon.core.where import EVERY_STATE, Condition, View, Where
from pinyon.errors import BadInput, Conflict, NotFound
from pinyon.store import Engine, MemoryEngine, SourceMark, Store, VectorRows
from pinyon.store.base import Placed
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


def test_what_is_made_of_something_that_changed_meanwhile_is_not_written(store: Store) -> None:
    one, two = put(store, "one", "two")
    draft = Draft(State((), {"of": "both"}, details={"form": "full"}))

    def write() -> list[Placed]:
        return store.put([draft], owner=NOBODY, space="main", now=NOW, sources=[one, two])

    store.update(two.id, lambda old: replace(old, payload=Text("three")), view=View(), actor=NOBODY, now=NOW)
    with pytest.raises(Conflict, match=two.id):
        write()
    store.remove([one.id], view=View(), actor=NOBODY, now=NOW)
    with pytest.raises(Conflict, match=one.id):
        write()
    assert found(store, View()) == ["three"]


def test_a_blob_is_looked_at_without_being_changed(store: Store) -> None:
    blob = store.engine.blobs.put(b"tensors")
    assert bytes(store.engine.blobs.view(blob)) == b"tensors"
