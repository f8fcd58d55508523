"""Beside kvpress: needles that the whole model answers, asked after the cache was cut without knowing the question.

Both sides read the same token ids with the same weights, in float32, with greedy decoding and one rule for stopping.
Bytes are sums of tensor sizes after the cut. Every choice was made on other needles (`DEVELOP` in `_rival_needles.py`).
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from _rival_needles import CONFIRM, Needle, needles
from kvpress_needles import FREED, MASKED
from rivals import cache_folder, make

from pinyon.state.compress import compress
from pinyon.state.entropy import Surprisal
from pinyon.state.key_norm import KeyNorm
from pinyon.state.kvzip import KVzip, Weigh
from pinyon.state.needle_prompts import reference_sentences
from pinyon.state.policy import CachePolicy
from pinyon.state.random_keep import RandomKeep
from pinyon.state.retrieval_heads import RetrievalHeads, find_heads
from pinyon.state.sink_window import SinkWindow
from pinyon.state.snap_kv import SnapKV
from pinyon.state.spec_kv import SpecKV

HERE = Path(__file__).resolve().parent
RATIOS = (0.25, 0.5, 0.75, 0.9)
"""Shares of the entries that are removed."""

TOKENS = 6
"""Longest answer; values have at most five tokens."""

TIMED_RATIOS = (0.75, 0.25, 0.5, 0.9)
TIMED_TOKENS = 8

SAMPLE = 20
"""Needles that every method answers; all of them are answered by those that are near the best of their side there."""

CONTENDERS = ("kvzip+surprisal",)
RIVAL_CONTENDERS = ("kvzip", "key-diff", "compactor", "kv-compose")

LOOKAHEAD = 8
"""Tokens of the draft that votes for SpecKV."""


@dataclass(slots=True)
class Reading:
    """A context that was read once, and what several policies share."""

    backbone: Any
    needle: Needle
    whole: Any
    profile: Any
    _kept: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, make_it: Callable[[], Any]) -> Any:
        """Return what was made under a name before, or make it."""
        if name not in self._kept:
            self._kept[name] = make_it()
        return self._kept[name]

    def replayed(self, weigh: Weigh = "none") -> Any:
        """Return the votes of a replay."""
        return self.once(f"replayed {weigh}", lambda: KVzip(weigh=weigh).look(self.backbone, self.whole))

    def drafted(self) -> tuple[Any, int]:
        """Return the cache with a draft of what the model would write next, and how long that is."""

        def draft() -> tuple[Any, int]:
            cache = self.whole.clone()
            ahead = self.backbone.continuation([], cache, max_tokens=LOOKAHEAD, stop=())
            return cache, len(ahead.ids)

        found: tuple[Any, int] = self.once("drafted", draft)
        return found

    def cut(self, policy: CachePolicy, entries: int) -> Any:
        """Return a copy of the cache, cut by a policy."""
        cache = self.whole.clone()
        compress(self.backbone, cache, policy, entries=entries)
        return cache


def _spec_kv(reading: Reading, entries: int) -> Any:
    source, ahead = reading.drafted()
    cache = source.clone()
    queries = min(32, entries - 1)
    compress(reading.backbone, cache, SpecKV(queries=queries, lookahead=ahead), entries=entries)
    cache.crop(len(reading.needle.context))
    return cache


def _kvzip(reading: Reading, entries: int, heads: str) -> Any:
    looked = reading.replayed()
    return reading.cut(type(looked)(looked.worth, heads, looked.sinks), entries)


def _heads(reading: Reading, entries: int) -> Any:
    size = len(reading.needle.context)
    return reading.cut(RetrievalHeads(reading.profile, mode="full", recent=16, length=size), entries)


def _heads_and_votes(reading: Reading, entries: int) -> Any:
    looked, size = reading.replayed(), len(reading.needle.context)
    inner = type(looked)(looked.worth, "even", looked.sinks)
    return reading.cut(RetrievalHeads(reading.profile, mode="full", inner=inner, recent=16, length=size), entries)


OURS: dict[str, Callable[[Reading, int], Any]] = {
    "sink-window": lambda reading, entries: reading.cut(SinkWindow(), entries),
    "random": lambda reading, entries: reading.cut(RandomKeep(), entries),
    "key-norm": lambda reading, entries: reading.cut(KeyNorm(), entries),
    "snap-kv": lambda reading, entries: reading.cut(SnapKV(queries=min(32, entries - 1)), entries),
    "spec-kv": _spec_kv,
    "surprisal": lambda reading, entries: reading.cut(Surprisal(positions="original"), entries),
    "kvzip-even": lambda reading, entries: _kvzip(reading, entries, "even"),
    "kvzip": lambda reading, entries: _kvzip(reading, entries, "shared"),
    "kvzip+surprisal": lambda reading, entries: reading.cut(reading.replayed("surprisal"), entries),
    "retrieval-heads": _heads,
    "retrieval-heads+kvzip": _heads_and_votes,
}


def run(
    backbone: Any,
    *,
    small: bool = False,
    kvpress_python: Path | None = None,
    folder: Path | None = None,
    candidates: int | None = None,
    sample: int = SAMPLE,
) -> dict[str, Any]:
    """Answer all needles by both sides and return rows and limits; what an interrupted run answered is kept.

    Args:
        backbone: SmolLM2, or any model whose folder kvpress can load.
        small: Six needles, one of them timed.
        kvpress_python: Interpreter of an environment with kvpress; made when absent.
        folder: Where answers rest between runs.
        candidates: Needles to try; those count that the whole model answers on both sides.
        sample: How many of them every method answers.
    """
    folder = folder or cache_folder() / ("kvpress-needles-small" if small else "kvpress-needles")
    folder.mkdir(parents=True, exist_ok=True)
    cases = write_cases(backbone, folder, candidates or (6 if small else 105))
    python = kvpress_python or make("kvpress", cache_folder() / "kvpress")
    model, clocked = model_folder(backbone), 1 if small else 2
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # processor seconds of one thread are what a busy machine distorts least
    try:
        answer(backbone, cases, folder, CONTENDERS)
        ours = answer(backbone, cases[:sample], folder, tuple(OURS))
        our_seconds = timed(backbone, cases[:clocked], folder)
    finally:
        torch.set_num_threads(threads)
    rival(python, model, folder, RIVAL_CONTENDERS)
    theirs = rival(python, model, folder, (*FREED, *MASKED), cases=sample)
    their_seconds = rival(python, model, folder, (*FREED, *MASKED), cases=clocked, seconds=True)
    found = summary(ours, theirs, our_seconds, their_seconds)
    if not small:
        (HERE / "results" / "kvpress.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def write_cases(backbone: Any, folder: Path, count: int) -> list[Needle]:
    """Return the needles, and write them for the other side; the answers of a folder are to one list of needles."""
    sentences = reference_sentences()
    made = needles(backbone.encode, CONFIRM, sentences[: len(sentences) // 2], seed=2)
    cases = list(itertools.islice(made, count))
    told = {"cases": [case.as_json() for case in cases], "ratios": RATIOS, "tokens": TOKENS}
    told |= {"timed_ratios": TIMED_RATIOS, "timed_tokens": TIMED_TOKENS}
    path, text = folder / "cases.json", json.dumps(told)
    if path.exists():
        pairs = zip(json.loads(path.read_text(encoding="utf-8"))["cases"], json.loads(text)["cases"], strict=False)
        if any(old != new for old, new in pairs):
            raise SystemExit(f"the answers in {str(folder)!r} are to other needles; delete that folder")
    path.write_text(text, encoding="utf-8")
    return cases


def answer(backbone: Any, cases: Sequence[Needle], folder: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return all answers of policies that the folder holds, those of `names` to `cases` made first; see `run`."""
    path = folder / "ours.jsonl"
    done = _lines(path)
    profile = find_heads(backbone, log=folder / "heads.jsonl")  # its facts, questions and lengths are others
    for case in cases:
        known = {row["method"] for row in done.get(case.number, {"rows": []})["rows"]}
        missing = [name for name in names if name not in known]
        if missing:
            start = time.process_time()
            rows = _answered(backbone, case, profile, missing)
            _append(path, {"number": case.number, "rows": rows, "seconds": time.process_time() - start})
    return list(_lines(path).values())


def _answered(backbone: Any, case: Needle, profile: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    whole = backbone.cache()
    backbone.prefill(case.context, whole, surprisal=any("surprisal" in name for name in names))
    reading = Reading(backbone, case, whole, profile)
    size = len(case.context)
    rows = _continued(backbone, case, {("full", 0.0): whole.clone()})
    for ratio in RATIOS:
        caches = {(name, ratio): OURS[name](reading, int(size * (1 - ratio))) for name in names}
        rows += _continued(backbone, case, caches)
    return rows


def _continued(backbone: Any, case: Needle, caches: Mapping[tuple[str, float], Any]) -> list[dict[str, Any]]:
    """Answer from several caches; those whose heads hold the same numbers of entries are continued together."""
    alike: dict[Any, list[tuple[str, float]]] = {}
    for key, cache in caches.items():
        lengths = tuple(tuple(layer.lengths()) for layer in cache.layers)
        alike.setdefault((cache.next_position, lengths), []).append(key)
    rows = []
    for keys in alike.values():
        sizes = [caches[key].nbytes for key in keys]
        texts = _written(backbone, case, _stacked([caches[key] for key in keys]), len(keys))
        for (name, ratio), size, text in zip(keys, sizes, texts, strict=True):
            found = case.answer.lower() in text.lower()
            rows.append({"method": name, "ratio": ratio, "text": text, "found": found, "bytes": size})
    return rows


def _stacked(caches: Sequence[Any]) -> Any:
    """Return caches of the same lengths as one of a batch; entries of all are visible to what comes."""
    first = caches[0]
    for index, layer in enumerate(first.layers):
        for place, group in enumerate(layer.groups):
            others = [cache.layers[index].groups[place] for cache in caches]
            group.keys = torch.cat([other.keys for other in others])
            group.values = torch.cat([other.values for other in others])
    return first


def _written(backbone: Any, case: Needle, cache: Any, count: int) -> list[str]:
    """Write on until each row has the answer, has ended, or `TOKENS` are written: the rule of `kvpress_needles.py`."""
    ids = torch.tensor([case.question] * count)
    written: list[list[int]] = [[] for _ in range(count)]
    texts, done, ends = [""] * count, [False] * count, set(backbone.stop_ids)
    for _ in range(TOKENS):
        logits = backbone.forward(ids, cache, logits="last").reshape(count, -1)
        ids = logits.argmax(dim=-1, keepdim=True)
        for row, token in enumerate(ids[:, 0].tolist()):
            if not done[row]:
                written[row].append(token)
                texts[row] = backbone.decode(written[row])
                has = case.answer.lower() in texts[row].lower()
                done[row] = has or "\n" in texts[row] or token in ends
        if all(done):
            break
    return texts


def timed(backbone: Any, cases: Sequence[Needle], folder: Path) -> list[dict[str, Any]]:
    """Return processor seconds of each policy alone: reading with the cut, and each token; methods take turns."""
    path = folder / "our-seconds.jsonl"
    done = _lines(path)
    profile = find_heads(backbone, log=folder / "heads.jsonl")
    wanted = [("full", 0.0), *itertools.product(OURS, TIMED_RATIOS)]
    for case in cases:
        known = _clocked_before(done.get(case.number, {"rows": []})["rows"])
        rows = [_clocked(backbone, case, profile, *each) for each in wanted if each not in known]
        if rows:
            _append(path, {"number": case.number, "rows": rows})
    done = _lines(path)
    return [done[case.number] for case in cases]


def _clocked_before(rows: Sequence[Mapping[str, Any]]) -> set[tuple[str, float]]:
    """Return what was timed; the whole cache, from which nothing goes, may stand under any share."""
    return {(row["method"], 0.0 if row["method"] == "full" else row["ratio"]) for row in rows}


def _clocked(backbone: Any, case: Needle, profile: Any, name: str, ratio: float) -> dict[str, Any]:
    start = time.process_time()
    cache = backbone.cache()
    backbone.prefill(case.context, cache, surprisal="surprisal" in name)
    if name != "full":
        cache = OURS[name](Reading(backbone, case, cache, profile), int(len(case.context) * (1 - ratio)))
    read = time.process_time() - start
    logits = backbone.forward(case.question, cache)
    start = time.process_time()
    for _ in range(TIMED_TOKENS):
        logits = backbone.forward([int(logits.argmax())], cache)
    each = (time.process_time() - start) / TIMED_TOKENS
    return {"method": name, "ratio": ratio, "prefill_s": read, "token_s": each}


def rival(
    python: Path, model: Path, folder: Path, presses: Sequence[str], *, cases: int = 0, seconds: bool = False
) -> list[dict[str, Any]]:
    """Return all answers of presses that the folder holds, those to its first cases (0: all) made first.

    With `seconds` it is how long they take instead.
    """
    out = folder / ("their-seconds.jsonl" if seconds else "theirs.jsonl")
    command = [str(python), str(HERE / "kvpress_needles.py"), "--cases", str(folder / "cases.json"), "--model"]
    command += [str(model), "--out", str(out), "--presses", ",".join(presses), "--first", str(cases)]
    command += ["--seconds"] if seconds else []
    quiet = {"TRANSFORMERS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, **quiet})
    return list(_lines(out).values())


def model_folder(backbone: Any) -> Path:
    """Return the folder that the backbone's weights were read from."""
    folder = Path(backbone.network.config.name_or_path)
    if not (folder / "model.safetensors").exists():
        raise SystemExit(f"kvpress reads a folder with model.safetensors, and {str(folder)!r} is none")
    return folder


def summary(
    ours: Sequence[Mapping[str, Any]],
    theirs: Sequence[Mapping[str, Any]],
    our_seconds: Sequence[Mapping[str, Any]],
    their_seconds: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return rows and limits, of the needles that the whole model answers on both sides."""
    sides = {"pinyon": (ours, our_seconds), "kvpress": (theirs, their_seconds)}
    kept = set.intersection(*(_answerable(lines) for lines, _ in sides.values()))
    rows: list[dict[str, Any]] = []
    for side, (lines, clock) in sides.items():
        rows += _side(side, [line for line in lines if line["number"] in kept], clock)
    rows.sort(key=lambda row: (row["removed"], -row["recall"], row["bytes"], row["by"]))
    limits = [
        {"what": "needles that the whole model answers on both sides", "limit": ">= 100", "measured": len(kept),
         "holds": len(kept) >= 100}
    ]  # fmt: skip
    for ratio in RATIOS:
        limits += _limits(ratio, [row for row in rows if row["removed"] == ratio])
    versions = {name: theirs[0][name] for name in ("kvpress", "torch", "transformers")} if theirs else {}
    return {"rows": rows, "limits": limits, "needles": len(kept), "rival": versions}


def _answerable(lines: Sequence[Mapping[str, Any]]) -> set[int]:
    return {
        line["number"] for line in lines for row in line["rows"] if row["method"] == "full" and row.get("found", False)
    }


def _side(side: str, lines: Sequence[Mapping[str, Any]], clock: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    cells: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
    for line in lines:
        for row in line["rows"]:
            cells.setdefault((row["method"], row["ratio"]), []).append(row)
    rows = []
    for (name, ratio), answers in cells.items():
        good = [row for row in answers if "failed" not in row]
        timed_rows = [row for line in clock for row in line["rows"] if row["method"] == name and "failed" not in row]
        times = [row for row in timed_rows if name == "full" or row["ratio"] == ratio]
        rows.append(
            {
                "by": side,
                "method": name,
                "removed": ratio,
                "needles": len(answers),
                "recall": sum(row["found"] for row in good) / len(answers),
                "bytes": _mean([row["bytes"] for row in good]),
                "hidden_bytes": _mean([row.get("hidden_bytes", 0) for row in good]),
                "prefill_s": _mean([row["prefill_s"] for row in times]),
                "token_s": _mean([row["token_s"] for row in times]),
                "failed": len(answers) - len(good),
            }
        )
    return rows


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


_ROUNDING = 1.02  # some presses round over all heads at once: up to one entry a head more


def _limits(ratio: float, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return whether ours leads at a ratio: at equal true bytes, and when what is hidden is not counted.

    A tie is no lead.
    """
    mine = [row for row in rows if row["by"] == "pinyon" and row["bytes"]]
    if not mine:
        return []
    most = max(row["needles"] for row in mine)
    mine = [row for row in mine if row["needles"] == most]  # those that answered all; of kvpress any counts
    best = max(mine, key=lambda row: (row["recall"], -row["bytes"]))
    others = [row for row in rows if row["by"] == "kvpress" and row["bytes"]]
    found = []
    for what, size in (
        ("at equal true bytes", lambda row: row["bytes"]),
        ("hidden entries of kvpress not counted", lambda row: row["bytes"] - row["hidden_bytes"]),
    ):
        within = [row for row in others if size(row) <= best["bytes"] * _ROUNDING]
        rival_best = max(within, key=lambda row: row["recall"], default=None)
        theirs, name = (rival_best["recall"], rival_best["method"]) if rival_best else (0.0, "none")
        limit = f"> {theirs:.2f} ({name}, {rival_best['needles'] if rival_best else 0} needles)"
        said = f"recall of {best['method']} with {ratio:.0%} removed, {what}"
        found.append({"what": said, "limit": limit, "measured": best["recall"], "holds": best["recall"] > theirs})
    return found


def _lines(path: Path) -> dict[int, dict[str, Any]]:
    """Return the finished lines of a file by number, rows of one number together; a line cut off is left out."""
    found: dict[int, dict[str, Any]] = {}
    if not path.exists():
        return found
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.endswith("\n"):
            continue
        read = json.loads(line)
        before = found.setdefault(read["number"], {**read, "rows": []})["rows"]
        known = {(row["method"], row["ratio"]) for row in before}
        before += [row for row in read["rows"] if (row["method"], row["ratio"]) not in known]
    return found


def _append(path: Path, line: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")
