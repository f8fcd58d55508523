"""What a change of one cube does to its versions, its rights, and to what was made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from pinyon.core.access import Access, Policy, SpaceRights
from pinyon.core.cube import Cube, Draft
from pinyon.core.header import Header, Life, Lineage, Parent, Rights
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.core.where import EVERY_STATE, View, Where
from pinyon.errors import Conflict, Denied, NotFound
from pinyon.store import Store
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


def begin_to_erase(store: Store, cube: Cube) -> None:
    with store.engine.transaction() as tx:
        tx.erase([cube])
        raise RuntimeError


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


@pytest.mark.parametrize("relation", ["supersedes", "copied"])
def test_what_superseded_or_copied_a_cube_stays_as_it_is(store: Store, relation: str) -> None:
    (source,) = put(store, "source")
    newer = derive(store, "newer", made_of(source, relation=relation))
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
    store.rule("policy", "{}", actor=ANN, now=NOW, detail={"tenant": None})
    assert store.engine.setting("policy") == "{}"
    event = list(store.journal())[-1]
    assert (event.op, event.cube, event.row, event.version, event.actor) == ("policy", "", 0, 0, ANN)
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
    with pytest.raises(RuntimeError):
        begin_to_erase(store, cube)
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
