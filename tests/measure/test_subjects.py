from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from doubles import OTHER, PASSAGES, QUESTION
from hypothesis import given, settings
from hypothesis import strategies as st

from pinyon.errors import BadInput, MissingExtra, ModelError, NotFound
from pinyon.measure.registry import (
    MEASURES,
    NOWHERE,
    SUBJECTS,
    Choices,
    Places,
    check,
    measure_called,
    subject_called,
)
from pinyon.measure.session import ItemLog, MeasureBudget
from pinyon.measure.subject import Passage, Subject
from pinyon.measure.subjects import (
    BM25,
    Dense,
    FullContext,
    Hybrid,
    LastTokens,
    PinyonMemory,
    Random,
    Rival,
)
from pinyon.measure.subjects.shown import introduced
from pinyon.testing import HashEmbedder

RIVAL = """
def version():
    return "1.2"

def prepare():
    print("a library says something")

def open_store(folder, embed, dimensions):
    (folder / "file").write_bytes(b"12345")
    return Store(embed)

class Store:
    def __init__(self, embed):
        self.embed, self.rows = embed, {}

    def add(self, space, passages):
        for passage, row in zip(passages, self.embed([p["shown"] for p in passages])):
            if "crash" in passage["text"]:
                raise SystemExit("I crash")
            if "refuse" in passage["text"]:
                raise ValueError("I refuse")
            self.rows.setdefault(space, []).append((passage["id"], row))

    def search(self, space, question, k):
        query = self.embed([question])[0]
        found = [(id, sum(a * b for a, b in zip(row, query))) for id, row in self.rows.get(space, [])]
        return sorted(found, key=lambda pair: -pair[1])[:k]
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "double.py"
    path.write_text(RIVAL, encoding="utf-8")
    return path


@pytest.fixture(params=["pinyon", "full", "last", "bm25", "dense", "hybrid", "random", "rival"])
def subject(request: pytest.FixtureRequest, tmp_path: Path, script: Path) -> Iterator[Subject]:
    made: Subject
    if request.param == "rival":
        made = Rival("double", Path(sys.executable), tmp_path / "store", embedder=HashEmbedder(), script=script)
    elif request.param == "pinyon":
        made = PinyonMemory(tmp_path, embedder=HashEmbedder())
    else:
        made = subject_called(request.param, tmp_path / "store", NOWHERE)
    yield made
    made.close()


def test_every_subject_keeps_spaces_apart_and_gives_each_passage_once(subject: Subject) -> None:
    subject.add("a", PASSAGES[:2])
    subject.add("b", OTHER)
    subject.add("a", PASSAGES[2:])
    found = [hit.id for hit in subject.search("a", QUESTION, 10)]
    assert set(found) <= {"1", "2", "3", "4"}
    assert len(found) == len(set(found)) > 0
    assert len(subject.search("a", QUESTION, 2)) <= 2
    assert [hit.score for hit in subject.search("a", QUESTION, 4)] == sorted(
        (hit.score for hit in subject.search("a", QUESTION, 4)), reverse=True
    )


def test_every_subject_recalls_within_its_budget_what_it_says_it_does(subject: Subject) -> None:
    subject.add("a", PASSAGES)
    context = subject.recall("a", QUESTION, 45)
    if subject.name != "full context":
        assert context.tokens <= 45
    assert context.ids
    for passage in PASSAGES:
        assert (passage.text in context.text) == (passage.id in context.ids)


def test_every_subject_tells_what_it_holds(subject: Subject) -> None:
    subject.add("a", PASSAGES)
    held = subject.footprint()
    assert held.memory_bytes >= 0
    assert (held.disk_bytes > 0) == (subject.name in ("pinyon", "double"))


def test_the_controls_that_look_at_words_find_them() -> None:
    for control in (BM25(), Dense(), Hybrid()):
        control.add("a", PASSAGES)
        assert control.search("a", QUESTION, 1)[0].id == "1"


def test_the_last_tokens_are_the_last_and_the_whole_is_whole() -> None:
    last, full = LastTokens(), FullContext()
    for control in (last, full):
        control.add("a", PASSAGES)
    assert [hit.id for hit in last.search("a", QUESTION, 2)] == ["4", "3"]
    assert full.recall("a", QUESTION, 1).ids == ("1", "2", "3", "4")


def test_chance_depends_on_seed_and_question_alone() -> None:
    many = [Passage(str(number), f"text {number}") for number in range(50)]

    def drawn(seed: int, question: str) -> list[str]:
        control = Random(seed)
        control.add("a", many)
        return [hit.id for hit in control.search("a", question, 50)]

    assert drawn(1, "x") == drawn(1, "x")
    assert drawn(1, "x") != drawn(2, "x")
    assert drawn(1, "x") != drawn(1, "y")


def test_an_id_is_taken_once() -> None:
    control = BM25()
    control.add("a", PASSAGES)
    with pytest.raises(BadInput, match="holds a passage '1' already"):
        control.add("a", PASSAGES[:1])


words = st.lists(st.sampled_from("bee mill key shed moon river stone".split()), min_size=1, max_size=8).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(st.lists(words, min_size=1, max_size=12), words)
def test_bm25_is_its_formula(texts: list[str], question: str) -> None:
    control = BM25(k1=1.5, b=0.6)
    control.add("a", [Passage(str(place), text) for place, text in enumerate(texts)])
    split = [control.terms(text) for text in texts]
    mean = sum(map(len, split)) / len(split)
    for place, score in enumerate(control.scores("a", question)):
        wanted = 0.0
        for term in control.terms(question):
            holding = sum(term in terms for terms in split)
            weight = math.log(1 + (len(split) - holding + 0.5) / (holding + 0.5))
            count = Counter(split[place])[term]
            wanted += weight * count * 2.5 / (count + 1.5 * (1 - 0.6 + 0.6 * len(split[place]) / mean))
        assert score == pytest.approx(wanted)


def test_fusion_adds_the_reciprocal_ranks_of_both_legs() -> None:
    bm25, dense, hybrid = BM25(), Dense(), Hybrid()
    for control in (bm25, dense, hybrid):
        control.add("a", PASSAGES)
    ranks = [{hit.id: place for place, hit in enumerate(c.search("a", QUESTION, 4), 1)} for c in (bm25, dense)]
    for hit in hybrid.search("a", QUESTION, 4):
        assert hit.score == pytest.approx(sum(1 / (60 + rank[hit.id]) for rank in ranks))


def test_pinyon_finds_and_quotes_without_the_numbers_of_citations(tmp_path: Path) -> None:
    memory = PinyonMemory(tmp_path)
    memory.add("a", PASSAGES)
    memory.add("a", [Passage("5", "The ferry leaves at nine.")])  # neither speaker nor role: a note
    assert memory.search("a", QUESTION, 1)[0].id == "1"
    assert memory.search("a", "When does the ferry leave?", 1)[0].id == "5"
    answer = memory.ask("a", "When does the ferry leave?")
    assert answer is not None
    assert "nine" in answer
    assert "[1]" not in answer
    memory.close()


# --- rivals --------------------------------------------------------------------------------------------------------


def test_a_rival_gets_the_same_vectors_as_everybody(script: Path, tmp_path: Path) -> None:
    rival = Rival("double", Path(sys.executable), tmp_path / "store", script=script)
    dense = Dense()
    for one in (rival, dense):
        one.add("a", PASSAGES)
    for theirs, ours in zip(rival.search("a", QUESTION, 4), dense.search("a", QUESTION, 4), strict=True):
        assert (theirs.id, theirs.score) == (ours.id, pytest.approx(ours.score, abs=1e-5))
    assert rival.version == "1.2"
    assert rival.footprint().disk_bytes == 5
    rival.close()


def test_what_a_rival_says_reaches_whoever_asked(script: Path, tmp_path: Path) -> None:
    rival = Rival("double", Path(sys.executable), tmp_path / "store", embedder=HashEmbedder(), script=script)
    with pytest.raises(ModelError, match="double: ValueError: I refuse"):
        rival.add("a", [Passage("1", "please refuse this")])
    rival.add("a", PASSAGES[1:])  # it lives on
    with pytest.raises(ModelError, match="double has ended: I crash"):
        rival.add("a", [Passage("8", "please crash now")])
    rival.close()


def test_a_rival_without_an_environment_is_named_with_the_way_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match=r"python benchmarks/rivals.py mem0"):
        subject_called("mem0", tmp_path / "x", Places(rivals=tmp_path))
    with pytest.raises(MissingExtra, match=r"python benchmarks/rivals.py mem0`"):  # which both ways of mem0 share
        check((), ("mem0-llm",), Places(rivals=tmp_path), Choices(writer="openai:x@http://host/v1"))
    with pytest.raises(BadInput, match="--rivals"):
        check((), ("mem0",), NOWHERE)


def test_a_rival_that_is_given_a_model_passes_it_on(script: Path, tmp_path: Path) -> None:
    text = script.read_text(encoding="utf-8").replace(
        "(folder, embed, dimensions)", "(folder, embed, dimensions, writer)"
    )
    script.write_text(text.replace('b"12345"', "writer['model'].encode()"), encoding="utf-8")
    writer = {"model": "small", "base_url": "http://host/v1", "api_key": "key"}
    rival = Rival(
        "double", Path(sys.executable), tmp_path / "store", embedder=HashEmbedder(), script=script, writer=writer
    )
    assert rival.version == "1.2 with small"
    assert (tmp_path / "store" / "file").read_text(encoding="utf-8") == "small"
    rival.close()


@pytest.mark.parametrize("writer", [None, "anthropic:x", "openai:x"])
def test_a_rival_that_writes_with_a_model_needs_one(writer: str | None, tmp_path: Path) -> None:
    (tmp_path / "mem0" / "bin").mkdir(parents=True)
    (tmp_path / "mem0" / "bin" / "python").touch()
    with pytest.raises(BadInput, match=r"needs one|is no endpoint"):
        check((), ("mem0-llm",), Places(rivals=tmp_path), Choices(writer=writer))


MEM0 = """
class Memory:
    rows = []

    @classmethod
    def from_config(cls, config):
        memory = cls()
        memory.llm = config.get("llm")
        return memory

    def add(self, messages, user_id, infer=True, metadata=None):
        assert not any(letter.isspace() for letter in user_id)
        assert infer == (self.llm is not None)
        for message in messages:
            said = message["content"].split(". ") if infer else [message["content"]]
            self.rows += [(user_id, one, metadata) for one in said]

    def search(self, question, top_k, filters, threshold):
        words = set(question.lower().split())
        here = [row for row in self.rows if row[0] == filters["user_id"]]
        here.sort(key=lambda row: -len(words & set(row[1].lower().strip(".").split())))
        return {"results": [{"memory": one, "score": 1.0, "metadata": more} for _, one, more in here[:top_k]]}
"""


@pytest.mark.parametrize("has_model", [False, True])
def test_mem0_takes_spaces_with_blanks_and_its_memories_are_traced_to_passages(
    has_model: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mem0.py").write_text(MEM0, encoding="utf-8")
    (tmp_path / "mem0ai-9.9.dist-info").mkdir()
    (tmp_path / "mem0ai-9.9.dist-info" / "METADATA").write_text("Name: mem0ai\nVersion: 9.9\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # the library's place is taken by a double
    writer = {"model": "small", "base_url": "http://host/v1", "api_key": "key"} if has_model else None
    rival = Rival(
        "mem0-llm" if has_model else "mem0", Path(sys.executable), tmp_path / "store", embedder=HashEmbedder(),
        writer=writer,
    )  # fmt: skip
    several = Passage("many", "I keep bees. I keep hens. I keep goats and sheep.")
    rival.add("a space", [*PASSAGES, several])
    rival.add("a", OTHER)
    assert next(hit.id for hit in rival.search("a space", "keep goats and sheep", 3)) == "many"
    found = [hit.id for hit in rival.search("a space", "who keep bees", 5)]
    assert sorted(found) == ["1", "2", "3", "4", "many"]  # each once, however many memories were written of it
    assert [hit.id for hit in rival.search("a", "bees", 5)] == ["9"]
    assert rival.name == ("mem0 (infer=True)" if has_model else "mem0 (infer=False)")
    rival.close()


# --- names ---------------------------------------------------------------------------------------------------------


def test_names_are_unique_and_one_word() -> None:
    for table in (MEASURES, SUBJECTS):
        names = [known.name for known in table]
        assert len(set(names)) == len(names)
        assert all(" " not in name for name in names)


def test_a_name_that_is_not_known_is_answered_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no measure 'lokomo'"):
        measure_called("lokomo", NOWHERE)
    with pytest.raises(NotFound, match="pinyon, pinyon-bm25"):
        subject_called("pinion", tmp_path, NOWHERE)
    with pytest.raises(NotFound, match=r"defines no 'Nobody'"):
        subject_called(f"{Path(__file__).with_name('doubles.py')}:Nobody", tmp_path, NOWHERE)
    with pytest.raises(NotFound, match=r"no file 'nowhere.py'"):
        subject_called("nowhere.py:Good", tmp_path, NOWHERE)


def test_a_class_gets_the_folder_only_where_it_has_a_parameter_of_that_name(tmp_path: Path) -> None:
    doubles = Path(__file__).with_name("doubles.py")
    assert subject_called(f"{doubles}:WithOptions", tmp_path, NOWHERE).name == "with options"
    assert subject_called(f"{doubles}:WithFolder", tmp_path / "x", NOWHERE).name == "with folder"
    assert (tmp_path / "x" / "file").read_text(encoding="utf-8") == "xxx"


def test_sizes_reach_the_measures_that_have_them() -> None:
    for name in ("needles", "convomem"):
        measure = measure_called(name, NOWHERE, Choices(sizes=(5, 9)))
        log = ItemLog()
        measure.run(BM25(), MeasureBudget(items=2), log)
        sizes = {re.split(r"[ @]", item.key)[0 if name == "needles" else 1] for item in log.items}
        assert sizes <= {"5", "9"}
        assert sizes


def test_passages_are_shown_with_day_session_and_speaker() -> None:
    assert introduced(PASSAGES[0]) == "[1 May 2024, session 1] Ann: I keep bees behind the old mill."
    assert introduced(Passage("1", "x", role="user")) == "user: x"
    assert introduced(Passage("1", "x")) == "x"
