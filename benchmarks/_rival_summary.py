"""What both sides of the comparison beside kvpress answered, as rows, limits and paired differences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pinyon.measure.stats import Interval

__all__ = ["gain", "read_lines", "summary"]

Line = Mapping[str, Any]
_ROUNDING = 1.02  # some presses round over all heads at once: up to one entry a head more
_DRAWS = 4000  # of contexts, for an interval


def read_lines(path: Path) -> dict[int, dict[str, Any]]:
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


def summary(
    name: str,
    ours: Sequence[Line],
    theirs: Sequence[Line],
    our_seconds: Sequence[Line],
    their_seconds: Sequence[Line],
    *,
    ratios: Sequence[float],
    contexts: Mapping[int, int],
) -> dict[str, Any]:
    """Return rows and limits, of the needles that the whole model answers on both sides.

    Args:
        name: Of the set of needles.
        ours: Answers of one needle each, with its number and a row for each method and ratio.
        theirs: Likewise.
        our_seconds: Times of one needle each.
        their_seconds: Likewise.
        ratios: Shares removed.
        contexts: Which context each needle is in; whole contexts are drawn for intervals.
    """
    sides = {"pinyon": (ours, our_seconds), "kvpress": (theirs, their_seconds)}
    kept = set.intersection(*(_answerable(lines) for lines, _ in sides.values()))
    rows: list[dict[str, Any]] = []
    for side, (lines, clock) in sides.items():
        rows += _side(name, side, [line for line in lines if line["number"] in kept], clock)
    rows.sort(key=lambda row: (row["removed"], -row["recall"], row["bytes"], row["by"]))
    limits = [
        {"what": f"{name}: needles that the whole model answers on both sides", "limit": ">= 100",
         "measured": len(kept), "holds": len(kept) >= 100}
    ]  # fmt: skip
    found = {side: _found([line for line in lines if line["number"] in kept]) for side, (lines, _) in sides.items()}
    for ratio in ratios:
        limits += _limits(name, ratio, [row for row in rows if row["removed"] == ratio], found, contexts)
    versions = {name: theirs[0][name] for name in ("kvpress", "torch", "transformers")} if theirs else {}
    return {"rows": rows, "limits": limits, "needles": len(kept), "rival": versions}


def gain(
    ours: Mapping[int, bool], theirs: Mapping[int, bool], contexts: Mapping[int, int], *, seed: int = 0
) -> Interval:
    """Return the share that ours finds more of the needles that both answered, with its interval.

    Needles of one context share a cut, so whole contexts are drawn.

    Args:
        ours: Whether each needle was found, by its number.
        theirs: Likewise.
        contexts: Which context each needle is in.
        seed: Of the draws.
    """
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        return Interval(0.0, 0.0, 0.0, 0)
    places = {context: place for place, context in enumerate(sorted({contexts[number] for number in both}))}
    more, count = np.zeros(len(places)), np.zeros(len(places))
    for number in both:
        more[places[contexts[number]]] += ours[number] - theirs[number]
        count[places[contexts[number]]] += 1
    drawn = np.random.default_rng(seed).integers(0, len(places), (_DRAWS, len(places)))
    low, high = np.percentile(more[drawn].sum(axis=1) / count[drawn].sum(axis=1), (2.5, 97.5)).tolist()
    return Interval(float(more.sum() / count.sum()), low, high, len(both))


def _answerable(lines: Sequence[Line]) -> set[int]:
    return {
        line["number"] for line in lines for row in line["rows"] if row["method"] == "full" and row.get("found", False)
    }


def _found(lines: Sequence[Line]) -> dict[tuple[str, float], dict[int, bool]]:
    """Return whether each method found each needle; one that failed did not."""
    found: dict[tuple[str, float], dict[int, bool]] = {}
    for line in lines:
        for row in line["rows"]:
            found.setdefault((row["method"], row["ratio"]), {})[line["number"]] = row.get("found", False)
    return found


def _side(name: str, side: str, lines: Sequence[Line], clock: Sequence[Line]) -> list[dict[str, Any]]:
    cells: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
    for line in lines:
        for row in line["rows"]:
            cells.setdefault((row["method"], row["ratio"]), []).append(row)
    rows = []
    for (method, ratio), answers in cells.items():
        good = [row for row in answers if "failed" not in row]
        timed_rows = [row for line in clock for row in line["rows"] if row["method"] == method and "failed" not in row]
        times = [row for row in timed_rows if method == "full" or row["ratio"] == ratio]
        rows.append(
            {
                "set": name,
                "by": side,
                "method": method,
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


def _limits(
    name: str,
    ratio: float,
    rows: Sequence[Mapping[str, Any]],
    found: Mapping[str, Mapping[tuple[str, float], Mapping[int, bool]]],
    contexts: Mapping[int, int],
) -> list[dict[str, Any]]:
    """Return whether ours leads at a ratio: at equal true bytes, and when what is hidden is not counted.

    A tie is no lead. The difference on the same needles stands beside, with its interval.
    """
    mine = [row for row in rows if row["by"] == "pinyon" and row["bytes"]]
    if not mine:
        return []
    most = max(row["needles"] for row in mine)
    mine = [row for row in mine if row["needles"] == most]  # those that answered all; of kvpress any counts
    best = max(mine, key=lambda row: (row["recall"], -row["bytes"]))
    others = [row for row in rows if row["by"] == "kvpress" and row["bytes"]]
    limits = []
    for what, size in (
        ("at equal true bytes", lambda row: row["bytes"]),
        ("hidden entries of kvpress not counted", lambda row: row["bytes"] - row["hidden_bytes"]),
    ):
        within = [row for row in others if size(row) <= best["bytes"] * _ROUNDING]
        rival = max(within, key=lambda row: (row["recall"], row["needles"]), default=None)
        said = f"{name}: recall of {best['method']} with {ratio:.0%} removed, {what}"
        theirs = rival["recall"] if rival else 0.0
        limit = "> 0.00 (none)"
        if rival:
            limit = f"> {theirs:.2f} ({rival['method']}, {rival['needles']} needles)"
            answers = (found["pinyon"][best["method"], ratio], found["kvpress"][rival["method"], ratio])
            more = gain(*answers, contexts)
            said += f"; {100 * more.value:+.1f} points [{100 * more.low:+.1f}, {100 * more.high:+.1f}]"
        limits.append({"what": said, "limit": limit, "measured": best["recall"], "holds": best["recall"] > theirs})
    return limits
