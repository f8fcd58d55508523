"""The index is derived: built again, loaded again or seen by another caller, it gives the same answers."""

from __future__ import annotations

import math
import random
import shutil
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from pinyon.core.cube import Cube, Draft
from pinyon.core.header import Header, Life, Provenance
from pinyon.core.payload import State, Text
from pinyon.core.scope import Scope
from pinyon.core.where import View, Where
from pinyon.index import Analyzer, FuseConfig, LexicalConfig, Ranking, SearchIndex, index_text
from pinyon.store import MemoryEngine, Store
from pinyon.testing import HashEmbedder

NOW = datetime(2024, 5, 1, tzinfo=UTC)
EMBEDDER = HashEmbedder(16)
WORDS = "bees mill river old blue door winter boat letter garden stone lamp road field bread running café 蜜蜂".split()
USERS = (Scope(), Scope(user="ann"), Scope(user="bob"), Scope(user="ann", agent="bot"), Scope("t", "ann"))
ALL = 10_000
EVERY = ("generated", "activated", "merged", "frozen", "archived", "expired")


def question(chance: random.Random) -> str:
    names = ["Ann", "Bob Stone", "the", "2024"]
    return " ".join(chance.choices(WORDS + names, k=chance.randint(1, 5)))


def draft(chance: random.Random) -> Draft:
    unit = chance.choice(["note", "turn", "turn", "chunk"])
    place = Provenance(
        unit=unit,  # type: ignore[arg-type]
        thread=None if unit == "note" else chance.choice(["t1", "t2"]),
        position=chance.choice([None, None, None, chance.randrange(80)]),
        section=chance.choice([(), ("One",), ("One", "Two")]) if unit == "chunk" else (),
        speaker=chance.choice([None, "Ann", "Bob Stone"]),
        source=chance.choice([None, "a/notes.md"]),
    )
    life = Life(valid_from=chance.choice([None, NOW]), state=chance.choice(["generated"] * 8 + ["archived"]))
    text = " ".join(chance.choices(WORDS, k=chance.randint(1, 12)))
    payload = Text(text) if chance.random() < 0.97 else State((), {"text": text})
    return Draft(payload, Header(provenance=place, life=life), session=chance.choice([None, "s1", "s2"]))


def embed(cubes: object) -> tuple[str, np.ndarray]:
    texts = [index_text(cube) for cube in cubes]  # type: ignore[attr-defined]
    return EMBEDDER.fingerprint, EMBEDDER.embed(texts).astype(np.float16)


class World:
    """A store with owners, in which things happen."""

    def __init__(self, seed: int) -> None:
        self.store = Store(MemoryEngine())
        self.chance = random.Random(seed)
        self.cubes: dict[str, Cube] = {}

    def index(self, folder: Path | None = None) -> SearchIndex:
        made = SearchIndex(
            self.store.engine,
            analyzer=Analyzer(),
            embedder=EMBEDDER.fingerprint,
            dimensions=EMBEDDER.dimensions,
            folder=folder,
        )
        made.follow()
        return made

    def put(self, drafts: list[Draft], owner: Scope, *, is_embedded: bool = True) -> None:
        placed = self.store.put(drafts, owner=owner, space="main", now=NOW, embed=embed if is_embedded else None)
        self.cubes.update((p.cube.id, p.cube) for p in placed)

    def step(self) -> None:
        """Let one random thing happen."""
        chance = self.chance
        what = chance.choice(["put", "put", "put", "update", "update", "archive", "forget"])
        if what == "put" or not self.cubes:
            drafts = [draft(chance) for _ in range(chance.randint(1, 6))]
            self.put(drafts, chance.choice(USERS), is_embedded=chance.random() < 0.8)
            return
        cube = self.cubes[chance.choice(sorted(self.cubes))]
        view = View(cube.owner, (cube.space,), Where(states=EVERY))
        if what == "forget":
            self.store.remove([cube.id], view=view, actor=cube.owner, now=NOW)
            del self.cubes[cube.id]
            return

        def change(old: Cube) -> Cube:
            if what == "archive":
                state = "archived" if old.header.life.state == "generated" else "generated"
                return replace(old, header=replace(old.header, life=replace(old.header.life, state=state)))
            return replace(old, payload=draft(chance).payload)

        self.cubes[cube.id] = self.store.update(
            cube.id, change, view=view, actor=cube.owner, now=NOW, embed=embed if what == "update" else None
        )


def ask(index: SearchIndex, text: str, view: View) -> Ranking:
    return index.search(text, vector=EMBEDDER.embed_query(text), view=view, k=ALL)


def assert_alike(one: Ranking, other: Ranking) -> None:
    """Compare two rankings: same cubes, same scores and legs, same order wherever scores differ, same counts."""
    assert one.considered == other.considered
    assert dict(one.terms) == dict(other.terms)
    a, b = ({found.row: found for found in ranking.found} for ranking in (one, other))
    assert a.keys() == b.keys()
    for key in a:
        assert a[key].score == pytest.approx(b[key].score, abs=1e-6)
        assert a[key].legs.keys() == b[key].legs.keys()
        for leg, said in a[key].legs.items():
            assert said.score == pytest.approx(b[key].legs[leg].score, abs=1e-5)
    for ranking in (one, other):
        scores = [found.score for found in ranking.found]
        assert scores == sorted(scores, reverse=True)
    assert [f.score for f in one.found] == pytest.approx([f.score for f in other.found], abs=1e-6)


def assert_same_answers(world: World, one: SearchIndex, other: SearchIndex, number: int = 6) -> None:
    assert len(one) == len(other)
    assert one.lacking == other.lacking
    for _ in range(number):
        where = world.chance.choice([Where(), Where(), Where(speaker="Ann"), Where(session="s1"), Where(thread="t1")])
        view = View(world.chance.choice(USERS), ("main",), where)
        text = question(world.chance)
        assert_alike(ask(one, text, view), ask(other, text, view))


# --- law 3: rebuilt equals live ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_an_index_built_from_the_journal_equals_the_live_one(seed: int) -> None:
    world = World(seed)
    live = world.index()
    for number in range(40):
        world.step()
        if world.chance.random() < 0.7:
            live.follow()
        if number % 8 == 7:
            live.follow()
            assert_same_answers(world, live, world.index())


def test_equal_scores_keep_one_order_however_the_index_was_built() -> None:
    world = World(0)
    live = world.index()
    world.put([Draft(Text(f"bees {letter}")) for letter in "xyz"], USERS[0])
    live.follow()
    first = next(cube for cube in world.cubes.values() if cube.text == "bees x")
    world.store.update(
        first.id, lambda old: replace(old, payload=Text("bees w")), view=View(), actor=USERS[0], now=NOW, embed=embed
    )
    live.follow()
    words = [[f.row for f in i.search("bees", vector=None, view=View()).found] for i in (live, world.index())]
    assert words[0] == words[1]


# --- law 1: what cannot be seen does not matter --------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(15))
def test_cubes_of_others_change_nothing_in_an_answer(seed: int) -> None:
    """A world with everybody's cubes and one with only those that a caller may see answer alike."""
    chance = random.Random(seed)
    caller = chance.choice(USERS)
    whole, mine = World(seed), World(seed)
    for _ in range(chance.choice([3, 12, 40])):
        owner, made = chance.choice(USERS), [draft(chance) for _ in range(chance.randint(1, 5))]
        for world in [whole, mine] if caller.sees(owner) else [whole]:
            world.put(made, owner)
    one, other = whole.index(), mine.index()
    ids = [
        {row: cube.id for row, cube in world.store.engine.by_rows(range(1, 2000)).items()} for world in (whole, mine)
    ]
    for _ in range(8):
        text = question(chance)
        a, b = ask(one, text, View(caller)), ask(other, text, View(caller))
        rows = {id: row for row, id in ids[0].items()}
        assert_alike(a, replace(b, found=tuple(replace(found, row=rows[ids[1][found.row]]) for found in b.found)))


@pytest.mark.parametrize("seed", range(5))
def test_no_answer_holds_what_the_caller_may_not_see(seed: int) -> None:
    world = World(seed)
    for _ in range(40):
        world.step()
    index = world.index()
    for caller in USERS:
        view = View(caller)
        admitted = set(world.store.engine.rows(view).tolist())
        text = question(world.chance)
        ranking = ask(index, text, view)
        assert {found.row for found in ranking.found} <= admitted
        assert ranking.considered <= len(admitted)


# --- words: a slow reference ---------------------------------------------------------------------------------------


def reference(cubes: list[Cube], view: View, text: str) -> tuple[dict[int, dict[str, float]], dict[int, float]]:
    """Return the score of each granularity, and their sum, for every admitted cube: BM25 by its definition."""
    config, analyzer = LexicalConfig(), Analyzer()
    words = {cube.row: Counter(analyzer.terms(index_text(cube))) for cube in cubes}
    size = {row: sum(count.values()) for row, count in words.items()}
    admitted = [cube for cube in cubes if view.admits(cube)]
    rows = {cube.row for cube in admitted}
    threads: dict[object, list[Cube]] = defaultdict(list)
    for cube in cubes:
        p = cube.header.provenance
        if p.unit == "turn" and p.thread is not None and cube.header.life.state in Where().states:
            threads[thread_of(cube)].append(cube)
    beside: dict[int, tuple[list[int], int]] = {}
    for members in threads.values():
        ordered = [c.row for c in sorted(members, key=lambda c: (c.header.provenance.position or 0, c.row))]
        beside.update((row, (ordered, place)) for place, row in enumerate(ordered))

    def window(row: int, radius: int) -> list[int]:
        ordered, place = beside.get(row, ([row], 0))
        return [r for r in ordered[max(0, place - radius) : place + radius + 1] if r in rows]

    sections: dict[object, list[int]] = defaultdict(list)
    for cube in admitted:
        if cube.header.provenance.thread is not None:
            sections[section_of(cube)].append(cube.row)
    mean = max(1.0, sum(size[row] for row in rows) / max(1, len(rows)))
    in_sections = {name: sum(size[row] for row in members) for name, members in sections.items()}
    mean_section = max(1.0, sum(in_sections.values()) / max(1, len(in_sections)))

    def bm25(members: list[int], length: float, mean_length: float) -> float:
        total = 0.0
        for term, times in Counter(analyzer.terms(text)).items():
            holding = sum(1 for row in rows if words[row][term])
            if holding:
                idf = math.log(1 + (len(rows) - holding + 0.5) / (holding + 0.5))
                tf = sum(words[row][term] for row in members)
                norm = config.k1 * (1 - config.b + config.b * length / mean_length)
                total += times * idf * tf * (config.k1 + 1) / (tf + norm)
        return total

    legs: dict[int, dict[str, float]] = {}
    for cube in admitted:
        row, near, far = cube.row, window(cube.row, 1), window(cube.row, 2)
        legs[row] = {
            "turn": bm25([row], size[row], mean),
            "window1": bm25(near, sum(size[r] for r in near), 3 * mean),
            "window2": bm25(far, sum(size[r] for r in far), 5 * mean),
            "section": 0.0,
        }
        if legs[row]["window2"] > 0 and cube.header.provenance.thread is not None:
            name = section_of(cube)
            legs[row]["section"] = bm25(sections[name], in_sections[name], mean_section)
    totals = {
        row: said["turn"]
        + config.window1 * said["window1"]
        + config.window2 * said["window2"]
        + config.section * said["section"]
        for row, said in legs.items()
    }
    return legs, totals


def thread_of(cube: Cube) -> object:
    return cube.space, cube.owner.tenant, cube.owner.user, cube.owner.agent, cube.header.provenance.thread


def section_of(cube: Cube) -> object:
    """A session; or 32 turns of an endless conversation; or 32 chunks under one heading."""
    p = cube.header.provenance
    if p.unit == "turn":
        return thread_of(cube) if cube.owner.session is not None else (thread_of(cube), (p.position or 0) // 32)
    return thread_of(cube), p.section, (p.position or 0) // 32


@pytest.mark.parametrize("size", [1, 7, 63])
@pytest.mark.parametrize("seed", range(4))
def test_words_score_as_the_definition_of_bm25_says(size: int, seed: int) -> None:
    world = World(seed)
    while len(world.cubes) < size:
        world.put([draft(world.chance)], world.chance.choice(USERS[:3]))
    for where in (Where(), Where(speaker="Ann"), Where(states=EVERY)):
        for caller in USERS[:3]:
            assert_as_defined(world, View(caller, ("main",), where), question(world.chance))


@pytest.mark.parametrize("unit", ["turn", "chunk"])
def test_an_endless_thread_is_scored_in_sections_of_32(unit: str) -> None:
    world = World(0)
    header = Header(provenance=Provenance(unit=unit, thread="t"))  # type: ignore[arg-type]
    world.put([Draft(Text(f"{WORDS[n % 7]} {n}"), header, key=str(n)) for n in range(70)], USERS[0])
    for text in WORDS[:7]:
        assert_as_defined(world, View(), text)


def assert_as_defined(world: World, view: View, text: str) -> None:
    cubes = list(world.store.engine.by_rows(range(1, 1000)).values())
    ranking = world.index().search(text, vector=None, view=view, k=ALL)
    legs, totals = reference(cubes, view, text)
    best = max(totals.values(), default=0.0)
    named = named_speakers(text, cubes)
    speakers = {cube.row: cube.header.provenance.speaker for cube in cubes}
    assert {found.row for found in ranking.found} == {row for row, total in totals.items() if total > 0}
    for found in ranking.found:
        bonus = FuseConfig().speaker if speakers[found.row] in named else 0.0
        assert found.score == pytest.approx(totals[found.row] / best + bonus, abs=1e-4)
        for leg in ("turn", "window1", "window2", "section"):
            said = found.legs[leg].score if leg in found.legs else 0.0
            assert said == pytest.approx(legs[found.row][leg], abs=1e-4)


def named_speakers(text: str, cubes: list[Cube]) -> set[str]:
    words = set(text.lower().split())
    speakers = {cube.header.provenance.speaker for cube in cubes} - {None}
    return {name for name in speakers if name and set(name.lower().split()) <= words}


# --- snapshots -----------------------------------------------------------------------------------------------------

MANY = 1100  # above the number from which an index writes itself down


def large(seed: int) -> World:
    world = World(seed)
    for owner in USERS:
        world.put([draft(world.chance) for _ in range(MANY // len(USERS))], owner, is_embedded=owner != USERS[2])
    return world


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    world, folder = large(1), tmp_path_factory.mktemp("written") / "index"
    assert world.index(folder).save()
    return world, folder


@pytest.fixture
def copied(written: tuple[World, Path], tmp_path: Path) -> tuple[World, Path]:
    world, folder = written
    shutil.copytree(folder, tmp_path / "index")
    return world, tmp_path / "index"


def parts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name != "lock")


def test_a_snapshot_with_what_came_after_it_equals_the_live_index(tmp_path: Path) -> None:
    world = large(2)
    live = world.index(tmp_path)
    assert live.save()
    for _ in range(30):
        world.step()
    live.follow()
    assert_same_answers(world, world.index(tmp_path), live)
    assert_same_answers(world, world.index(tmp_path), world.index())


def test_a_snapshot_of_a_snapshot_equals_the_live_index(tmp_path: Path) -> None:
    world = large(3)
    assert world.index(tmp_path).save()
    for _ in range(5):
        world.step()
    for owner in USERS:
        world.put([draft(world.chance) for _ in range(MANY // len(USERS))], owner)
    again = world.index(tmp_path)
    assert again.save()
    assert_same_answers(world, world.index(tmp_path), world.index())


def test_vectors_that_come_after_the_snapshot_are_found(copied: tuple[World, Path]) -> None:
    world, folder = copied
    loaded = world.index(folder)
    assert loaded.lacking == world.index().lacking > 0


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("number", range(3))
def test_a_truncated_snapshot_is_not_believed(copied: tuple[World, Path], number: int, keep: float) -> None:
    world, folder = copied
    path = parts(folder)[number % len(parts(folder))]
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    assert_same_answers(world, world.index(folder), world.index(), 2)


@pytest.mark.parametrize("number", range(3))
def test_a_snapshot_that_lacks_a_file_is_not_believed(copied: tuple[World, Path], number: int) -> None:
    world, folder = copied
    parts(folder)[number % len(parts(folder))].unlink()
    assert_same_answers(world, world.index(folder), world.index(), 2)


@pytest.mark.parametrize("seed", range(8))
def test_a_snapshot_with_changed_bytes_is_not_believed(copied: tuple[World, Path], seed: int) -> None:
    world, folder = copied
    chance = random.Random(seed)
    for path in parts(folder):
        data = bytearray(path.read_bytes())
        for _ in range(chance.choice([1, 50])):
            data[chance.randrange(len(data))] ^= chance.randint(1, 255)
        path.write_bytes(data)
    assert_same_answers(world, world.index(folder), world.index(), 2)


def test_a_single_changed_byte_of_the_entry_is_not_believed(copied: tuple[World, Path]) -> None:
    world, folder = copied
    entry = folder / "CURRENT"
    sound, fresh = entry.read_bytes(), world.index()
    chance = random.Random(0)
    for _ in range(20):
        data = bytearray(sound)
        place = chance.randrange(len(data))
        digit = data[place : place + 1].isdigit()
        data[place] = chance.choice(b"0123456789") if digit else chance.randrange(256)
        entry.write_bytes(data)
        loaded = world.index(folder)
        assert (len(loaded), loaded.lacking) == (len(fresh), fresh.lacking)
        text = question(chance)
        assert_alike(ask(loaded, text, View(USERS[1])), ask(fresh, text, View(USERS[1])))


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "null", "7", '{"manifest": {"lacking": []}}', "\ud83d", "\x00" * 99]
)
def test_an_entry_of_junk_is_not_believed(copied: tuple[World, Path], content: str) -> None:
    world, folder = copied
    (folder / "CURRENT").write_bytes(content.encode("utf-8", "surrogatepass"))
    assert_same_answers(world, world.index(folder), world.index(), 1)


def test_the_snapshot_of_another_store_is_not_believed(copied: tuple[World, Path]) -> None:
    _, folder = copied
    stranger = World(9)
    stranger.put([draft(stranger.chance) for _ in range(20)], USERS[1])
    assert_same_answers(stranger, stranger.index(folder), stranger.index(), 3)


def test_a_snapshot_from_a_later_history_is_not_believed(tmp_path: Path) -> None:
    """A store that was restored from an older copy has the same name and another journal."""
    world, older = large(4), World(5)
    older.store.engine.identity = world.store.engine.identity  # type: ignore[misc]
    older.put([draft(older.chance) for _ in range(1500)], USERS[1])
    assert world.index(tmp_path).save()
    assert_same_answers(older, older.index(tmp_path), older.index(), 3)


def test_a_forgotten_snapshot_leaves_no_file_with_words(copied: tuple[World, Path]) -> None:
    world, folder = copied
    world.index(folder).forget_snapshot()
    assert parts(folder) == []


def test_a_folder_that_cannot_be_written_costs_only_the_snapshot(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    world = large(6)
    index = world.index(tmp_path / "file" / "index")
    assert not index.save()
    assert_same_answers(world, index, world.index(), 2)
