"""Memories as one file: the round trip is identity, nothing gains rights on the way, old archives open."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinyon.core.access import OPEN, Access, Policy, SpaceRights
from pinyon.core.cube import Cube, Draft
from pinyon.core.header import Header, Life, Lineage, Parent, Provenance, Rights
from pinyon.core.payload import State, Text
from pinyon.core.scope import Scope
from pinyon.core.where import EVERY_STATE, View, Where
from pinyon.errors import BadInput, Conflict, Denied, StoreError
from pinyon.store import (
    Engine,
    Extras,
    MemoryEngine,
    Rescope,
    SqliteEngine,
    Store,
    check_archive,
    export_all,
    export_cubes,
    import_archive,
    is_archive,
    may_add,
    read_archive,
    restore_archive,
)
from pinyon.store.archive import Redactor
from pinyon.store.side import AuditEntry, AuditLine

NOW = datetime(2024, 5, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
ANN, BOB = Scope(user="ann"), Scope(user="bob")
EVERY = Where(states=EVERY_STATE)
TENSORS = b"tensors" * 5


def access(scope: Scope = ANN, policy: Policy = OPEN) -> Access:
    return Access.of(scope, policy, moment=LATER)


def seen(engine: Engine, scope: Scope = ANN, space: str = "main") -> list[Cube]:
    return engine.find(View(scope, (space,), EVERY, access(scope)), newest_first=False, limit=1000, after=None)


def export(
    engine: Engine, path: Path, scope: Scope = ANN, space: str = "main", redact: Redactor | None = None
) -> dict[str, bytes]:
    export_cubes(engine, seen(engine, scope, space), path, created=NOW, redact=redact)
    return members(path)


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def change(store: Store, cube: Cube, text: str, *, minutes: int, owner: Scope = ANN) -> Cube:
    view = View(owner, (cube.space,), EVERY, access(owner))
    now = NOW + timedelta(minutes=minutes)
    return store.update(cube.id, lambda old: replace(old, payload=Text(text)), view=view, actor=owner, now=now)


def told_world(engine: Engine) -> Store:
    """Some cubes with versions, a tensor, a forgotten one, and another user's."""
    store = Store(engine)
    blob = engine.blobs.put(TENSORS)
    drafts = [
        Draft(Text("Ann keeps bees."), Header(tags=("bees",))),
        Draft(Text("Ann lives in Paris."), Header(metadata={"n": 1})),
        Draft(State((blob,), {"model": "m"})),
        Draft(Text("a secret")),
    ]
    placed = store.put(drafts, owner=replace(ANN, session="s1"), space="main", now=NOW)
    store.put([Draft(Text("Bob keeps goats."))], owner=BOB, space="main", now=NOW)
    change(store, placed[1].cube, "Ann lives in Rome.", minutes=1)
    change(store, placed[1].cube, "Ann lives in Porto.", minutes=2)
    store.remove([placed[3].cube.id], view=View(ANN, ("main",), EVERY), actor=ANN, now=NOW)
    return store


@pytest.fixture(params=["sqlite", "memory"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterable[Engine]:
    made: Engine = SqliteEngine(tmp_path / "here.db") if request.param == "sqlite" else MemoryEngine()
    yield made
    made.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterable[Engine]:
    made = SqliteEngine(tmp_path / "there.db")
    yield made
    made.close()


# --- identity ------------------------------------------------------------------------------------------------------


def test_export_import_export_gives_the_same_bytes(engine: Engine, other: Engine, tmp_path: Path) -> None:
    told_world(engine)
    first = export(engine, tmp_path / "a.pinyon")
    taken = import_archive(other, tmp_path / "a.pinyon", access=access(), now=LATER)
    assert (taken.created, taken.unchanged, taken.forgotten) == (3, 0, 0)
    second = export(other, tmp_path / "b.pinyon")
    first.pop("manifest.json"), second.pop("manifest.json")  # it says where the journal of the other store ends
    assert list(first) == ["cubes.jsonl", "journal.jsonl", f"blobs/{hashlib.sha256(TENSORS).hexdigest()}"]
    assert first == second
    assert Store(other).check() == []


def test_a_whole_store_comes_back_byte_for_byte(engine: Engine, other: Engine, tmp_path: Path) -> None:
    store = told_world(engine)
    store.rule("policy", "{}", actor=ANN, now=LATER, detail={"what": "nothing"})
    manifest = export_all(engine, tmp_path / "a.pinyon", created=NOW)
    assert restore_archive(other, tmp_path / "a.pinyon") == engine.head().seq == manifest.events
    export_all(other, tmp_path / "b.pinyon", created=NOW)
    assert (tmp_path / "a.pinyon").read_bytes() == (tmp_path / "b.pinyon").read_bytes()
    assert other.head() == engine.head()
    assert Store(other).check() == []
    assert other.setting("policy") == "{}"


def test_a_restored_store_answers_about_the_past(engine: Engine, other: Engine, tmp_path: Path) -> None:
    told_world(engine)
    export_all(engine, tmp_path / "a.pinyon", created=NOW)
    restore_archive(other, tmp_path / "a.pinyon")
    for seq in range(engine.head().seq + 1):
        view = View(ANN, ("main",), EVERY, at=seq)
        there, here = (e.find(view, newest_first=False, limit=99, after=None) for e in (other, engine))
        assert there == here


def test_what_was_forgotten_is_not_there_and_does_not_come_back(engine: Engine, other: Engine, tmp_path: Path) -> None:
    store = told_world(engine)
    export_all(engine, tmp_path / "a.pinyon", created=NOW)
    assert b"a secret" not in members(tmp_path / "a.pinyon")["cubes.jsonl"]
    restore_archive(other, tmp_path / "a.pinyon")
    again = [Draft(Text("a secret"))]
    here = store.put(again, owner=ANN, space="main", now=LATER)[0].cube.id
    assert Store(other).put(again, owner=ANN, space="main", now=LATER)[0].cube.id == here


texts = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=6, unique=True)
headers = st.builds(
    Header,
    rights=st.sampled_from([Rights(), Rights(("health",), read=("user:bob",), deny=("agent:x",), hours=(0, 90))]),
    life=st.sampled_from(
        [Life(), Life("frozen", thaws_to="generated"), Life("archived", pinned=True), Life(stale=True)]
    ),
    lineage=st.sampled_from([Lineage(), Lineage((Parent("0" * 32, 3, "merged"),))]),
    metadata=st.dictionaries(
        st.text(max_size=3), st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)
    ),
    tags=st.sampled_from([(), ("a", "b")]),
    provenance=st.sampled_from([Provenance(), Provenance(thread="t", section=("One",), span=(0, 3))]),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=texts, data=st.data())
def test_any_cubes_survive_the_round_trip(
    texts: list[str], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("x")
    one, two, three = MemoryEngine(), MemoryEngine(), MemoryEngine()
    clean = [text.encode("utf-8", "replace").decode() for text in texts]
    placed = Store(one).put([Draft(Text(t), data.draw(headers)) for t in clean], owner=ANN, space="main", now=NOW)
    for p in placed[::2]:
        if p.cube.header.life.state != "frozen":
            change(Store(one), p.cube, p.cube.text + "!", minutes=1)
    first = export(one, folder / "a.pinyon")
    import_archive(two, folder / "a.pinyon", access=access(), now=LATER)
    second = export(two, folder / "b.pinyon")
    assert {**first, "manifest.json": b""} == {**second, "manifest.json": b""}
    export_all(one, folder / "c.pinyon", created=NOW)
    restore_archive(three, folder / "c.pinyon")
    export_all(three, folder / "d.pinyon", created=NOW)
    assert (folder / "c.pinyon").read_bytes() == (folder / "d.pinyon").read_bytes()


def test_importing_again_changes_nothing(engine: Engine, other: Engine, tmp_path: Path) -> None:
    told_world(engine)
    export(engine, tmp_path / "a.pinyon")
    import_archive(other, tmp_path / "a.pinyon", access=access(), now=LATER)
    head = other.head()
    again = import_archive(other, tmp_path / "a.pinyon", access=access(), now=LATER)
    assert (again.created, again.unchanged, other.head()) == (0, 3, head)


def test_what_was_forgotten_here_is_not_imported(engine: Engine, tmp_path: Path) -> None:
    store = told_world(engine)
    export(engine, tmp_path / "a.pinyon")
    store.remove([seen(engine)[0].id], view=View(ANN, ("main",), EVERY), actor=ANN, now=LATER)
    assert import_archive(engine, tmp_path / "a.pinyon", access=access(), now=LATER).forgotten == 1


class Stopped(Exception):
    pass


def test_an_interrupted_import_goes_on_where_it_stopped(tmp_path: Path) -> None:
    one, two = MemoryEngine(), MemoryEngine()
    many = [Draft(Text(f"note {number}")) for number in range(1100)]
    Store(one).put(many, owner=ANN, space="main", now=NOW)
    export_cubes(one, seen_all(one), tmp_path / "a.pinyon", created=NOW)

    def stop(done: int, total: int) -> None:
        assert total == 1100
        if done >= 500:
            raise Stopped

    with pytest.raises(Stopped):
        import_archive(two, tmp_path / "a.pinyon", access=access(), now=LATER, progress=stop)
    assert two.count(View(ANN)) == 500
    taken = import_archive(two, tmp_path / "a.pinyon", access=access(), now=LATER)
    assert (taken.created, taken.unchanged) == (600, 500)


def seen_all(engine: Engine) -> list[Cube]:
    return engine.find(View(ANN), newest_first=False, limit=10_000, after=None)


def test_an_interrupted_restore_goes_on_where_it_stopped(tmp_path: Path) -> None:
    one, two = MemoryEngine(), MemoryEngine()
    store = Store(one)
    placed = store.put([Draft(Text(f"note {n}")) for n in range(700)], owner=ANN, space="main", now=NOW)
    for p in placed[:300]:
        change(store, p.cube, f"{p.cube.text} again", minutes=1)
    export_all(one, tmp_path / "a.pinyon", created=NOW)

    def stop(done: int, _: int) -> None:
        raise Stopped(done)

    with pytest.raises(Stopped):
        restore_archive(two, tmp_path / "a.pinyon", progress=stop)
    assert two.head().seq == 500
    assert restore_archive(two, tmp_path / "a.pinyon") == 500
    assert Store(two).check() == []
    assert seen_all(two) == seen_all(one)


def test_a_store_with_a_history_of_its_own_is_not_overwritten(engine: Engine, other: Engine, tmp_path: Path) -> None:
    told_world(engine)
    export_all(engine, tmp_path / "a.pinyon", created=NOW)
    Store(other).put([Draft(Text("mine"))], owner=ANN, space="main", now=NOW)
    head = other.head()
    with pytest.raises(Conflict, match="history of its own"):
        restore_archive(other, tmp_path / "a.pinyon")
    assert other.head() == head


def test_an_archive_of_some_memories_restores_nothing(engine: Engine, other: Engine, tmp_path: Path) -> None:
    told_world(engine)
    export(engine, tmp_path / "a.pinyon")
    with pytest.raises(BadInput, match="some memories only"):
        restore_archive(other, tmp_path / "a.pinyon")


def test_an_archive_of_everything_can_be_imported_too(engine: Engine, other: Engine, tmp_path: Path) -> None:
    told_world(engine)
    store = Store(engine)
    store.remove([c.id for c in seen(engine, BOB)], view=View(BOB, ("main",), EVERY), actor=BOB, now=NOW)
    export_all(engine, tmp_path / "a.pinyon", created=NOW)
    assert import_archive(other, tmp_path / "a.pinyon", access=access(), now=LATER).created == 3
    assert [c.hash for c in seen(other)] == [c.hash for c in seen(engine)]
    assert [t.op for thing in read_archive(tmp_path / "a.pinyon") for t in thing.told][:3] == ["create"] * 2 + [
        "overwrite"
    ]


def test_an_archive_says_what_it_is(engine: Engine, tmp_path: Path) -> None:
    told_world(engine)
    export(engine, tmp_path / "a.pinyon")
    said = check_archive(tmp_path / "a.pinyon")
    assert (said.version, said.extent, said.cubes, said.versions, said.events, said.blobs) == (2, "part", 3, 5, 5, 1)
    assert (said.created, said.head) == (NOW, engine.head())
    assert is_archive((tmp_path / "a.pinyon").read_bytes()[:64])
    assert not is_archive(b"PK\x03\x04" + b"\x00" * 60)


def test_an_export_that_fails_leaves_the_old_archive(engine: Engine, tmp_path: Path) -> None:
    told_world(engine)
    path = tmp_path / "a.pinyon"
    export(engine, path)
    before = path.read_bytes()

    def broken() -> Iterable[Cube]:
        yield seen(engine)[0]
        raise Stopped

    with pytest.raises(Stopped):
        export_cubes(engine, broken(), path, created=NOW)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.glob(".a*")] == []
    with pytest.raises(StoreError, match="cannot be written"):
        export_cubes(engine, [], tmp_path / "nowhere" / "a.pinyon", created=NOW)


def test_audit_and_rules_travel_and_are_not_applied(engine: Engine, other: Engine, tmp_path: Path) -> None:
    told_world(engine)
    entry = AuditEntry(1, AuditLine(NOW, ANN, "search", True, "owner", "main", detail={"k": 3}), "c" * 64)
    extras = Extras(rules={"policy": '{"closed":true}'}, audit=[entry])
    export_cubes(engine, seen(engine), tmp_path / "a.pinyon", created=NOW, extras=extras)
    import_archive(other, tmp_path / "a.pinyon", access=access(), now=LATER)
    assert other.setting("policy") is None
    given: list[object] = []
    import_archive(other, tmp_path / "a.pinyon", access=access(), now=LATER, with_rules=given.append)
    assert given == [{"policy": '{"closed":true}'}]
    assert json.loads(members(tmp_path / "a.pinyon")["audit.jsonl"])["action"] == "search"


def test_an_export_beside_a_writer_holds_one_state(tmp_path: Path) -> None:
    one, two = MemoryEngine(), MemoryEngine()
    store = told_world(one)
    calls = 0

    def write(_: int, __: int) -> None:
        nonlocal calls
        calls += 1
        if calls < 3:
            store.put([Draft(Text(f"in between {calls}"))], owner=ANN, space="main", now=NOW)

    export_all(one, tmp_path / "a.pinyon", created=NOW, progress=write)
    restore_archive(two, tmp_path / "a.pinyon")
    assert two.head() == one.head()
    assert Store(two).check() == []


# --- rights --------------------------------------------------------------------------------------------------------


GRANTED = Rights(
    sensitivity=("health",), read=("*",), write=("user:bob",), share=("user:bob",), freeze=("role:boss",),
    deny=("agent:bot",), purposes=("care",), hours=(0, 60),
)  # fmt: skip


def shared_world(engine: Engine) -> Cube:
    store = Store(engine)
    drafts = [Draft(Text("Ann is ill."), Header(rights=GRANTED), key="k"), Draft(Text("plain"))]
    placed = store.put(drafts, owner=ANN, space="main", now=NOW)
    header = Header(lineage=Lineage((Parent(placed[1].cube.id, 1),)), life=Life(superseded_by=placed[0].cube.id))
    store.put([Draft(Text("made of it"), header)], owner=ANN, space="main", now=NOW)
    return placed[0].cube


def test_rights_come_as_they_were(engine: Engine, other: Engine, tmp_path: Path) -> None:
    shared_world(engine)
    export_cubes(engine, seen_raw(engine), tmp_path / "a.pinyon", created=NOW)
    import_archive(other, tmp_path / "a.pinyon", access=access(), now=LATER)
    assert [c.header.rights for c in seen_raw(other)] == [GRANTED, Rights(), Rights()]


def seen_raw(engine: Engine) -> list[Cube]:
    cubes = engine.by_rows([e.row for e in engine.journal(0, 1000)])
    return [cubes[row] for row in sorted(cubes)]


def test_a_cube_that_moves_keeps_what_its_rights_forbid_and_nothing_else(engine: Engine, tmp_path: Path) -> None:
    first = shared_world(engine)
    export_cubes(engine, seen_raw(engine), tmp_path / "a.pinyon", created=NOW)
    moved = Rescope(into_space="copy", as_user="bob")
    taken = import_archive(engine, tmp_path / "a.pinyon", access=access(BOB), now=LATER, rescope=moved)
    assert taken.created == 3
    copies = [c for c in seen_raw(engine) if c.space == "copy"]
    assert [c.text for c in copies] == ["Ann is ill.", "plain", "made of it"]
    assert {c.owner.user for c in copies} == {"bob"}
    kept = Rights(sensitivity=("health",), deny=("agent:bot",), purposes=("care",), hours=(0, 60))
    assert copies[0].header.rights == kept
    assert copies[0].id != first.id
    assert copies[2].header.lineage.parents[0].id == copies[1].id
    assert copies[2].header.life.superseded_by == copies[0].id
    assert Store(engine).check() == []
    again = import_archive(engine, tmp_path / "a.pinyon", access=access(BOB), now=LATER, rescope=moved)
    assert (again.created, again.unchanged) == (0, 3)
    placed = Store(engine).put([Draft(Text("plain"))], owner=BOB, space="copy", now=LATER)
    assert placed[0].cube.id == copies[1].id


@pytest.mark.parametrize(
    ("rescope", "place"),
    [
        (Rescope(spaces={"main": "work"}), ("work", Scope(user="ann"))),
        (Rescope(users={"ann": "eve"}), ("main", Scope(user="eve"))),
        (Rescope(tenants={None: "acme"}), ("main", Scope(tenant="acme", user="ann"))),
        (Rescope(spaces={"x": "y"}, users={"bob": "eve"}), ("main", Scope(user="ann"))),
        (Rescope(into_space="z", as_user="bob"), ("z", Scope(user="bob"))),
    ],
)
def test_spaces_users_and_tenants_can_be_renamed(rescope: Rescope, place: tuple[str, Scope], tmp_path: Path) -> None:
    one, two = MemoryEngine(), MemoryEngine()
    Store(one).put([Draft(Text("one"))], owner=ANN, space="main", now=NOW)
    export(one, tmp_path / "a.pinyon")
    import_archive(two, tmp_path / "a.pinyon", access=access(place[1]), now=LATER, rescope=rescope)
    (cube,) = seen_raw(two)
    assert (cube.space, cube.owner) == place


def test_names_that_cannot_be_names_are_refused() -> None:
    with pytest.raises(BadInput):
        Rescope(into_space="")
    with pytest.raises(BadInput):
        Rescope(users={"ann": "a\nb"})


RULED = Policy(
    spaces=(
        ("open", SpaceRights(Rights(write=("*",)))),
        ("mine", SpaceRights(Rights(write=("user:ann",)))),
        ("hers", SpaceRights(Rights(write=("user:eve",)))),
        ("barred", SpaceRights(Rights(write=("*",), deny=("user:ann",)))),
    )
)


@pytest.mark.parametrize(
    ("space", "owner", "policy", "may"),
    [
        ("main", ANN, RULED, True),
        ("main", BOB, RULED, False),
        ("main", Scope(), RULED, True),
        ("main", Scope(), Policy(is_closed=True), False),
        ("main", ANN, Policy(is_closed=True), True),
        ("main", Scope(tenant="t", user="ann"), RULED, False),
        ("open", ANN, RULED, True),
        ("mine", Scope(), RULED, True),
        ("hers", ANN, RULED, False),
        ("barred", ANN, RULED, False),
    ],
)
def test_who_may_not_write_a_space_imports_nothing(
    space: str, owner: Scope, policy: Policy, may: bool, tmp_path: Path
) -> None:
    one, two = MemoryEngine(), MemoryEngine()
    Store(one).put([Draft(Text("one"))], owner=owner, space=space, now=NOW)
    export_cubes(one, seen_raw(one), tmp_path / "a.pinyon", created=NOW)
    asking = access(ANN, policy)
    assert may_add(asking, space, owner) is may
    if may:
        assert import_archive(two, tmp_path / "a.pinyon", access=asking, now=LATER).created == 1
        return
    with pytest.raises(Denied, match="may not write"):
        import_archive(two, tmp_path / "a.pinyon", access=asking, now=LATER)
    assert two.head().seq == 0


# --- redaction -----------------------------------------------------------------------------------------------------


def test_what_is_redacted_leaves_in_no_version(engine: Engine, other: Engine, tmp_path: Path) -> None:
    told_world(engine)

    def masked(cube: Cube) -> Cube | None:
        if "bees" in cube.text:
            return None
        return replace(cube, payload=Text("[masked]")) if "Rome" in cube.text else cube

    said = export(engine, tmp_path / "a.pinyon", redact=masked)
    assert b"Rome" not in said["cubes.jsonl"]
    assert b"bees" not in said["cubes.jsonl"]
    assert b"bees" not in said["journal.jsonl"]
    check_archive(tmp_path / "a.pinyon")
    import_archive(other, tmp_path / "a.pinyon", access=access(), now=LATER)
    city = next(c for c in seen(other) if c.version == 3)
    assert [c.text for c in other.versions(city.id)] + [city.text] == [
        "Ann lives in Paris.", "[masked]", "Ann lives in Porto.",
    ]  # fmt: skip
    assert Store(other).check() == []
