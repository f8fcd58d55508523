"""A file of trials, one JSON line each, on the disk before the next one begins."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from ..core.payload import Json
from ..errors import BadInput, StoreError

__all__ = ["TrialLog"]


class TrialLog:
    """Keeps the trials of one setting; those that are there already are not done again.

    Args:
        path: The file, made when it is not there; None keeps everything in memory.
        setting: What all trials share; its first line.

    Raises:
        BadInput: The file holds trials of another setting, or something else.
        StoreError: It cannot be read or written.
    """

    def __init__(self, path: Path | None, setting: Mapping[str, Json]) -> None:
        self._path = path
        self._setting = {"setting": dict(setting)}
        self._known: dict[str, dict[str, Json]] = {}
        if path is not None and path.exists():
            self._read(path)
        elif path is not None:
            self._append(self._setting)

    def get(self, key: str) -> dict[str, Json] | None:
        """Return a trial, or None when it is still to be done."""
        return self._known.get(key)

    def add(self, key: str, trial: dict[str, Json]) -> None:
        """Note a trial.

        Raises:
            StoreError: It cannot be written.
        """
        self._known[key] = trial
        if self._path is not None:
            self._append({"key": key, "trial": trial})

    def _append(self, line: Mapping[str, object]) -> None:
        assert self._path is not None  # asked before
        try:
            with self._path.open("ab") as file:
                file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(f"{str(self._path)!r} cannot be written: {error.strerror or error}") from error

    def _read(self, path: Path) -> None:
        try:
            content = path.read_bytes()
            whole = content.rfind(b"\n") + 1
            lines = [json.loads(line) for line in content[:whole].splitlines()]
            if lines and lines[0] != json.loads(json.dumps(self._setting)):
                raise BadInput(f"{path.name!r} holds trials of another model or setting", hint="give another file")
            self._known = {line["key"]: line["trial"] for line in lines[1:]}
            if whole < len(content):  # a line that was cut off is written again
                os.truncate(path, whole)
        except OSError as error:
            raise StoreError(f"{str(path)!r} cannot be read: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput(f"{path.name!r} holds no trials: {error}", hint="give another file") from error
        if not lines:
            self._append(self._setting)
