"""Beside kvpress: needles that the whole model answers, asked after the cache was cut without knowing the question.

Both sides read the same token ids with the same weights, in float32, with greedy decoding and one rule for stopping.
Bytes are sums of tensor sizes after the cut. Every choice was made on other needles (`DEVELOP` in `_rival_needles.py`
and in `_rival_records.py`).
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from _rival_needles import CONFIRM, Needle, needles
from _rival_records import CONFIRM as RECORD_WORDS
from _rival_records import records
from _rival_summary import read_lines, summary
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

TIMED_RATIOS = (0.75, 0.25, 0.5, 0.9)
TIMED_TOKENS = 8

SAMPLE = 20
"""Needles that every method answers; all of them are answered by those that are near the best of their side there."""

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


@dataclass(frozen=True, slots=True)
class NeedleSet:
    """Needles, and who answers which of them.

    Args:
        name: As rows name it.
        folder: Where its answers rest.
        make: Candidates without end, from a function that gives the token ids of a text.
        candidates: How many of them are tried.
        tokens: Longest answer, at least as long as any value.
        contenders: Policies that answer all; the others answer a sample.
        rivals: Presses that answer all.
        clocked: Needles that are timed.
        timed_policies: Policies that are timed.
        timed_presses: Presses that are timed.
    """

    name: str
    folder: str
    make: Callable[[Callable[[str], list[int]]], Iterator[Needle]]
    candidates: int
    tokens: int
    contenders: tuple[str, ...]
    rivals: tuple[str, ...]
    clocked: int
    timed_policies: tuple[str, ...]
    timed_presses: tuple[str, ...]


def _in_prose(encode: Callable[[str], list[int]]) -> Iterator[Needle]:
    sentences = reference_sentences()
    return needles(encode, CONFIRM, sentences[: len(sentences) // 2], seed=2)


def _in_records(encode: Callable[[str], list[int]]) -> Iterator[Needle]:
    return records(encode, RECORD_WORDS, seed=4)


PROSE = NeedleSet(
    name="prose",
    folder="kvpress-needles",
    make=_in_prose,
    candidates=105,
    tokens=6,
    contenders=("kvzip+surprisal",),
    rivals=("kvzip", "key-diff", "compactor", "kv-compose"),
    clocked=2,
    timed_policies=tuple(OURS),
    timed_presses=(*FREED, *MASKED),
)
"""One fact in a piece of the Python reference."""

_DENSE_OURS = ("kvzip+surprisal", "kvzip")
_DENSE_RIVALS = ("kv-compose",)
DENSE = NeedleSet(
    name="dense",
    folder="kvpress-records",
    make=_in_records,
    candidates=180,
    tokens=14,
    contenders=_DENSE_OURS,
    rivals=_DENSE_RIVALS,
    clocked=1,
    timed_policies=_DENSE_OURS,
    timed_presses=(*_DENSE_RIVALS, "kvzip", "key-diff"),
)
"""Nothing but facts, more of them than the best press can keep apart when half of the entries are gone."""


def run(
    backbone: Any,
    *,
    small: bool = False,
    kvpress_python: Path | None = None,
    folder: Path | None = None,
    candidates: int | None = None,
    dense: int | None = None,
    sample: int = SAMPLE,
) -> dict[str, Any]:
    """Answer all needles by both sides and return rows and limits; what an interrupted run answered is kept.

    Args:
        backbone: SmolLM2, or any model whose folder kvpress can load.
        small: Six needles of each set, one of them timed.
        kvpress_python: Interpreter of an environment with kvpress; made when absent.
        folder: Where answers rest between runs, each set in a folder of its own.
        candidates: Needles in prose to try; those count that the whole model answers on both sides.
        dense: Needles in dense records to try, twelve a context; likewise.
        sample: How many of each set every method answers.
    """
    python = kvpress_python or make("kvpress", cache_folder() / "kvpress")
    found: dict[str, Any] = {"rows": [], "limits": [], "needles": {}, "rival": {}}
    for needle_set, count in ((PROSE, candidates), (DENSE, dense)):
        name = f"{needle_set.folder}-small" if small else needle_set.folder
        count = count or (6 if small else needle_set.candidates)
        part = _one_set(backbone, needle_set, (folder or cache_folder()) / name, python, count, sample, small=small)
        found["rows"] += part["rows"]
        found["limits"] += part["limits"]
        found["needles"][needle_set.name] = part["needles"]
        found["rival"] |= part["rival"]
    if not small:
        (HERE / "results" / "kvpress.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def _one_set(
    backbone: Any, needle_set: NeedleSet, folder: Path, python: Path, count: int, sample: int, *, small: bool
) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    cases = write_cases(backbone, needle_set, folder, count)
    model, clocked = model_folder(backbone), 1 if small else needle_set.clocked
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # processor seconds of one thread are what a busy machine distorts least
    try:
        answer(backbone, cases, folder, needle_set.contenders, needle_set.tokens)
        ours = answer(backbone, cases[:sample], folder, tuple(OURS), needle_set.tokens)
        our_seconds = timed(backbone, cases[:clocked], folder, needle_set.timed_policies)
    finally:
        torch.set_num_threads(threads)
    rival(python, model, folder, needle_set.rivals)
    theirs = rival(python, model, folder, (*FREED, *MASKED), cases=sample)
    their_seconds = rival(python, model, folder, needle_set.timed_presses, cases=clocked, seconds=True)
    numbers = {case.number for case in cases}
    asked = [[line for line in lines if line["number"] in numbers] for lines in (ours, theirs)]
    contexts = _contexts(cases)
    return summary(needle_set.name, *asked, our_seconds, their_seconds, ratios=RATIOS, contexts=contexts)


def write_cases(backbone: Any, needle_set: NeedleSet, folder: Path, count: int) -> list[Needle]:
    """Return the needles, and write them for the other side; the answers of a folder are to one list of needles."""
    cases = list(itertools.islice(needle_set.make(backbone.encode), count))
    told = {"cases": [case.as_json() for case in cases], "ratios": RATIOS, "tokens": needle_set.tokens}
    told |= {"timed_ratios": TIMED_RATIOS, "timed_tokens": TIMED_TOKENS}
    path, text = folder / "cases.json", json.dumps(told)
    if path.exists():
        pairs = zip(json.loads(path.read_text(encoding="utf-8"))["cases"], json.loads(text)["cases"], strict=False)
        if any(old != new for old, new in pairs):
            raise SystemExit(f"the answers in {str(folder)!r} are to other needles; delete that folder")
    path.write_text(text, encoding="utf-8")
    return cases


def _contexts(cases: Sequence[Needle]) -> dict[int, int]:
    """Return a number for the context of each case."""
    known: dict[tuple[int, ...], int] = {}
    return {case.number: known.setdefault(case.context, len(known)) for case in cases}


def answer(
    backbone: Any, cases: Sequence[Needle], folder: Path, names: Sequence[str], tokens: int
) -> list[dict[str, Any]]:
    """Return all answers of policies that the folder holds, those of `names` to `cases` made first; see `run`.

    A context is read and cut once for all cases that ask about it.
    """
    path = folder / "ours.jsonl"
    done = read_lines(path)
    profile = find_heads(backbone, log=folder / "heads.jsonl")  # its facts, questions and lengths are others
    groups: dict[int, list[Needle]] = {}
    for case, context in zip(cases, _contexts(cases).values(), strict=True):
        groups.setdefault(context, []).append(case)
    for group in groups.values():
        missing = {case.number: _missing(names, done.get(case.number)) for case in group}
        wanted = [name for name in names if any(name in each for each in missing.values())]
        if wanted:
            for line in _answered(backbone, group, profile, wanted, missing, tokens):
                _append(path, line)
    return list(read_lines(path).values())


def _missing(names: Sequence[str], line: Mapping[str, Any] | None) -> list[str]:
    """Return what a needle lacks; one that the whole model does not answer lacks nothing, for it counts nowhere."""
    rows = line["rows"] if line else ()
    if any(row["method"] == "full" and not row["found"] for row in rows):
        return []
    return [name for name in names if name not in {row["method"] for row in rows}]


def _answered(
    backbone: Any,
    group: Sequence[Needle],
    profile: Any,
    names: Sequence[str],
    missing: Mapping[int, Sequence[str]],
    tokens: int,
) -> Iterator[dict[str, Any]]:
    """Give a line for each needle of one context; each question is asked of copies of the same cuts."""
    start, whole = time.process_time(), backbone.cache()
    backbone.prefill(group[0].context, whole, surprisal=any("surprisal" in name for name in names))
    reading = Reading(backbone, group[0], whole, profile)
    size = len(group[0].context)
    cuts: dict[float, dict[tuple[str, float], Any]] = {}
    for case in group:
        lacks = missing[case.number]
        rows = _continued(backbone, case, {("full", 0.0): whole.clone()}, tokens) if lacks else []
        if rows and rows[0]["found"]:
            for ratio in RATIOS:
                made = cuts.setdefault(ratio, {})
                for name in lacks:
                    if (name, ratio) not in made:
                        made[name, ratio] = OURS[name](reading, int(size * (1 - ratio)))
                copies = {(name, ratio): made[name, ratio].clone() for name in lacks}
                rows += _continued(backbone, case, copies, tokens)
        if rows:
            yield {"number": case.number, "rows": rows, "seconds": time.process_time() - start}
            start = time.process_time()


def _continued(
    backbone: Any, case: Needle, caches: Mapping[tuple[str, float], Any], tokens: int
) -> list[dict[str, Any]]:
    """Answer from several caches; those whose heads hold the same numbers of entries are continued together."""
    alike: dict[Any, list[tuple[str, float]]] = {}
    for key, cache in caches.items():
        lengths = tuple(tuple(layer.lengths()) for layer in cache.layers)
        alike.setdefault((cache.next_position, lengths), []).append(key)
    rows = []
    for keys in alike.values():
        sizes = [caches[key].nbytes for key in keys]
        texts = _written(backbone, case, _stacked([caches[key] for key in keys]), len(keys), tokens)
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


def _written(backbone: Any, case: Needle, cache: Any, count: int, tokens: int) -> list[str]:
    """Write on until each row has the answer, has ended, or is long enough: the rule of `kvpress_needles.py`."""
    ids = torch.tensor([case.question] * count)
    written: list[list[int]] = [[] for _ in range(count)]
    texts, done, ends = [""] * count, [False] * count, set(backbone.stop_ids)
    for _ in range(tokens):
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


def timed(backbone: Any, cases: Sequence[Needle], folder: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return processor seconds of each policy alone: reading with the cut, and each token; methods take turns."""
    path = folder / "our-seconds.jsonl"
    done = read_lines(path)
    profile = find_heads(backbone, log=folder / "heads.jsonl")
    wanted = [("full", 0.0), *itertools.product(names, TIMED_RATIOS)]
    for case in cases:
        known = _clocked_before(done.get(case.number, {"rows": []})["rows"])
        rows = [_clocked(backbone, case, profile, *each) for each in wanted if each not in known]
        if rows:
            _append(path, {"number": case.number, "rows": rows})
    done = read_lines(path)
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
    return list(read_lines(out).values())


def model_folder(backbone: Any) -> Path:
    """Return the folder that the backbone's weights were read from."""
    folder = Path(backbone.network.config.name_or_path)
    if not (folder / "model.safetensors").exists():
        raise SystemExit(f"kvpress reads a folder with model.safetensors, and {str(folder)!r} is none")
    return folder


def _append(path: Path, line: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")
