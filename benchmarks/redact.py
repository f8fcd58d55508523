"""Measure what redaction finds and what it takes for something it is not, by kind.

Recall and precision on sentences made from rules, and false findings per 1,000 sentences of real text, every one of
which counts as false (the Python reference does hold a few example addresses). Needs the extra ``govern``.

Example:
    python benchmarks/redact.py --seed 11
    python benchmarks/redact.py --show ip          # the findings of a kind in real text
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections import Counter
from pathlib import Path

import _redaction_set as data

from pinyon.govern.redact import KINDS, Redactor, default_rules


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seed", type=int, default=11)
    options.add_argument("--show", metavar="KIND", help="print the findings of a kind in real text, and what is missed")
    options.add_argument("--json", type=Path, help="write the figures to this file")
    given = options.parse_args()
    redactor = Redactor(default_rules(), key=b"the key of a measurement")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, seed {given.seed}\n")
    cells = {"made": made(redactor, given.seed, given.show), "real": real(redactor, given.show)}
    if given.json is not None:
        said = {"python": platform.python_version(), "seed": given.seed, "cells": cells}
        given.json.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


def made(redactor: Redactor, seed: int, show: str | None) -> list[dict[str, object]]:
    """Print and return recall and precision on sentences made from rules."""
    items = data.positives(seed) + data.negatives()
    wanted, hit, covered, found, right = (Counter[str]() for _ in range(5))
    for item in items:
        spans = redactor.spans(item.text)
        found.update(span.kind for span in spans)
        for span in spans:
            right[span.kind] += span.kind == item.kind and span.start < item.end and item.start < span.end
        if item.kind:
            whole = [span for span in spans if span.start <= item.start and item.end <= span.end]
            wanted[item.kind] += 1
            hit[item.kind] += any(span.kind == item.kind for span in whole)
            covered[item.kind] += bool(whole)
            if show == item.kind and not any(span.kind == item.kind for span in whole):
                print("missed:", item.form, repr(item.text), spans)
    print("| kind | examples | found whole | covered as any kind | findings | right |\n|---|---|---|---|---|---|")
    cells: list[dict[str, object]] = []
    for kind in (*KINDS, "all"):
        one = [counts.total() if kind == "all" else counts[kind] for counts in (wanted, hit, covered, found, right)]
        share, precise = one[1] / max(1, one[0]), one[4] / max(1, one[3])
        print(f"| {kind} | {one[0]} | {share:.3f} | {one[2] / max(1, one[0]):.3f} | {one[3]} | {precise:.3f} |")
        names = ("examples", "found_whole", "covered", "findings", "right")
        cells.append({"kind": kind, **dict(zip(names, one, strict=True))})
    print(f"\n{len(data.LOOK_ALIKES)} look-alikes are among the sentences.\n")
    return cells


def real(redactor: Redactor, show: str | None) -> list[dict[str, object]]:
    """Print and return false findings in real text."""
    print("Findings per 1,000 sentences of real text:\n")
    print(f"| text | sentences | {' | '.join(KINDS)} | all | ms per 1,000 |\n|---|---|{'---|' * (len(KINDS) + 2)}")
    cells: list[dict[str, object]] = []
    for name, sentences in data.real_sentences().items():
        found: Counter[str] = Counter()
        begun = time.perf_counter()
        for text in sentences:
            for span in redactor.spans(text):
                found[span.kind] += 1
                if span.kind == show:
                    print(f"found: {text[max(0, span.start - 30) : span.end + 20]!r}")
        spent = (time.perf_counter() - begun) * 1e6 / len(sentences)
        rates = " | ".join(f"{found[kind] * 1000 / len(sentences):.2f}" for kind in KINDS)
        print(f"| {name} | {len(sentences)} | {rates} | {found.total() * 1000 / len(sentences):.2f} | {spent:.0f} |")
        cells.append({"text": name, "sentences": len(sentences), "findings": dict(found)})
    return cells


if __name__ == "__main__":
    main()
