"""Publish, subscribe, pull: only what changed, no rights raised, terms kept at the subscriber."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinyon import Memory, Rights, subscribing
from pinyon.core.cube import Cube
from pinyon.core.where import EVERY_STATE, Where
from pinyon.errors import BadInput, Conflict, Damaged, Denied, NotFound, WrongKey
from pinyon.importing import export, import_archive
from pinyon.parts import LICENCES
from pinyon.sharing import publish, registry, terms_of, unpublish
from pinyon.store import OpenArchive
from pinyon.store.registry import INDEX, Registry, Terms, archive_in, index_bytes
from pinyon.subscribing import Pulled, pull, subscribe, subscriptions, unsubscribe
from pinyon.testing import FixedClock

START = "2024-05-01"
DAY_S = 86_400
EVERY = Where(states=EVERY_STATE)
Opener = Callable[[str], Memory]


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(START)


@pytest.fixture(params=["memory", "sqlite", "encrypted"])
def opener(request: pytest.FixtureRequest, tmp_path: Path, clock: FixedClock) -> Iterator[Opener]:
    """What opens the subscriber's memory, of every kind."""
    if request.param == "encrypted" and find_spec("sqlcipher3") is None:
        pytest.skip("needs a cipher")
    opened: list[Memory] = []

    def at(name: str) -> Memory:
        place = ":memory:" if request.param == "memory" else str(tmp_path / f"{name}.db")
        key = b"k" * 32 if request.param == "encrypted" else None
        opened.append(Memory.open(place, user="bob", space="got", clock=clock, key=key))
        return opened[-1]

    yield at
    for memory in opened:
        memory.close()


@pytest.fixture
def ann(clock: FixedClock) -> Iterator[Memory]:
    with Memory.open(":memory:", user="ann", space="bees", clock=clock) as memory:
        memory.add("The hives stand behind the mill.", tags=["hive"], metadata={"year": 2024})
        memory.add("Bees swarm in May when the hive is full.", tags=["swarm"])
        memory.add("The spare key hangs behind the blue door.", tags=["home"])
        yield memory


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "registry")


def issued(memory: Memory, folder: str, terms: Terms | None = None, **more: object) -> str:
    done = publish(memory, memory.space, folder, name="bees", terms=terms, **more)  # type: ignore[arg-type]
    return done.publication.latest.version


def texts(memory: Memory) -> set[str]:
    return {cube.text for cube in memory.iterate()}


def one(memory: Memory, word: str) -> Cube:
    (found,) = [cube for cube in memory.iterate(where=EVERY) if word in cube.text]
    return found


# --- publish and take ----------------------------------------------------------------------------------------------


def test_what_is_published_is_found_by_whoever_subscribed(opener: Opener, ann: Memory, folder: str) -> None:
    issued(ann, folder)
    bob = opener("bob")
    assert subscribe(bob, "bees", folder) == Pulled("bees", "1", "", created=3)
    assert texts(bob) == texts(ann)
    assert bob.search("Where are the hives?").hits[0].cube.text == "The hives stand behind the mill."
    assert {cube.owner.user for cube in bob.iterate()} == {"bob"}
    assert not list(bob.iterate(user="eve"))
    assert one(bob, "hives").header.metadata == {"year": 2024}
    assert bob.verify().is_sound


def test_only_what_changed_is_written_and_pulling_again_writes_nothing(
    opener: Opener, ann: Memory, folder: str
) -> None:
    issued(ann, folder)
    bob = opener("bob")
    subscribe(bob, "bees", folder)
    hives, swarm, key = one(bob, "hives"), one(bob, "swarm"), one(bob, "key")
    ann.update(one(ann, "hives").id, text="The hives stand in the orchard.")
    ann.forget([one(ann, "key").id])
    ann.add("Honey is taken in July.")
    assert issued(ann, folder) == "2"
    assert pull(bob) == (Pulled("bees", "2", "1", created=1, updated=1, closed=1),)
    assert texts(bob) == texts(ann)
    assert one(bob, "swarm") == swarm
    assert [version.cube.text for version in bob.history(hives.id) if version.cube is not None] == [
        "The hives stand behind the mill.",
        "The hives stand in the orchard.",
    ]
    assert key.id not in {hit.cube.id for hit in bob.search("spare key blue door").hits}
    with pytest.raises(NotFound):
        bob.get(key.id)
    end = bob.store.engine.head()
    assert pull(bob) == (Pulled("bees", "2", "2"),)
    assert subscribe(bob, "bees", folder) == Pulled("bees", "2", "2")
    assert bob.store.engine.head() == end
    assert bob.verify().is_sound


def test_publishing_the_same_again_adds_no_version(ann: Memory, folder: str) -> None:
    assert publish(ann, "bees", folder, name="bees").is_new
    before = (Path(folder) / INDEX).read_bytes()
    assert not publish(ann, "bees", folder, name="bees").is_new
    assert (Path(folder) / INDEX).read_bytes() == before
    assert publish(ann, "bees", folder, name="bees", labels=["garden"]).publication.latest.tags == ("garden",)


def test_a_version_is_never_replaced(ann: Memory, folder: str) -> None:
    issued(ann, folder, version="1.0")
    ann.add("More.")
    with pytest.raises(Conflict, match="published already"):
        issued(ann, folder, version="1.0")
    assert len(registry("list", folder)[0].issues) == 1


def test_nothing_that_names_somebody_or_a_file_leaves(ann: Memory, folder: str, tmp_path: Path) -> None:
    from pinyon.importing import import_files

    secret = tmp_path / "very-secret-folder"
    secret.mkdir()
    (secret / "notes.md").write_text("# Notes\n\nThe drone dies in autumn.\n")
    import_files(ann, [secret])
    cube = ann.add("First words.", session="session-of-ann", rights=Rights(read=("user:carol",))).cubes[0]
    ann.update(cube.id, text="Second words.")
    issued(ann, folder)
    with OpenArchive(archive_in(Path(folder) / "bees", "1")) as archive:
        everything = repr(list(archive.cubes())) + repr(list(archive.all_told())) + repr(archive.manifest)
    for name in ("ann", "carol", "very-secret-folder", "session-of-ann", "First words"):
        assert name not in everything
    assert "Second words" in everything


def test_what_may_not_be_shared_is_not_published(ann: Memory, folder: str) -> None:
    ann.rights.group("care", add=["user:bob"])
    ann.rights.grant(read=["group:care"], reach=["group:care"], space="bees")
    bob = ann.at(user="bob")
    assert len(list(bob.iterate())) == 3
    with pytest.raises(Denied, match="may not be shared"):
        publish(bob, "bees", folder, name="stolen")
    assert not (Path(folder) / INDEX).exists()


def test_rights_never_rise_on_the_way(opener: Opener, ann: Memory, folder: str) -> None:
    labelled = Rights(read=("*",), write=("*",), sensitivity=("health",), purposes=("care",), deny=("user:eve",))
    ann.add("Ann takes insulin.", rights=labelled)
    issued(ann.at(purpose="care"), folder)
    bob = opener("bob")
    subscribe(bob, "bees", folder)
    (cube,) = [each for each in bob.iterate(purpose="care") if "insulin" in each.text]
    rights = cube.header.rights
    assert (rights.read, rights.write, rights.share) == ((), (), ())
    assert (rights.sensitivity, rights.purposes, rights.deny) == (("health",), ("care",), ("user:eve",))
    assert cube.id not in {hit.cube.id for hit in bob.search("insulin").hits}  # no purpose was stated


def test_nothing_is_published_of_an_empty_space_or_under_a_path(ann: Memory, folder: str) -> None:
    with pytest.raises(BadInput, match="holds nothing"):
        publish(ann, "empty", folder, name="bees")
    with pytest.raises(BadInput, match="is no name"):
        publish(ann, "bees", folder, name="../bees")
    with pytest.raises(BadInput, match="is no principal"):
        publish(ann, "bees", folder, name="bees", terms=Terms(visible_to=("ann",)))
    assert not Path(folder).exists()


def test_a_part_is_taken_by_tag_or_by_words(opener: Opener, ann: Memory, folder: str) -> None:
    issued(ann, folder)
    bob = opener("bob")
    subscribe(bob, "bees", folder, tags=["hive"])
    assert texts(bob) == {"The hives stand behind the mill."}
    subscribe(bob.at(space="words"), "bees", folder, query="swarming doors")
    assert texts(bob.at(space="words")) == {
        "Bees swarm in May when the hive is full.",
        "The spare key hangs behind the blue door.",
    }


def test_a_registry_is_listed_by_tag_and_words(ann: Memory, folder: str) -> None:
    issued(ann, folder, labels=["garden"])
    publish(ann, "bees", folder, name="key-places", terms=Terms(text="for neighbours"))
    assert [each.name for each in registry("list", folder)] == ["bees", "key-places"]
    assert [each.name for each in registry("list", folder, tags=["garden"])] == ["bees"]
    assert [each.name for each in registry("list", folder, query="neighbour")] == ["key-places"]
    archive_in(Path(folder) / "bees", "1").write_bytes(b"x")
    with pytest.raises(Damaged):
        registry("check", folder)


# --- what is refused -----------------------------------------------------------------------------------------------


def test_who_may_not_see_it_does_not_get_it(opener: Opener, ann: Memory, folder: str) -> None:
    issued(ann, folder, Terms(visible_to=("group:keepers", "user:carol")))
    bob = opener("bob")
    with pytest.raises(Denied, match="none of them"):
        subscribe(bob, "bees", folder)
    assert not texts(bob)
    assert [entry.line.allowed for entry in bob.audit(actions=["subscribe"])] == [False]
    bob.rights.group("keepers", add=["user:bob"])
    assert subscribe(bob, "bees", folder).created == 3


def test_a_damaged_publication_leaves_the_subscriber_as_it_was(opener: Opener, ann: Memory, folder: str) -> None:
    issued(ann, folder)
    bob = opener("bob")
    subscribe(bob, "bees", folder)
    ann.add("Later words.")
    issued(ann, folder)
    path = archive_in(Path(folder) / "bees", "2")
    path.write_bytes(path.read_bytes()[:-10])
    end = bob.store.engine.head()
    (pulled,) = pull(bob)
    assert "cut off or was changed" in pulled.problem
    assert bob.store.engine.head() == end
    assert subscriptions(bob)[0].version == "1"


def test_terms_that_were_widened_in_the_index_are_refused(opener: Opener, ann: Memory, folder: str) -> None:
    issued(ann, folder, Terms(calls=1))
    store = Registry(folder)
    found = store.find("bees")
    wide = replace(found, issues=(replace(found.latest, terms=Terms(calls=10**6)),))
    (Path(folder) / INDEX).write_bytes(index_bytes({"bees": wide}))
    bob = opener("bob")
    with pytest.raises(Damaged, match="another one than the index"):
        subscribe(bob, "bees", folder)
    assert not texts(bob)


def test_a_seal_that_was_asked_for_is_asked_for_with_every_pull(
    opener: Opener, ann: Memory, folder: str, tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(b"k" * 32)
    (tmp_path / "other").write_bytes(b"o" * 32)
    issued(ann, folder, seal_key=b"k" * 32)
    bob = opener("bob")
    with pytest.raises(WrongKey):
        subscribe(bob, "bees", folder, seal_file=str(tmp_path / "other"))
    assert not texts(bob)
    assert not subscriptions(bob)
    subscribe(bob, "bees", folder, seal_file=str(tmp_path / "key"))
    ann.add("Unsealed words.")
    issued(ann, folder)
    assert "bears no seal" in pull(bob)[0].problem
    assert "Unsealed words." not in texts(bob)


def test_one_space_takes_one_name_from_one_place(opener: Opener, ann: Memory, folder: str) -> None:
    issued(ann, folder)
    publish(ann, "bees", folder + "2", name="bees")
    bob = opener("bob")
    subscribe(bob, "bees", folder)
    with pytest.raises(Conflict, match="already"):
        subscribe(bob, "bees", folder + "2")
    assert unsubscribe(bob, "bees") == 3
    assert not texts(bob)
    assert subscribe(bob, "bees", folder + "2").updated == 3  # they are there, and open again
    assert len(texts(bob)) == 3
    with pytest.raises(NotFound):
        unsubscribe(bob, "wasps")


# --- withdrawal, frozen, forgotten, local changes ------------------------------------------------------------------


def test_what_was_withdrawn_is_found_no_more(opener: Opener, ann: Memory, folder: str) -> None:
    issued(ann, folder)
    bob = opener("bob")
    subscribe(bob, "bees", folder)
    bob.add("My own words about hives.")
    unpublish(ann, "bees", folder)
    assert pull(bob) == (Pulled("bees", "1", "1", closed=3, withdrawn=True),)
    assert texts(bob) == {"My own words about hives."}
    assert subscriptions(bob)[0].withdrawn
    assert pull(bob)[0].closed == 0
    with pytest.raises(Conflict, match="withdrawn"):
        subscribe(bob.at(space="else"), "bees", folder)
    assert issued(ann, folder) == "2"
    assert pull(bob)[0].updated == 3
    assert len(texts(bob)) == 4


def test_a_frozen_memory_stays_and_is_closed_all_the_same(
    opener: Opener, ann: Memory, folder: str, clock: FixedClock
) -> None:
    issued(ann, folder, terms_of("expires=2024-06-01"))
    bob = opener("bob")
    subscribe(bob, "bees", folder)
    frozen = bob.freeze(one(bob, "hives").id)
    ann.update(one(ann, "hives").id, text="The hives are gone.")
    issued(ann, folder, terms_of("expires=2024-06-01"))
    assert pull(bob)[0].held == 1
    assert one(bob, "hives").text == frozen.text
    clock.advance(40 * DAY_S)
    assert not texts(bob)


def test_what_was_forgotten_here_stays_forgotten(opener: Opener, ann: Memory, folder: str) -> None:
    issued(ann, folder)
    bob = opener("bob")
    subscribe(bob, "bees", folder)
    bob.forget([one(bob, "key").id])
    ann.add("New words.")
    issued(ann, folder)
    assert pull(bob)[0] == Pulled("bees", "2", "1", created=1, forgotten=1)
    assert "The spare key hangs behind the blue door." not in texts(bob)


def test_a_pull_that_was_cut_off_is_done_again(opener: Opener, ann: Memory, folder: str) -> None:
    issued(ann, folder)
    bob = opener("bob")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subscribing, "_keep", killed)
        with pytest.raises(KeyboardInterrupt):
            subscribe(bob, "bees", folder)
    assert not subscriptions(bob)
    assert subscribe(bob, "bees", folder) == Pulled("bees", "1", "")
    assert len(texts(bob)) == 3
    unpublish(ann, "bees", folder)
    assert pull(bob)[0].closed == 3


def test_a_subscriber_in_the_publishers_own_memory_leaves_the_originals_alone(ann: Memory, folder: str) -> None:
    issued(ann, folder)
    here = ann.at(space="copy")
    assert subscribe(here, "bees", folder).created == 3
    unpublish(ann, "bees", folder)
    pull(here)
    assert not texts(here)
    assert len(texts(ann)) == 3


# --- licences ------------------------------------------------------------------------------------------------------


def test_calls_are_counted_and_then_nobody_finds_it(opener: Opener, ann: Memory, folder: str) -> None:
    issued(ann, folder, terms_of("calls=3"))
    bob = opener("bob")
    subscribe(bob, "bees", folder)
    own = bob.add("My own hive is red.").cubes[0]
    assert bob.search("hive").hits
    assert any(hit.cube.id != own.id for hit in bob.recall("hive").hits)
    assert subscriptions(bob)[0].used == 2
    assert bob.ask("When do bees swarm?").is_known
    assert subscriptions(bob)[0].used == 3
    assert [hit.cube.id for hit in bob.search("hive").hits] == [own.id]
    assert [cube.id for cube in bob.iterate()] == [own.id]
    assert bob.stats().cubes == 1
    lines = [entry.line for entry in bob.audit() if entry.line.rule == "licence" and "used" in entry.line.detail]
    assert [(line.action, line.detail["used"]) for line in lines] == [("search", 1), ("recall", 2), ("ask", 3)]
    assert bob.verify().is_sound


def test_what_finds_nothing_of_it_is_not_counted(opener: Opener, ann: Memory, folder: str) -> None:
    issued(ann, folder, terms_of("calls=2"))
    bob = opener("bob")
    subscribe(bob, "bees", folder)
    bob.at(space="else").add("Nothing but trains.")
    bob.search("trains", space="else")
    bob.recall("trains", space="else")
    assert subscriptions(bob)[0].used == 0


def test_a_new_version_with_more_calls_opens_it_again_and_the_count_goes_on(
    opener: Opener, ann: Memory, folder: str
) -> None:
    issued(ann, folder, terms_of("calls=1"))
    bob = opener("bob")
    subscribe(bob, "bees", folder)
    bob.search("hive")
    assert not texts(bob)
    assert bob.search("hive").notes == ("the licence of bees is used up or over: nothing of it is found any more",)
    assert bob.recall("hive").found.notes[-1:] == bob.search("hive").notes
    assert not bob.search("hive", space="else").notes
    issued(ann, folder, terms_of("calls=2"))
    pull(bob)
    assert len(texts(bob)) == 3
    bob.search("hive")
    assert not texts(bob)
    unsubscribe(bob, "bees")
    assert not bob.search("hive").notes
    subscribe(bob, "bees", folder)  # which is no way to begin to count anew
    assert not texts(bob)


def test_the_end_of_a_licence_binds_the_owner_whatever_it_does(
    opener: Opener, ann: Memory, folder: str, clock: FixedClock
) -> None:
    issued(ann, folder, terms_of("expires=2024-06-01"))
    bob = opener("bob")
    subscribe(bob, "bees", folder)
    cube = one(bob, "hives")
    bob.update(cube.id, expires="2030-01-01")
    made = bob.add("Summary: hives and swarms.", derived_from=[cube.id]).cubes[0]
    assert made.header.rights.closes == cube.header.rights.closes
    clock.advance(30 * DAY_S)
    assert len(texts(bob)) == 4
    clock.advance(10 * DAY_S)
    assert not texts(bob)
    assert not bob.search("hives swarm").hits
    with pytest.raises(NotFound):
        bob.get(cube.id)


def test_what_was_made_of_it_closes_with_it(opener: Opener, ann: Memory, folder: str) -> None:
    issued(ann, folder)
    bob = opener("bob")
    subscribe(bob, "bees", folder)
    bob.add("Summary: hives.", derived_from=[one(bob, "hives").id])
    unpublish(ann, "bees", folder)
    pull(bob)
    assert not texts(bob)


def test_no_call_beyond_the_last_is_given_to_many_at_once(ann: Memory, folder: str, tmp_path: Path) -> None:
    issued(ann, folder, terms_of("calls=7"))
    with Memory.open(tmp_path / "b.db", user="bob", space="got") as bob:
        subscribe(bob, "bees", folder)
        found: list[int] = []

        def ask() -> None:
            for _ in range(4):
                found.append(len(bob.search("hive").hits))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len([number for number in found if number]) == 7
        assert subscriptions(bob)[0].used == 7


@pytest.mark.slow
def test_no_call_beyond_the_last_is_given_to_many_processes(ann: Memory, folder: str, tmp_path: Path) -> None:
    issued(ann, folder, terms_of("calls=10"))
    path = tmp_path / "b.db"
    with Memory.open(path, user="bob", space="got") as bob:
        subscribe(bob, "bees", folder)
    script = (
        "import sys; from pinyon import Memory\n"
        f"m = Memory.open({str(path)!r}, user='bob', space='got')\n"
        "print(sum(bool(m.search('hive').hits) for _ in range(8)))"
    )
    running = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sum(int(each.communicate()[0]) for each in running) == 10


def test_a_memory_without_licences_asks_for_none(opener: Opener) -> None:
    bob = opener("bob")
    bob.add("The hives stand behind the mill.")
    bob.search("hives")
    assert bob.store.engine.setting(LICENCES) is None


def test_counted_memories_stay_out_of_archives_and_others_keep_their_end(
    opener: Opener, ann: Memory, folder: str, tmp_path: Path, clock: FixedClock
) -> None:
    issued(ann, folder, terms_of("calls=5"))
    publish(ann, "bees", folder, name="timed", terms=terms_of("expires=2024-06-01"))
    bob = opener("bob")
    subscribe(bob, "bees", folder)
    subscribe(bob.at(space="timed"), "timed", folder)
    bob.add("My own.")
    assert export(bob, tmp_path / "a") == 1
    assert export(bob, tmp_path / "b", space="timed") == 3
    with Memory.open(":memory:", user="bob", space="timed", clock=clock) as other:
        import_archive(other, tmp_path / "b")
        assert len(texts(other)) == 3
        clock.advance(40 * DAY_S)
        assert not texts(other)


@pytest.mark.parametrize(
    ("said", "wider", "allowed"),
    [
        (Terms(calls=10), Terms(), Terms(calls=9)),
        (Terms(calls=10), Terms(calls=11), Terms(calls=10)),
        (terms_of("expires=2024-06-01"), terms_of("expires=2024-06-02"), terms_of("expires=2024-05-20")),
        (terms_of("expires=2024-06-01"), Terms(), terms_of("expires=2024-06-01,calls=3")),
        (Terms(visible_to=("user:bob", "user:eve")), Terms(), Terms(visible_to=("user:eve",))),
    ],
)
def test_nobody_publishes_beyond_the_terms_it_was_given(
    said: Terms, wider: Terms, allowed: Terms, ann: Memory, folder: str, clock: FixedClock, tmp_path: Path
) -> None:
    issued(ann, folder, said)
    with Memory.open(":memory:", user="bob", space="got", clock=clock) as bob:
        subscribe(bob, "bees", folder)
        other = str(tmp_path / "other")
        with pytest.raises(Denied, match="do not allow"):
            publish(bob, "got", other, name="mine", terms=wider)
        assert publish(bob, "got", other, name="mine", terms=allowed).is_new


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["add", "change", "forget", "publish", "pull", "withdraw"]), st.integers(0, 9)),
        max_size=14,
    )
)
def test_after_a_pull_the_subscriber_has_what_was_last_published(
    steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A random world against a plain one: what was last published, or nothing of what was withdrawn."""
    folder = str(tmp_path_factory.mktemp("r"))
    with Memory.open(":memory:", user="ann", space="s") as ann, Memory.open(":memory:", user="bob", space="t") as bob:
        ann.add("word zero")
        publish(ann, "s", folder, name="n")
        subscribe(bob, "n", folder)
        shown, is_withdrawn = texts(ann), False
        for what, n in steps:
            cubes = sorted(ann.iterate(), key=lambda cube: cube.id)
            if what == "add":
                ann.add(f"word {n} {len(cubes)}")
            elif what == "change" and cubes:
                ann.update(cubes[n % len(cubes)].id, text=f"changed {n}")
            elif what == "forget" and len(cubes) > 1:
                ann.forget([cubes[n % len(cubes)].id])
            elif what == "publish":
                publish(ann, "s", folder, name="n")
                shown, is_withdrawn = texts(ann), False
            elif what == "withdraw" and not is_withdrawn:
                unpublish(ann, "n", folder)
                is_withdrawn = True
            elif what == "pull":
                assert not pull(bob)[0].problem
                assert texts(bob) == (set() if is_withdrawn else shown)
        assert bob.verify().is_sound


def test_terms_are_read_as_people_write_them() -> None:
    assert terms_of("calls=100, expires=2027-01-01").calls == 100
    assert terms_of("") == Terms()
    for bad in ("calls", "calls=", "calls=0", "calls=-1", "calls=1,calls=2", "price=3", "expires=soon", "calls=١"):
        with pytest.raises(BadInput):
            terms_of(bad)


# --- ways around a licence -----------------------------------------------------------------------------------------


def test_a_copy_in_a_branch_is_counted_too(opener: Opener, ann: Memory, folder: str) -> None:
    issued(ann, folder, terms_of("calls=2"))
    bob = opener("bob")
    subscribe(bob, "bees", folder)
    bob.branch("what-if")
    there = bob.at(space="what-if")
    assert there.search("hive").hits
    assert bob.search("hive").hits
    assert not there.search("hive").hits
    assert not texts(there)


def test_what_is_used_up_is_not_brought_back_by_the_past(
    opener: Opener, ann: Memory, folder: str, clock: FixedClock
) -> None:
    issued(ann, folder, terms_of("calls=1"))
    bob = opener("bob")
    subscribe(bob, "bees", folder)
    cube = one(bob, "hives")
    clock.advance(60)
    before = clock.now()
    clock.advance(60)
    bob.search("hive")
    assert not bob.as_of(before).search("hive").hits
    for way in (
        lambda: bob.rollback(cube.id, 1),
        lambda: bob.restore(cube.id, 1),
        lambda: bob.activate(cube.id),
        lambda: bob.update(cube.id, expires="2040-01-01"),
        lambda: bob.rights.revoke(cube.id, times=True),
        lambda: bob.merge([cube.id, one(ann, "hives").id], "both"),
    ):
        with pytest.raises((NotFound, Denied, Conflict, BadInput)):
            way()
    assert len(bob.undo().kept) == 3
    assert not texts(bob)
    assert not bob.search("hive").hits


def test_a_call_counts_in_the_past_as_in_the_present(
    opener: Opener, ann: Memory, folder: str, clock: FixedClock
) -> None:
    issued(ann, folder, terms_of("calls=3"))
    bob = opener("bob")
    subscribe(bob, "bees", folder)
    clock.advance(60)
    assert bob.as_of(clock.now()).search("hive").hits
    assert subscriptions(bob)[0].used == 1


def test_a_memory_that_cannot_count_gives_nothing_that_is_counted(ann: Memory, folder: str, tmp_path: Path) -> None:
    issued(ann, folder, terms_of("calls=3"))
    with Memory.open(tmp_path / "b.db", user="bob", space="got") as bob:
        subscribe(bob, "bees", folder)
        bob.add("My own hive.")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(bob.store.engine), "is_read_only", property(lambda _: True))
            found = bob.search("hive")
        assert [hit.cube.text for hit in found.hits] == ["My own hive."]
        assert "left out" in found.notes[-1]


@pytest.mark.skipif(find_spec("sqlcipher3") is None, reason="needs a cipher")
def test_a_space_with_a_key_of_its_own_subscribes(ann: Memory, folder: str, tmp_path: Path) -> None:
    issued(ann, folder, terms_of("calls=2"))
    with Memory.open(tmp_path / "b.db", user="bob", key=b"k" * 32) as bob:
        bob.own_key(space="ward")
        ward = bob.at(space="ward")
        assert subscribe(ward, "bees", folder).created == 3
        assert ward.search("hive").hits
        assert pull(bob) == (Pulled("bees", "1", "1"),)
        assert ward.recall("hive").hits
        assert not texts(ward)
        unpublish(ann, "bees", folder)
        assert pull(bob)[0].withdrawn
        bob.shred(space="ward")
        assert "shredded" in pull(bob)[0].problem


KILLED = """
import os, sys
import pinyon.store.registry, pinyon.subscribing, pinyon.licences
from pinyon import Memory, sharing, subscribing
step, what, folder, path = int(sys.argv[1]), *sys.argv[2:]
seen = 0
def count(frame, event, arg):
    global seen
    name = frame.f_code.co_filename
    if event == "call" and name.endswith((f"pinyon{os.sep}subscribing.py", f"store{os.sep}registry.py",
                                          f"pinyon{os.sep}licences.py", f"store{os.sep}_archive_take.py",
                                          f"pinyon{os.sep}sharing.py", f"pinyon{os.sep}files.py")):
        seen += 1
        if seen == step:
            os._exit(9)
with Memory.open(path, user="ann" if what == "publish" else "bob", space="s") as memory:
    sys.setprofile(count)
    sharing.publish(memory, "s", folder, name="n") if what == "publish" else subscribing.pull(memory)
    sys.setprofile(None)
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["publish", "pull"])
def test_a_process_that_is_killed_anywhere_leaves_nothing_half(what: str, tmp_path: Path) -> None:
    folder, ours, theirs = str(tmp_path / "r"), tmp_path / "a.db", tmp_path / "b.db"
    with Memory.open(ours, user="ann", space="s") as ann, Memory.open(theirs, user="bob", space="s") as bob:
        ann.add("one")
        ann.add("two")
        publish(ann, "s", folder, name="n")
        subscribe(bob, "n", folder)
        ann.add("three")
        if what == "pull":
            publish(ann, "s", folder, name="n")
    step, code = 1, 9
    while code == 9:
        code = subprocess.run(
            [sys.executable, "-c", KILLED, str(step), what, folder, str(ours if what == "publish" else theirs)],
            check=False,
        ).returncode
        with Memory.open(theirs, user="bob", space="s") as bob:
            registry("check", folder)
            assert {"one", "two"} <= texts(bob) <= {"one", "two", "three"}
            assert bob.verify().is_sound
        step += 17
    assert code == 0
    assert step > 30
    with Memory.open(theirs, user="bob", space="s") as bob:
        pull(bob)
        assert texts(bob) == {"one", "two", "three"}
