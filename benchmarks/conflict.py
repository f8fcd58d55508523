"""Measure what supersession without a model claims: on pairs written by hand, and on the talks of LoCoMo.

Example:
    python benchmarks/conflict.py
    PINYON_DATA=... python benchmarks/conflict.py --show 30 --seed 7    # claims in LoCoMo to look at by eye
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
from datetime import UTC, datetime
from pathlib import Path

from _conflict_pairs import HELD_OUT, PAIRS

from pinyon.core.cube import Cube, Draft
from pinyon.core.header import Header, Life, Provenance
from pinyon.core.payload import Text
from pinyon.govern.conflict import Fact, Statement, Supersession, find_conflicts

FIRST = datetime(2023, 1, 1, tzinfo=UTC)


def said(text: str, speaker: str, time: datetime, order: int) -> Statement:
    header = Header(provenance=Provenance(unit="turn", speaker=speaker), life=Life(valid_from=time))
    return Statement.of_draft(Draft(Text(text), header), id=f"{order:032x}", owner="", now=time, order=order)


def nothing_stored(_: Fact) -> list[Cube]:
    return []


def claims(old: str, new: str) -> list[Supersession]:
    """Return what is claimed of a pair."""
    two = [said(old, "Ann", FIRST, 1), said(new, "Ann", FIRST.replace(year=2024), 2)]
    return find_conflicts(two, nothing_stored)


def pairs(name: str, all_pairs: tuple[tuple[bool, str, str], ...]) -> dict[str, object]:
    """Print and return precision and recall on pairs, and every mistake."""
    counts = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for replaces, old, new in all_pairs:
        claimed = any(claim.old.order == 1 for claim in claims(old, new))
        counts[replaces, claimed] += 1
        if claimed != replaces:
            print(f"{'wrong' if claimed else 'missed'}: {old} / {new}")
    right, missed, wrong = counts[True, True], counts[True, False], counts[False, True]
    print(f"{len(all_pairs)} {name}: precision {right}/{right + wrong} = {right / (right + wrong):.3f}, ", end="")
    print(f"recall {right}/{right + missed} = {right / (right + missed):.3f}\n")
    return {"what": name, "pairs": len(all_pairs), "right": right, "wrong": wrong, "missed": missed}


def talks(folder: Path, show: int, seed: int) -> dict[str, object]:
    """Print and return how much is claimed in LoCoMo, and some of it."""
    found: list[Supersession] = []
    turns = facts = 0
    for talk in json.loads((folder / "locomo" / "locomo_dev6.json").read_text(encoding="utf-8")):
        all_said: list[Statement] = []
        conversation = talk["conversation"]
        for name, session in conversation.items():
            if isinstance(session, list):
                time = datetime.strptime(conversation[f"{name}_date_time"], "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
                all_said += [
                    said(turn["text"], turn["speaker"], time, len(all_said) + n) for n, turn in enumerate(session)
                ]
        turns += len(all_said)
        facts += sum(len(one.facts) for one in all_said)
        found += find_conflicts(all_said, nothing_stored)
    print(f"\nLoCoMo: {turns} turns, {facts} facts, {len(found)} supersessions claimed\n")
    for claim in random.Random(seed).sample(found, min(show, len(found))):
        print(f"[{claim.attribute}] {claim.old.speaker}: {claim.old.text}\n    -> {claim.new.text}\n")
    return {"what": "LoCoMo", "turns": turns, "facts": facts, "claimed": len(found)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--show", type=int, default=0, help="claims in LoCoMo to print")
    options.add_argument("--seed", type=int, default=7)
    options.add_argument("--json", type=Path, help="write the figures to this file")
    given = options.parse_args()
    cells = [pairs("pairs known to the rules", PAIRS), pairs("pairs held out", HELD_OUT)]
    if folder := os.environ.get("PINYON_DATA"):
        cells.append(talks(Path(folder), given.show, given.seed))
    if given.json is not None:
        said = {"python": platform.python_version(), "seed": given.seed, "cells": cells}
        given.json.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
