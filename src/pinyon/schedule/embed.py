"""Give every text cube its vector, in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import numpy as np

from ..core.cube import Cube
from ..errors import PinyonError
from ..index import index_text
from ..models import Embedder
from ..store import Engine, VectorRows

__all__ = ["EmbedJob"]

_LOG = logging.getLogger(__name__)
_BATCH = 64  # cubes an embedding call: a second of MiniLM on one core, the longest a stop has to wait


class EmbedJob:
    """Embed what lacks a vector, batch by batch, each in its own transaction; stopping it loses nothing.

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
        self._thread: threading.Thread | None = None

    def run(self, progress: Callable[[int], object] | None = None) -> int:
        """Embed everything that lacks a vector, in this thread, and return the number of cubes.

        Args:
            progress: Told the number of cubes after each batch.

        Raises:
            ModelError: The embedder failed; what was embedded before stays.
        """
        total = 0
        while not self._stop.is_set():
            cubes = self._engine.missing_vectors(self._embedder.fingerprint, _BATCH)
            if not cubes:
                break
            rows = _rows_of(cubes, self._embedder)
            with self._engine.transaction() as tx:
                tx.put_vectors(self._embedder.fingerprint, rows)
            total += len(cubes)
            if progress is not None:
                progress(len(cubes))
        if self._done is not None and not self._stop.is_set():
            self._done()
        return total

    def start(self) -> None:
        """Run in a thread of its own, now and whenever `wake` is called."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="pinyon-embed", daemon=True)
            self._thread.start()
        self._wake.set()

    def _loop(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._stop.is_set():
                return
            try:
                self.run()
            except PinyonError:
                _LOG.warning("embedding in the background failed; `pinyon doctor --repair` tries again", exc_info=True)

    def stop(self) -> None:
        """End the thread after the batch in hand."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()


def _rows_of(cubes: list[Cube], embedder: Embedder) -> VectorRows:
    data = embedder.embed([index_text(cube) for cube in cubes])
    return VectorRows(
        np.array([cube.row for cube in cubes], dtype=np.int64),
        np.array([cube.version for cube in cubes], dtype=np.int64),
        data.astype(np.float16),
    )
