"""Give every text cube its vector, in the background."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from ..core.cube import Cube
from ..errors import ModelError, PinyonError, StoreError
from ..index import index_text
from ..models import Embedder, embedder_from
from ..models.base import Interruptible, Vectors
from ..store import Engine, VectorRows
from .spread import Spreading, spread

__all__ = ["EmbedJob", "last_failure"]

_LOG = logging.getLogger(__name__)
_BATCH = 64  # cubes an embedding call: a second of MiniLM on one core, the longest a stop has to wait
_WINDOW = 16_384  # cubes given out at once to other processes, each of which loads its model once a window
_LAST_S = 5.0  # that a stop waits for an answer over the network; what comes later is asked for again
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 300.0  # between two tries of the background, doubling
_FAILURE = "embedding_failure"  # setting of the store: the fingerprint of an embedder, and what it said


def last_failure(engine: Engine, embedder: Embedder) -> str:
    """Return why the embedder made no vectors the last time it was to, in this process or another; empty when it did.

    Args:
        engine: The store.
        embedder: Whose vectors were to be made.
    """
    said = engine.setting(_FAILURE)
    if not said:
        return ""
    name, sentence = json.loads(said)
    return str(sentence) if name == _name(embedder) else ""


class EmbedJob:
    """Embed what lacks a vector, batch by batch, each in its own transaction; stopping it loses nothing.

    Why it failed is kept in the store until it succeeds, so that any process can say it.

    Args:
        engine: The store.
        embedder: Whose vectors are to be made.
        done: Called when nothing is lacking any more, in the thread of the job.
    """

    def __init__(self, engine: Engine, embedder: Embedder, done: Callable[[], None] | None = None) -> None:
        self._engine = engine
        self._embedder = embedder
        self._done = done
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._writing = threading.Lock()
        self._has_ended = False
        self._thread: threading.Thread | None = None

    def run(self, progress: Callable[[int], object] | None = None) -> int:
        """Embed everything that lacks a vector, in this thread, and return the number of cubes.

        Args:
            progress: Told the number of cubes after each batch.

        Raises:
            ModelError: The embedder failed; what was embedded before stays.
        """
        try:
            total = self._run(progress)
        except StoreError:
            raise
        except Exception as error:
            self._note(_sentence(error))
            raise
        self._note("")
        if self._done is not None and not self._stop.is_set():
            self._done()
        return total

    def _run(self, progress: Callable[[int], object] | None) -> int:
        total = 0
        while not self._stop.is_set():
            cubes = self._engine.missing_vectors(self._embedder.fingerprint, _BATCH)
            if not cubes:
                break
            rows = _rows_of(cubes, self._embedder)
            with self._writing:
                if self._has_ended:  # the store may be closed by now
                    break
                with self._engine.transaction() as tx:
                    tx.put_vectors(self._embedder.fingerprint, rows)
            total += len(cubes)
            if progress is not None:
                progress(len(cubes))
        return total

    def run_spread(
        self,
        made_of: str | Embedder,
        over: Spreading,
        workers: int | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> int:
        """Embed everything that lacks a vector in several processes or on several machines; return their number.

        The rows are written here, batch by batch, so that a run that was cut off goes on where it was.

        Args:
            made_of: The word of the embedder, which each worker then loads for itself; or one that can be pickled.
            over: Where, as `spread` takes it.
            workers: Processes.
            progress: Told the number of cubes after each batch.

        Raises:
            ItemFailed: A worker failed, or made another embedder; what was written before stays.
            MissingExtra: `over` is ``ray`` and it is not installed.
        """
        total = 0
        while not self._stop.is_set():
            cubes = self._engine.missing_vectors(self._embedder.fingerprint, _WINDOW)
            if not cubes:
                break
            parts = [cubes[start : start + _BATCH] for start in range(0, len(cubes), _BATCH)]
            name = self._embedder.fingerprint
            work = [_Batch(made_of, name, tuple(index_text(cube) for cube in part)) for part in parts]
            for part, data in zip(parts, spread(_embedded, work, workers=workers, engine=over), strict=True):
                with self._writing, self._engine.transaction() as tx:
                    tx.put_vectors(name, _laid_out(part, data))
                total += len(part)
                if progress is not None:
                    progress(len(part))
        self._note("")
        return total

    def _note(self, sentence: str) -> None:
        """Keep why it failed, or that it did not."""
        with self._writing:
            if self._has_ended or self._engine.is_read_only:
                return
            said = json.dumps([_name(self._embedder), sentence]) if sentence else ""
            if said != (self._engine.setting(_FAILURE) or ""):
                self._engine.set_setting(_FAILURE, said)

    def start(self) -> None:
        """Run in a thread of its own, now, whenever this is called, and after a failure when a pause is over."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="pinyon-embed", daemon=True)
            self._thread.start()
        self._wake.set()

    def _loop(self) -> None:
        failures = 0
        while True:
            pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(failures - 1, 30)) if failures else None
            self._wake.wait(pause)
            self._wake.clear()
            if self._stop.is_set():
                return
            try:
                self.run()
            except Exception as error:  # of any embedder; the store keeps the sentence, and memories are found without
                failures += 1
                if failures == 1 and not self._stop.is_set():
                    _LOG.warning("memories wait for their vectors, and are found without: %s", _sentence(error))
                _LOG.debug("embedding in the background failed", exc_info=True)
            else:
                failures = 0

    def stop(self) -> None:
        """End the thread after the batch in hand; an answer over the network is waited for a few seconds."""
        self._stop.set()
        self._wake.set()
        is_far = isinstance(self._embedder, Interruptible)
        if isinstance(self._embedder, Interruptible):
            self._embedder.interrupt()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_LAST_S if is_far else None)
        with self._writing:  # what is being written is written, and nothing after it
            self._has_ended = True


def _name(embedder: Embedder) -> str:
    """Return the fingerprint of an embedder, or its class where it cannot even tell that."""
    try:
        return embedder.fingerprint
    except PinyonError:
        return type(embedder).__name__


def _sentence(error: Exception) -> str:
    return error.message if isinstance(error, PinyonError) else f"{type(error).__name__}: {error}".strip(": ")


@dataclass(frozen=True, slots=True)
class _Batch:
    """Texts for a worker.

    Args:
        made_of: The word of the embedder, or the embedder itself.
        name: Fingerprint that it must have.
        texts: What is embedded.
    """

    made_of: str | Embedder = field(repr=False)
    name: str
    texts: tuple[str, ...] = field(repr=False)  # content, which no message of a failure shows


@lru_cache(maxsize=1)
def _named(word: str) -> Embedder:
    """Return an embedder that a worker loads once."""
    return embedder_from(word)


def _embedded(batch: _Batch) -> Vectors:
    """Embed a batch in whatever process this is."""
    embedder = _named(batch.made_of) if isinstance(batch.made_of, str) else batch.made_of
    if embedder.fingerprint != batch.name:
        raise ModelError(f"the worker's embedder is {embedder.fingerprint!r} where {batch.name!r} was wanted")
    return embedder.embed(batch.texts)


def _rows_of(cubes: list[Cube], embedder: Embedder) -> VectorRows:
    return _laid_out(cubes, embedder.embed([index_text(cube) for cube in cubes]))


def _laid_out(cubes: list[Cube], data: Vectors) -> VectorRows:
    return VectorRows(
        np.array([cube.row for cube in cubes], dtype=np.int64),
        np.array([cube.version for cube in cubes], dtype=np.int64),
        data.astype(np.float16),
    )
