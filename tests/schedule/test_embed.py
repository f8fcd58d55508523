"""Vectors are made in the background; why they are not is one line and is kept."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from importlib.util import find_spec

import pytest
from fading import Fading

from pinyon import Memory
from pinyon.core.cube import Draft
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.errors import BadInput, ModelError
from pinyon.models import StaticEmbedder
from pinyon.schedule import EmbedJob, ItemFailed, Spreading, last_failure
from pinyon.store import MemoryEngine, Store
from pinyon.testing import HashEmbedder

NOW = datetime(2024, 5, 1, tzinfo=UTC)


def engine_of(count: int) -> MemoryEngine:
    engine = MemoryEngine()
    Store(engine).put([Draft(Text(f"note {n}")) for n in range(count)], owner=Scope(), space="main", now=NOW)
    return engine


def test_why_it_failed_is_kept_until_it_succeeds() -> None:
    engine, embedder = engine_of(3), Fading(is_down=True)
    job = EmbedJob(engine, embedder)
    with pytest.raises(ModelError):
        job.run()
    assert last_failure(engine, embedder) == "the endpoint is down"
    assert last_failure(engine, HashEmbedder()) == ""  # another one has not failed
    embedder.is_down = False
    assert job.run() == 3
    assert last_failure(engine, embedder) == ""


def test_a_failure_in_the_background_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    engine, told = engine_of(1), threading.Event()

    class Told(Fading):
        def embed(self, texts: object) -> object:  # type: ignore[override]
            try:
                return super().embed(texts)  # type: ignore[arg-type]
            finally:
                told.set()

    job = EmbedJob(engine, Told(is_down=True))  # type: ignore[arg-type]
    with caplog.at_level(logging.INFO):
        job.start()
        assert told.wait(10)
        job.stop()
    assert all("\n" not in record.getMessage() and record.exc_info is None for record in caplog.records)
    assert last_failure(engine, Fading()) == "the endpoint is down"


def test_stopping_interrupts_an_embedder_that_waits_for_its_endpoint() -> None:
    begun, interrupted = threading.Event(), threading.Event()

    class Waiting(HashEmbedder):
        def embed(self, texts: object) -> object:  # type: ignore[override]
            begun.set()
            assert interrupted.wait(20)
            raise ModelError("interrupted")

        def interrupt(self) -> None:
            interrupted.set()

    engine = engine_of(1)
    job = EmbedJob(engine, Waiting(is_instant=False))
    job.start()
    assert begun.wait(10)
    job.stop()
    assert interrupted.is_set()
    assert len(engine.missing_vectors(HashEmbedder().fingerprint, 5)) == 1


def vectors_of(engine: MemoryEngine, name: str) -> dict[int, bytes]:
    found = engine.vectors(name, list(range(1, 200)))
    return {int(row): data.tobytes() for row, data in zip(found.rows, found.data, strict=True)}


def compared(over: Spreading, made_of: object = HashEmbedder()) -> None:
    here, spread_out, told = engine_of(150), engine_of(150), []
    embedder = HashEmbedder() if isinstance(made_of, HashEmbedder) else StaticEmbedder()
    EmbedJob(here, embedder).run()
    assert EmbedJob(spread_out, embedder).run_spread(made_of, over, 2, told.append) == 150  # type: ignore[arg-type]
    assert told == [64, 64, 22]
    one, other = vectors_of(here, embedder.fingerprint), vectors_of(spread_out, embedder.fingerprint)
    assert len(one) == 150
    assert one == other


@pytest.mark.parametrize("made_of", [HashEmbedder(), "static"], ids=["itself", "word"])
def test_other_processes_make_the_same_vectors(made_of: object) -> None:
    compared("here", made_of)
    if made_of == "static":
        compared("process", made_of)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # ray warns of its own
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_a_cluster_makes_the_same_vectors() -> None:
    compared("ray")


def test_a_worker_that_makes_another_embedder_writes_nothing() -> None:
    engine = engine_of(3)
    with pytest.raises(ItemFailed, match="was wanted") as caught:
        EmbedJob(engine, HashEmbedder()).run_spread("static", "here")
    assert "note" not in caught.value.message  # no content in a message
    assert len(engine.missing_vectors(HashEmbedder().fingerprint, 9)) == 3


def test_a_memory_catches_up_in_other_processes() -> None:
    with Memory.open(":memory:", embedder=HashEmbedder(is_instant=False)) as memory:
        memory.store.put([Draft(Text("a note"))], owner=Scope(), space="main", now=NOW)
        assert memory.catch_up(over="process", workers=1) == 1


def test_a_memory_with_an_endpoint_does_not_catch_up_in_other_processes() -> None:
    pytest.importorskip("httpx")
    far = "openai:some-model@http://127.0.0.1:9/v1"
    with Memory.open(":memory:", embedder=far) as memory, pytest.raises(BadInput, match="endpoint"):
        memory.catch_up(over="process")
