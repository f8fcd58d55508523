"""What states of texts save and what they cost: exact reuse, isolation, fusing, storing in fewer bits.

``run`` is called by ``benchmarks/state.py``; ``python benchmarks/_state_prefix.py --model smollm2`` prints this part
alone, as JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from pinyon import Memory
from pinyon.core.cube import Cube, seal_hash
from pinyon.core.header import Header
from pinyon.core.payload import State, Text
from pinyon.core.scope import Scope
from pinyon.models.backbone import Backbone
from pinyon.models.base import Message
from pinyon.state.fuse import naive, recompute, repair, reposition
from pinyon.state.fuse_segment import fuse_segment
from pinyon.state.prefix import Attached, Segment, attach, build, divergence, prompt_ids, segment_of
from pinyon.state.tiers import StateShelf
from pinyon.store import FileBlobs
from pinyon.testing import HashEmbedder
from pinyon.text.cited_prompt import RULES

__all__ = ["facts_of", "run"]

PAPER: tuple[tuple[int, int, float, float, float], ...] = (
    # MemOS, table 5: context tokens, query tokens, share of the time to the first token that is saved, %, with
    # Qwen3-8B, Qwen3-32B and Qwen2.5-72B
    (583, 167, 71.3, 53.5, 60.5), (583, 303, 55.6, 39.6, 43.2), (583, 953, 23.0, 18.6, 23.8),
    (2773, 167, 89.7, 81.2, 71.6), (2773, 303, 85.1, 75.1, 79.2), (2773, 953, 64.6, 56.9, 62.7),
    (6064, 167, 94.2, 88.8, 91.4), (6064, 303, 91.1, 84.3, 87.2), (6064, 953, 79.1, 71.4, 76.4),
)  # fmt: skip
INSTRUCTIONS = "Answer from the passages."
GREEDY = 32
USES = 100
_NAMES = "Ann Tom Eva Max Ida Leo Mia Ben Zoe Kai Una Rex".split()
_THINGS = "lantern kettle ladder violin compass saddle anchor carpet mirror bucket whistle barrel".split()
_PLACES = "mill attic cellar harbour orchard chapel stable tower kitchen bakery library garden".split()
_COLOURS = "red blue green black white yellow brown grey".split()
_NOW = datetime(2024, 1, 1, tzinfo=UTC)

Said = Callable[[str], object]


def run(
    backbone: Backbone,
    *,
    lengths: Sequence[int] = (288, 792, 1560),
    queries: Sequence[int] = (16, 64, 256),
    questions: int = 24,
    splits: Sequence[int] = (2, 3, 4),
    repeats: int = 3,
    say: Said = lambda _: None,
) -> dict[str, Any]:
    """Measure everything and compare it with what it must show.

    Args:
        backbone: The model.
        lengths: Tokens of the contexts.
        queries: Tokens of what follows.
        questions: Probes of the fused states, for each split.
        splits: Into how many parts a text is split.
        repeats: Times of each timing; the least counts.
        say: Told what is being measured, and each row as soon as it is known.
    """
    with tempfile.TemporaryDirectory() as folder:
        blobs = FileBlobs(Path(folder))
        rows: list[dict[str, Any]] = []

        def keep(*found: dict[str, Any]) -> None:
            rows.extend(found)
            for row in found:
                say(json.dumps(row))

        for length in lengths:
            say(f"exact reuse at {length} tokens")
            keep(*_reuse(backbone, blobs, length, queries, repeats))
        say("isolation")
        keep(_isolation(backbone, blobs, lengths[0]))
        for parts in splits:
            say(f"fusing {parts} parts")
            keep(_fusion(backbone, parts, questions))
            say(f"fusing {parts} states as `pinyon convert --fuse` does")
            keep(_fused(backbone, parts, questions))
        keep(_fused_time(backbone, lengths[-1], repeats))
        for form in ("int8", "int4"):
            say(f"storing as {form}")
            keep(_stored(backbone, blobs, form, lengths[min(1, len(lengths) - 1)]))
    columns = ("table", "context", "query", "Qwen3-8B_%", "Qwen3-32B_%", "Qwen2.5-72B_%")
    rows += [dict(zip(columns, ("paper", *row), strict=True)) for row in PAPER]
    return {"rows": rows, "limits": _limits(rows)}


# --- exact reuse -----------------------------------------------------------------------------------------------------


def _reuse(
    backbone: Backbone, blobs: FileBlobs, length: int, queries: Sequence[int], repeats: int
) -> list[dict[str, Any]]:
    cubes, segment = _context(backbone, length)
    state = _built(backbone, cubes, blobs)
    with tempfile.TemporaryDirectory() as folder:  # each time another one: what is there already is not written again
        fresh = iter(range(repeats))
        built = _least(lambda: _built(backbone, cubes, FileBlobs(Path(folder) / str(next(fresh)))), repeats)
    prefill = _least(lambda: backbone.prefill(segment.ids, backbone.cache()), repeats)
    load = _least(lambda: _loaded(backbone, state, blobs), repeats)
    rows = []
    for count in queries:
        prompt = _prompt(backbone, segment, count)
        rest = prompt[len(segment.ids) :]
        direct = _least(lambda: backbone.prefill(prompt, backbone.cache()), repeats)  # noqa: B023  # used at once
        attached = _least(lambda: backbone.prefill(rest, _loaded(backbone, state, blobs)), repeats)  # noqa: B023
        shelf = StateShelf()
        shelf.get(state.blobs[0], blobs)
        at_hand = _least(lambda: backbone.prefill(rest, _loaded(backbone, state, blobs, shelf)), repeats)  # noqa: B023
        one, two = backbone.cache(), _loaded(backbone, state, blobs)
        apart = float((backbone.prefill(prompt, one) - backbone.prefill(rest, two)).abs().max())
        row: dict[str, Any] = {
            "table": "reuse",
            "context": len(segment.ids),
            "query": len(rest),
            "direct_s": direct,
            "attached_s": attached,
            "at_hand_s": at_hand,
            "saved_%": 100 * (direct - attached) / direct,
            "saved_at_hand_%": 100 * (direct - at_hand) / direct,
            "build_s": built,
            "prefill_s": prefill,
            "load_s": load,
            "load_faster": prefill / load,
            "break_even_uses": built / (direct - attached) if direct > attached else float("inf"),
            "logits_difference": apart,
            "bytes": state.blobs[0].bytes,
        }
        if count == queries[0]:
            greedy = [backbone.continuation([], cache, max_tokens=GREEDY, stop=()).ids for cache in (one, two)]
            row["greedy_equal"] = sum(a == b for a, b in zip(*greedy, strict=True))
        rows.append(row)
    return rows


def _built(backbone: Backbone, cubes: Sequence[Cube], blobs: FileBlobs, form: Any = "full") -> State:
    state = build(backbone, cubes, blobs, form=form, instructions=INSTRUCTIONS).payload
    assert isinstance(state, State)
    return state


def _loaded(backbone: Backbone, state: State, blobs: FileBlobs, shelf: StateShelf | None = None) -> Any:
    """Return a cache from a shelf that has it at hand; without one, read from the disk."""
    file = (shelf or StateShelf()).get(state.blobs[0], blobs)
    return attach(backbone, state, file, share=True).cache  # as `ask` does


def _least(work: Callable[[], object], repeats: int) -> float:
    """Return the least of some times: what else the machine does only adds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


# --- isolation -------------------------------------------------------------------------------------------------------


def _isolation(backbone: Backbone, blobs: FileBlobs, length: int) -> dict[str, Any]:
    cubes, segment = _context(backbone, length)
    state = _built(backbone, cubes, blobs)
    shelf = StateShelf()
    file = shelf.get(state.blobs[0], blobs)
    before = _hash(file.tensors)
    probe = backbone.encode("And?")
    answers = []

    def use(times: int) -> None:
        for _ in range(times):
            cache = attach(backbone, state, shelf.get(state.blobs[0], blobs), share=True).cache
            answers.append(int(backbone.prefill(probe, cache).argmax()))

    use(USES // 2)
    threads = [threading.Thread(target=use, args=(USES // 4,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = _hash(shelf.get(state.blobs[0], blobs).tensors)
    on_disk = hashlib.sha256(blobs.get(state.blobs[0])).hexdigest()
    return {
        "table": "isolation",
        "context": len(segment.ids),
        "uses": len(answers),
        "threads": 2,
        "answers": len(set(answers)),
        "bytes_changed": int(before != after) + int(on_disk != state.blobs[0].sha256),
    }


def _hash(tensors: Any) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


# --- fusing ----------------------------------------------------------------------------------------------------------


def _fusion(backbone: Backbone, parts: int, questions: int) -> dict[str, Any]:
    """Fuse parts that were read as first turns of their own, and compare with reading them after each other.

    Told are the nats by which the next token differs: on average over a true answer that the model is shown (``kl_``),
    and before its first word alone (``first_``), which says less of what is remembered.
    """
    facts = facts_of(questions, seed=parts)
    opening, closing = _around(backbone)
    size = -(-len(facts) // parts)
    caches = []
    for start in range(0, len(facts), size):
        cache = backbone.cache()
        text = "".join(f"{fact}\n" for fact, _ in facts[start : start + size])
        backbone.prefill([*opening, *backbone.encode(text)], cache)
        caches.append(cache)
    exact = recompute(backbone, caches)
    made = {
        "naive": naive(caches),
        "reposition": reposition(caches),
        "repair": repair(backbone, caches),
        "whole": repair(backbone, caches, max(cache.read for cache in caches)),
    }
    apart: dict[str, list[list[float]]] = {name: [] for name in made}
    for fact, question in facts:
        answer = backbone.encode(fact)
        ids = [*closing(question), *answer]
        wanted = _told(backbone, ids, exact, len(answer))
        for name, cache in made.items():
            found = _told(backbone, ids, cache, len(answer))
            apart[name].append([divergence(one, two) for one, two in zip(wanted, found, strict=True)])
    kl = {f"kl_{name}": statistics.fmean(one for each in found for one in each) for name, found in apart.items()}
    first = {f"first_{name}": statistics.fmean(each[0] for each in found) for name, found in apart.items()}
    return {"table": "fusion", "parts": len(caches), "tokens": exact.read, "questions": len(facts), **kl, **first}


def _told(backbone: Backbone, ids: Sequence[int], cache: Any, answer: int) -> torch.Tensor:
    """Return what is foretold before each token of an answer and after it, (answer + 1, V)."""
    logits = backbone.forward(ids, cache.clone(), logits="all")
    assert logits is not None
    return logits[-(answer + 1) :]


def _around(backbone: Backbone) -> tuple[list[int], Callable[[str], list[int]]]:
    """Return the tokens before a first part, and what gives those after the last one for a question."""
    mark = "§"
    special = getattr(backbone.tokenizer, "chat_template", None) is None

    def halves(question: str) -> tuple[str, str]:
        text = backbone.render([Message("system", f"{INSTRUCTIONS}\n{mark}"), Message("user", question)])
        before, _, after = text.partition(mark)
        return before, after

    return backbone.encode(halves("?")[0], special=special), lambda question: backbone.encode(halves(question)[1])


def _fused(backbone: Backbone, parts: int, questions: int) -> dict[str, Any]:
    """Fuse states that a memory keeps, and compare with reading their texts as one prompt; nats as `_fusion` has them.

    Each part begins with the template, the rules and passages numbered from 1. ``kl_naive`` joins them as they are.
    ``told_`` is what the memory says of itself after measuring a sample.
    """
    facts = facts_of(questions, seed=parts)
    with tempfile.TemporaryDirectory() as folder, _memory(Path(folder)) as memory:
        states = _parts(memory, backbone, [fact for fact, _ in facts], parts)
        loaded = [_held(memory, backbone, state) for state in states]
        ids, row = [state.id for state in states], {}
        for mode in ("repair", "reposition", "recompute"):
            whole = memory.convert(ids, backbone=backbone, fuse=mode)  # beyond 0.1 nats it reads everything
            row[f"made_{mode}"] = _said(whole.cube)["made_by"]
        segment = segment_of(backbone, whole.sources, instructions=RULES)
        exact = _held(memory, backbone, whole.cube).cache
        made = {"naive": naive([each.cache for each in loaded])}
        for mode in ("reposition", "repair"):
            done = fuse_segment(backbone, segment, loaded, mode, most=float("inf"))
            made[mode] = done.read.cache
            row |= {f"told_{mode}": done.divergence, f"reused_{mode}": done.reused}
    apart: dict[str, list[float]] = {name: [] for name in made}
    for fact, question in facts:
        asked = [Message("system", segment.content), Message("user", f"Question: {question}")]
        answer = backbone.encode(fact)
        read = [*prompt_ids(backbone, asked)[len(segment.ids) :], *answer]
        wanted = _told(backbone, read, exact, len(answer))
        for name, cache in made.items():
            found = _told(backbone, read, cache, len(answer))
            apart[name] += [divergence(one, two) for one, two in zip(wanted, found, strict=True)]
    kl = {f"kl_{name}": statistics.fmean(found) for name, found in apart.items()}
    return {"table": "fused", "parts": parts, "tokens": whole.tokens, "questions": len(facts), **kl, **row}


def _said(cube: Cube) -> Any:
    """Return what a fused state says of itself."""
    assert isinstance(cube.payload, State)
    return cube.payload.details["fused"]


def _fused_time(backbone: Backbone, length: int, repeats: int, parts: int = 3) -> dict[str, Any]:
    """Return the least seconds of `Memory.convert` with the states at hand, and of reading all texts anew."""
    facts = [cube.text for cube in _context(backbone, length)[0]]
    row: dict[str, Any] = {"table": "fused_time", "parts": parts}
    for mode in ("read", "recompute", "repair"):
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as folder, _memory(Path(folder)) as memory:
                if mode == "read":
                    texts = [memory.add(fact).cubes[0].id for fact in facts]
                    done = memory.convert(texts, backbone=backbone)
                else:
                    states = [state.id for state in _parts(memory, backbone, facts, parts)]
                    done = memory.convert(states, backbone=backbone, fuse=mode)
                    row[f"made_{mode}"] = _said(done.cube)["made_by"]
                row[f"{mode}_s"] = min(done.ms / 1000, row.get(f"{mode}_s", float("inf")))
                row |= {"tokens": done.tokens, f"{mode}_reused": done.reused}
    saved = {
        f"saved_{mode}_%": 100 * (row["read_s"] - row[f"{mode}_s"]) / row["read_s"] for mode in ("recompute", "repair")
    }
    return {**row, **saved}


def _memory(folder: Path) -> Memory:
    return Memory.open(folder / "m.db", embedder=HashEmbedder())


def _parts(memory: Memory, backbone: Backbone, texts: Sequence[str], parts: int) -> list[Cube]:
    """Keep texts and return so many states of them."""
    ids = [memory.add(text).cubes[0].id for text in texts]
    size = -(-len(ids) // parts)
    return [memory.convert(ids[start : start + size], backbone=backbone).cube for start in range(0, len(ids), size)]


def _held(memory: Memory, backbone: Backbone, cube: Cube) -> Attached:
    """Return what a memory keeps as a state."""
    assert isinstance(cube.payload, State)
    return attach(backbone, cube.payload, memory.caller.parts.desk.tensors(cube, memory.store.engine), share=True)


# --- fewer bits ------------------------------------------------------------------------------------------------------


def _stored(backbone: Backbone, blobs: FileBlobs, form: str, length: int) -> dict[str, Any]:
    cubes, segment = _context(backbone, length)
    full, state = _built(backbone, cubes, blobs), _built(backbone, cubes, blobs, form)
    rest = _prompt(backbone, segment, 24)[len(segment.ids) :]
    written = [
        backbone.continuation(rest, _loaded(backbone, one, blobs), max_tokens=GREEDY, stop=()).ids
        for one in (full, state)
    ]
    errors: Any = state.details["errors"]
    return {
        "table": "stored",
        "form": form,
        "context": len(segment.ids),
        "bytes": state.blobs[0].bytes,
        "share_of_full": state.blobs[0].bytes / full.blobs[0].bytes,
        "greedy_equal": sum(a == b for a, b in zip(*written, strict=True)),
        **errors,
    }


# --- texts -----------------------------------------------------------------------------------------------------------


def facts_of(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Return sentences and a question about each."""
    chance = random.Random(seed)
    pairs = [(name, thing) for name in _NAMES for thing in _THINGS]
    chance.shuffle(pairs)
    out = []
    for name, thing in pairs[:count]:
        colour, place = chance.choice(_COLOURS), chance.choice(_PLACES)
        out.append((f"{name} keeps the {colour} {thing} in the {place}.", f"Where does {name} keep the {thing}?"))
    return out


def _context(backbone: Backbone, length: int) -> tuple[list[Cube], Segment]:
    """Return memories that make exactly so many tokens as the first turn of a prompt."""
    facts = [fact for fact, _ in facts_of(len(_NAMES) * len(_THINGS))]
    count, cubes = 1, [_cube(facts[0], 1)]
    while len(segment_of(backbone, [*cubes, _cube(facts[count], count + 1)], instructions=INSTRUCTIONS).ids) <= length:
        cubes.append(_cube(facts[count], count + 1))
        count += 1
    segment = segment_of(backbone, cubes, instructions=INSTRUCTIONS)
    while len(segment.ids) < length:
        cubes[-1] = _cube(f"{cubes[-1].text} so", count)
        segment = segment_of(backbone, cubes, instructions=INSTRUCTIONS)
    return cubes, segment


def _prompt(backbone: Backbone, segment: Segment, count: int) -> list[int]:
    """Return a prompt with so many tokens, or the next more, after a segment."""
    question = "Where is it?"
    while True:
        ids = prompt_ids(backbone, [Message("system", segment.content), Message("user", question)])
        if len(ids) - len(segment.ids) >= count:
            return ids
        question = f"so {question}"


def _cube(text: str, number: int) -> Cube:
    payload, header = Text(text), Header()
    made = Cube(f"{number:032x}", number, 1, "main", Scope(), payload, header, _NOW, _NOW, "")
    return replace(made, hash=seal_hash(payload, header, ""))


# --- what it must show -----------------------------------------------------------------------------------------------


def _limits(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    reuse = [row for row in rows if row["table"] == "reuse"]
    fusion = [row for row in rows if row["table"] == "fusion"]
    (isolation,) = (row for row in rows if row["table"] == "isolation")
    long = [row["saved_%"] for row in reuse if row["context"] >= 768 and row["query"] <= 70]
    longest = [row["saved_%"] for row in reuse if row["context"] >= 1500 and row["query"] <= 70]
    loads = [row["load_faster"] for row in reuse if row["context"] >= 1500]
    kl = {n: sum(r[f"kl_{n}"] for r in fusion) / len(fusion) for n in ("naive", "reposition", "repair", "whole")}
    kept = [row for row in rows if row["table"] == "fused"]
    fused = {n: sum(r[f"kl_{n}"] for r in kept) / len(kept) for n in ("naive", "reposition", "repair")}
    out = [
        _at_most("largest difference of logits", 1e-3, max(row["logits_difference"] for row in reuse)),
        _at_least("equal greedy tokens of 32", GREEDY, min(r["greedy_equal"] for r in reuse if "greedy_equal" in r)),
        _at_most(
            "uses until a state has paid, queries to 64",
            2.0,
            max(r["break_even_uses"] for r in reuse if r["query"] <= 70),
        ),
        _at_most("the same, all queries", 2.0, max(r["break_even_uses"] for r in reuse)),
        _at_most("states changed by 100 uses, half of them by two threads", 0, isolation["bytes_changed"]),
        _at_most("nats, reposition less naive", 0.0, kl["reposition"] - kl["naive"]),
        _at_most("nats, repair less reposition", 0.0, kl["repair"] - kl["reposition"]),
        _at_most("nats, repair of whole parts", 1e-6, kl["whole"]),
        _at_most("nats, states of a memory, reposition less naive", 0.0, fused["reposition"] - fused["naive"]),
        _at_most("nats, states of a memory, repair less reposition", 0.0, fused["repair"] - fused["reposition"]),
    ]
    if long:
        out.append(_at_least("% saved at 768 context tokens or more, queries to 64", 70.0, min(long)))
    if longest:
        at_hand = [row["saved_at_hand_%"] for row in reuse if row["context"] >= 1500 and row["query"] <= 70]
        out.append(_at_least("% saved at 1,500 context tokens or more, queries to 64, from disk", 90.0, min(longest)))
        out.append(_at_least("the same, the state at hand in memory (as the paper measures)", 90.0, min(at_hand)))
        out.append(_at_least("times faster to load 1,500 tokens than to read them", 10.0, min(loads)))
    return out


def _at_most(what: str, limit: float, measured: float) -> dict[str, Any]:
    return {"what": what, "limit": f"<= {limit:g}", "measured": measured, "holds": bool(measured <= limit)}


def _at_least(what: str, limit: float, measured: float) -> dict[str, Any]:
    return {"what": what, "limit": f">= {limit:g}", "measured": measured, "holds": bool(measured >= limit)}


def main() -> int:
    """Print everything as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="smollm2", help="as Backbone.load takes it")
    parser.add_argument("--repeats", type=int, default=3, help="times of each timing; the least counts")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0 leaves them as they are")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    found = run(
        Backbone.load(given.model), repeats=given.repeats, say=lambda text: print(text, file=sys.stderr, flush=True)
    )
    print(json.dumps(found, indent=1))
    return 0 if all(limit["holds"] for limit in found["limits"]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
