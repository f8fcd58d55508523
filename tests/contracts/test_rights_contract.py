"""Random worlds of rights: every engine answers as an evaluator says that is written out from the words alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import PURPOSES, SPACES, TASKS, callers, lives, maybe_moments, policies, rights, texts

from pinyon.core.access import ACTIONS, Access, Action, Policy, decide
from pinyon.core.clock import micros
from pinyon.core.cube import Cube, Draft
from pinyon.core.header import Header, Life, Rights
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.core.where import EVERY_STATE, View, Where
from pinyon.errors import Denied, NotFound
from pinyon.store import MemoryEngine, SqliteEngine, Store

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Asking:
    """Who asks for what, when."""

    caller: Scope
    policy: Policy
    purpose: str | None
    moment: datetime | None
    task: str | None = None

    @property
    def access(self) -> Access:
        return Access.of(self.caller, self.policy, purpose=self.purpose, task=self.task, moment=self.moment)


# --- the evaluator, from the words of `decide` and of the types that it names ---------------------------------------


def is_a(asking: Asking, name: str, visited: frozenset[str] = frozenset()) -> bool:
    """Say whether the caller is this principal: everyone, itself, or a member of a group or holder of a role."""
    caller = asking.caller
    if name == "*":
        return True
    kind, _, rest = name.partition(":")
    if kind in ("user", "agent", "session"):
        return getattr(caller, kind) == rest
    if name in visited:
        return False
    listed = asking.policy.groups if kind == "group" else asking.policy.roles
    members = [member for known, those in listed if known == rest for member in those]
    return any(is_a(asking, member, visited | {name}) for member in members)


def is_one_of(asking: Asking, names: tuple[str, ...]) -> bool:
    return any(is_a(asking, name) for name in names)


def is_time(said: Rights, moment: datetime | None) -> bool:
    if said.opens is None and said.closes is None and said.hours is None:
        return True
    if moment is None:
        return False
    if said.opens is not None and moment < said.opens:
        return False
    if said.closes is not None and moment >= said.closes:
        return False
    if said.hours is None:
        return True
    first, end = said.hours
    minutes = range(first, end) if first <= end else [*range(first, 24 * 60), *range(end)]
    return moment.hour * 60 + moment.minute in minutes


def is_cleared(asking: Asking, labels: tuple[str, ...]) -> bool:
    if not asking.policy.clearances:
        return True
    may_see = {label for name, those in asking.policy.clearances if is_a(asking, name) for label in those}
    return all(label in may_see for label in labels)


def may(asking: Asking, action: Action, cube: Cube) -> bool:
    """Say whether a caller may do something with a cube."""
    owner, caller, life = cube.owner, asking.caller, cube.header.life
    if owner.tenant != caller.tenant:
        return False
    if life.state == "frozen" and action == "write":
        return False
    ruling = [said for name, said in asking.policy.spaces if name == cube.space]
    all_rights = [cube.header.rights] + [said.rights for said in ruling]
    for said in all_rights:
        if is_one_of(asking, said.deny):
            return False
        if said.purposes and asking.purpose not in said.purposes:
            return False
        if said.tasks and asking.task not in said.tasks:
            return False
        if not is_time(said, asking.moment):
            return False
    has_owner = not (owner.user is None and owner.agent is None)
    is_mine = has_owner and owner.user in (None, caller.user) and owner.agent in (None, caller.agent)
    if is_mine and (action != "freeze" or not ruling):
        return True
    if not all(is_cleared(asking, said.sensitivity) for said in all_rights):
        return False
    if is_one_of(asking, getattr(cube.header.rights, action)):
        return True
    if not ruling:
        return not has_owner and not asking.policy.is_closed
    holds = is_one_of(asking, getattr(ruling[0].rights, action))
    return holds and (not has_owner or is_one_of(asking, ruling[0].reach))


def may_add(asking: Asking, space: str) -> bool:
    """Say whether a caller may write something of its own into a space."""
    is_shared = asking.caller.user is None and asking.caller.agent is None
    for name, said in asking.policy.spaces:
        if name == space:
            closed = is_one_of(asking, said.rights.deny) or not is_time(said.rights, asking.moment)
            closed = closed or bool(said.rights.purposes and asking.purpose not in said.rights.purposes)
            closed = closed or bool(said.rights.tasks and asking.task not in said.rights.tasks)
            return not closed and is_one_of(asking, said.rights.write)
    return not (is_shared and asking.policy.is_closed)


# --- the worlds ------------------------------------------------------------------------------------------------------

things = st.lists(
    st.tuples(callers, st.sampled_from(SPACES), texts, rights, st.just(Life()) | lives),
    min_size=1,
    max_size=7,
)
purposes, tasks = st.sampled_from([None, *PURPOSES]), st.sampled_from([None, *TASKS])
askings = st.builds(Asking, callers, policies, purposes, maybe_moments, tasks)
wheres = st.sampled_from([Where(), Where(states=EVERY_STATE), Where(valid_at=NOW)])


@pytest.fixture(scope="module")
def stores() -> Iterator[tuple[Store, Store]]:
    with tempfile.TemporaryDirectory() as folder:
        sqlite = SqliteEngine(Path(folder) / "memory.db", durability="normal")
        yield Store(sqlite), Store(MemoryEngine())
        sqlite.close()


def fill(store: Store, made: list[tuple[Scope, str, str, Rights, Life]]) -> list[Cube]:
    """Empty a store, put things in, and return them in the order of their rows."""
    head = store.engine.head().seq
    with store.engine.transaction() as tx:
        tx.erase(list(store.engine.by_rows(range(1, head + 1)).values()))
    for number, (owner, space, text, held, life) in enumerate(made):
        draft = Draft(Text(text), Header(rights=held, life=life), key=f"{head} {number}")
        store.put([draft], owner=owner, space=space, now=NOW)
    return list(store.engine.by_rows(range(head + 1, store.engine.head().seq + 1)).values())


def compare(stores: tuple[Store, Store], made: list[tuple[Scope, str, str, Rights, Life]], asked: list[Asking],
            where: Where, word: str) -> None:  # fmt: skip
    worlds = [fill(store, made) for store in stores]
    for asking in asked:
        for cube in worlds[1]:
            for action in ACTIONS:
                said = decide(action, asking.access, space=cube.space, owner=cube.owner, rights=cube.header.rights,
                              life=cube.header.life)  # fmt: skip
                assert said.allowed == may(asking, action, cube), said.rule
        for store, cubes in zip(stores, worlds, strict=True):
            for spaces in (SPACES, SPACES[:1]):
                view = View(asking.caller, spaces, where, asking.access, moment=asking.moment)
                over = {c.row for c in cubes if c.header.life.expires and view.moment and
                        c.header.life.expires <= view.moment and c.header.life.state != "frozen"}  # fmt: skip
                admitted = [c for c in cubes if may(asking, "read", c) and where.matches(c) and c.row not in over]
                answers_are(store, view, [c for c in admitted if c.space in spaces], word)
                assert store.engine.spaces(view) == sorted({c.space for c in admitted})


def answers_are(store: Store, view: View, expected: list[Cube], word: str) -> None:
    """Hold every read of an engine against the cubes that the caller may see, which are those of its whole world."""
    engine = store.engine
    expected = sorted(expected, key=lambda cube: (micros(cube.time), cube.row))
    assert engine.count(view) == len(expected)
    assert engine.rows(view).tolist() == sorted(cube.row for cube in expected)
    assert engine.find(view, newest_first=False, limit=99, after=None) == expected
    assert engine.find(view, newest_first=True, limit=2, after=None) == expected[::-1][:2]
    assert engine.containing(word, view, 99) == [cube for cube in reversed(expected) if word in cube.text]
    assert engine.matching("", view, 99) == sorted(expected, key=lambda cube: cube.id)
    for cube in expected:
        assert engine.get(cube.id, view) == cube
    assert len(engine.by_rows(engine.rows(view).tolist())) == len(expected)


random_worlds = given(
    made=things, asked=st.lists(askings, min_size=1, max_size=4), where=wheres, word=st.sampled_from(["bees", "e"])
)
HEALTH = list(HealthCheck)


@random_worlds
@settings(max_examples=40, deadline=None, suppress_health_check=HEALTH)
def test_every_engine_answers_as_the_plain_evaluator(
    stores: tuple[Store, Store],
    made: list[tuple[Scope, str, str, Rights, Life]],
    asked: list[Asking],
    where: Where,
    word: str,
) -> None:
    compare(stores, made, asked, where, word)


@pytest.mark.slow
@random_worlds
@settings(max_examples=1000, deadline=None, suppress_health_check=HEALTH)
def test_every_engine_answers_as_the_plain_evaluator_in_a_thousand_worlds(
    stores: tuple[Store, Store],
    made: list[tuple[Scope, str, str, Rights, Life]],
    asked: list[Asking],
    where: Where,
    word: str,
) -> None:
    compare(stores, made, asked, where, word)


@given(made=things, asking=askings, action=st.sampled_from(ACTIONS), number=st.integers(0, 6))
@settings(max_examples=40, deadline=None, suppress_health_check=HEALTH)
def test_what_the_evaluator_forbids_changes_nothing(
    stores: tuple[Store, Store],
    made: list[tuple[Scope, str, str, Rights, Life]],
    asking: Asking,
    action: Action,
    number: int,
) -> None:
    view = View(asking.caller, SPACES, Where(states=EVERY_STATE), asking.access)
    for store in stores:
        cubes = fill(store, made)
        cube = cubes[number % len(cubes)]
        before = store.engine.head()
        try:
            store.update(cube.id, retold, view=view, actor=asking.caller, now=NOW, action=action)
            assert may(asking, "read", cube)
            assert may(asking, action, cube)
            assert cube.header.life.state != "frozen"  # whoever may thaw or share it: its words stay
        except NotFound:
            assert not may(asking, "read", cube)
            assert store.engine.head() == before
        except Denied:
            assert may(asking, "read", cube)
            assert not may(asking, action, cube) or cube.header.life.state == "frozen"
            assert store.engine.head() == before


def retold(cube: Cube) -> Cube:
    return Cube(cube.id, cube.row, cube.version, cube.space, cube.owner, Text("told anew"), cube.header,
                cube.created, cube.updated, cube.hash)  # fmt: skip


@given(made=things, asking=askings)
@settings(max_examples=40, deadline=None, suppress_health_check=HEALTH)
def test_removing_takes_what_may_be_changed_or_nothing(
    stores: tuple[Store, Store], made: list[tuple[Scope, str, str, Rights, Life]], asking: Asking
) -> None:
    view = View(asking.caller, SPACES, Where(states=EVERY_STATE), asking.access)
    for store in stores:
        cubes = fill(store, made)
        seen = [cube for cube in cubes if may(asking, "read", cube)]
        forbidden = [cube for cube in seen if not may(asking, "write", cube)]
        ids = [cube.id for cube in cubes]
        try:
            gone = store.remove(ids, view=view, actor=asking.caller, now=NOW)
            assert not forbidden
            assert gone == seen
        except Denied:
            assert forbidden
            assert len(store.engine.by_rows([cube.row for cube in cubes])) == len(cubes)


@given(asking=askings, space=st.sampled_from(SPACES))
@settings(max_examples=40, deadline=None, suppress_health_check=HEALTH)
def test_what_may_not_be_added_is_not(stores: tuple[Store, Store], asking: Asking, space: str) -> None:
    for store in stores:
        fill(store, [])
        draft = Draft(Text("mine"), key=f"{store.engine.head().seq}")
        try:
            store.put([draft], owner=asking.caller, space=space, now=NOW, access=asking.access)
            assert may_add(asking, space)
        except Denied as error:
            assert not may_add(asking, space)
            assert space in error.message


def test_the_memory_itself_reads_what_is_closed_to_every_caller(stores: tuple[Store, Store]) -> None:
    for store in stores:
        cubes = fill(store, [(Scope(user="ann"), "main", "bees", Rights(deny=("*",)), Life())])
        steward = Access.steward(None, NOW)
        view = View(steward.scope, SPACES, Where(), steward)
        answers_are(store, view, cubes, "bees")
        assert store.engine.spaces(view) == ["main"]


def test_rights_beyond_those_of_the_question_are_not_seen_as_open(tmp_path: Path) -> None:
    first, second = SqliteEngine(tmp_path / "m.db"), SqliteEngine(tmp_path / "m.db")
    view = View(Scope(user="bob"))
    assert first.count(view) == 0
    Store(second).put(
        [Draft(Text("closed"), Header(rights=Rights(deny=("user:bob",))))], owner=Scope(), space="main", now=NOW
    )
    assert first.count(view) == 0
    assert first.count(View(Scope(user="ann"))) == 1
    first.close()
    second.close()


def test_rights_of_an_undone_transaction_are_not_remembered(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "m.db")
    store = Store(engine)

    def look(cubes: object) -> None:
        assert engine.count(View(Scope(user="ann"))) == 0
        raise RuntimeError

    closed = Draft(Text("a"), Header(rights=Rights(deny=("*",))))
    with pytest.raises(RuntimeError):
        store.put([closed], owner=Scope(), space="main", now=NOW, embed=look)
    labelled = Draft(Text("b"), Header(rights=Rights(sensitivity=("health",))))
    store.put([labelled], owner=Scope(), space="main", now=NOW)
    assert engine.count(View(Scope(user="ann"))) == 1
    engine.close()
