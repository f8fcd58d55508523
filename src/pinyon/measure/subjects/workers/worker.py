"""Serve one rival over standard input and output, a JSON object a line; standard library only.

    python worker.py RIVAL.py FOLDER

The file of the rival defines ``open_store(folder, embed, dimensions)``, whose result has ``add(space, passages)`` and
``search(space, question, k)``; if the rival is given a model, also ``writer=``: its name, address and key. Before it is
opened, ``prepare()`` of the same file loads its libraries, so that what is counted as its memory is what it holds.
Vectors are asked for over the same line: everyone gets the same.
"""

from __future__ import annotations

import array
import base64
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

__all__ = ["main"]


def main() -> None:
    """Serve until told to close, or until nobody asks any more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes where errors go
    here = Path(__file__).parent
    sys.path[:] = [place for place in sys.path if Path(place) != here]  # its files are named as the libraries are
    rival = _loaded(Path(sys.argv[1]))
    folder = Path(sys.argv[2])
    rival.prepare()
    before = _resident()
    told = _asked(answers, {"dimensions": True})
    more = {"writer": told["writer"]} if told["writer"] else {}
    store = rival.open_store(folder, _embedder(answers), told["dimensions"], **more)
    _said(answers, {"ready": rival.version()})
    for line in sys.stdin:
        job = json.loads(line)
        if job["do"] == "close":
            break
        try:
            if job["do"] == "held":
                held = max(0, _resident() - before)
                _said(answers, {"done": [held, sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())]})
            elif job["do"] == "add":
                store.add(job["space"], job["passages"])
                _said(answers, {"done": None})
            else:
                _said(answers, {"done": store.search(job["space"], job["question"], job["k"])})
        except Exception as error:  # told to whoever asked, who counts it
            _said(answers, {"error": f"{type(error).__name__}: {error}"})


def _loaded(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location("rival", file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _embedder(answers: TextIO) -> Callable[[Sequence[str]], list[list[float]]]:
    def embed(texts: Sequence[str]) -> list[list[float]]:
        rows = []
        for packed in _asked(answers, {"embed": list(texts)})["vectors"]:
            row = array.array("f")
            row.frombytes(base64.b64decode(packed))
            rows.append(row.tolist())
        return rows

    return embed


def _said(answers: TextIO, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def _asked(answers: TextIO, message: dict[str, Any]) -> Any:
    _said(answers, message)
    return json.loads(sys.stdin.readline())


def _resident() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


if __name__ == "__main__":
    main()
