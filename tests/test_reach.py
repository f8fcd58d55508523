"""An embedder that is out of reach takes nothing from a memory but its own vectors."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from fading import Fading

from pinyon import Memory, Note
from pinyon.models import CallableEmbedder, StaticEmbedder
from pinyon.reach import Reach
from pinyon.store import MemoryEngine


def test_an_embedder_that_failed_is_left_alone_for_a_while() -> None:
    now, embedder = [0.0], Fading(is_down=True)
    reach = Reach(MemoryEngine(), embedder, lambda: now[0])
    assert reach.question("bees") is None
    assert reach.failure == "the endpoint is down"
    now[0] = 14.0
    assert reach.question("bees") is None
    assert embedder.asked == 1
    now[0], embedder.is_down = 16.0, False
    assert reach.question("bees") is not None
    assert reach.failure == ""


@pytest.mark.parametrize("error", [ConnectionError("refused"), ValueError(), KeyError("data")])
def test_whatever_an_embedder_raises_is_one_sentence(error: Exception) -> None:
    def broken(texts: list[str]) -> object:
        raise error

    reach = Reach(MemoryEngine(), CallableEmbedder(broken, fingerprint="broken", dimensions=2))
    assert reach.question("bees") is None
    assert type(error).__name__ in reach.failure


@pytest.fixture(params=["memory", "file"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ":memory:" if request.param == "memory" else str(tmp_path / "m.db")


def test_every_verb_works_with_an_embedder_that_never_answered(path: str, caplog: pytest.LogCaptureFixture) -> None:
    with Memory.open(path, embedder=Fading(is_down=True)) as memory:
        assert memory.search("anything").hits == ()
        memory.add("The hives stand behind the mill.")
        assert memory.search("hives").hits[0].cube.text == "The hives stand behind the mill."
        assert memory.recall("hives").hits
        assert memory.ask("Where are the hives?").is_known
        with pytest.raises(RuntimeError, match="the endpoint is down"):
            memory.catch_up()
        stats = memory.stats()
        assert (stats.pending, stats.embedder) == (1, StaticEmbedder().fingerprint)
        assert stats.detail == {"chosen_embedder": "fading-1", "embedder_failure": "the endpoint is down"}
        said = "vectors are lacking for 1 of the memories: the endpoint is down"
        assert memory.check() == [said]
        assert said in memory.search("hives").notes
        assert memory.reindex() == 1
    assert all(record.exc_info is None for record in caplog.records if record.levelno > logging.DEBUG)


def test_vectors_that_are_no_numbers_are_told_of() -> None:
    bad = CallableEmbedder(lambda texts: np.full((len(texts), 4), np.nan), fingerprint="bad", dimensions=4)
    with Memory.open(":memory:", embedder=bad) as memory:
        memory.add("The hives stand behind the mill.")
        with pytest.raises(RuntimeError, match="NaN"):
            memory.catch_up()
        assert memory.stats().pending == 1
        assert "NaN" in memory.check()[0]


def test_with_all_vectors_an_embedder_may_go(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with Memory.open(path, embedder=Fading()) as memory:
        memory.add_many(Note(f"note {n} on subject{n}") for n in range(30))
        memory.catch_up()
    gone = Fading(is_down=True)
    with Memory.open(path, embedder=gone) as memory:
        stats = memory.stats()
        assert (stats.embedder, stats.pending, gone.asked) == ("fading-1", 0, 0)
        assert memory.check() == []
        found = memory.search("subject7", k=1)
        assert found.hits[0].cube.text == "note 7 on subject7"
        note = "searched by words and the static vectors, for the embedder is out of reach: the endpoint is down"
        assert found.notes == (note,)
        assert memory.search("subject8", k=1).hits[0].cube.text == "note 8 on subject8"
        assert memory.ask("What is said on subject9?").citations
        assert gone.asked == 1  # it is left alone after that
        memory.add("one more on otters")
        assert memory.search("otters", k=1).hits[0].cube.text == "one more on otters"


def test_in_a_large_memory_words_alone_answer_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinyon.searching._SOON", 5)
    embedder = Fading()
    with Memory.open(":memory:", embedder=embedder) as memory:
        memory.add_many(Note(f"note {n} on subject{n} told in May") for n in range(10))
        memory.catch_up()
        assert memory.search("subject7").notes == ()
        embedder.is_down = True
        for question in ("subject7", "what was told on subject7 two days after the note on subject3?"):
            found = memory.search(question, k=3)
            assert "note 7 on subject7 told in May" in [hit.cube.text for hit in found.hits]
            assert found.notes[0].startswith("searched by words alone, ")


def test_what_failed_is_known_to_the_next_process_until_it_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with Memory.open(path, embedder=Fading(is_down=True)) as memory:
        memory.add("The hives stand behind the mill.")
        with pytest.raises(RuntimeError):
            memory.catch_up()
    after = Fading()
    with Memory.open(path, embedder=after) as memory:
        memory.catch_up()
        assert memory.check() == []
        assert memory.stats().detail == {}
        assert memory.stats().embedder == "fading-1"
