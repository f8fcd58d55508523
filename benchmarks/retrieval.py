"""Measure what a memory finds: LoCoMo, passages of documents, SQuAD, HotpotQA, beside its single legs.

Everything is added and searched through `pinyon.Memory` with the default embedder; no model writes or judges anything.
Tables go to standard output as Markdown, progress to standard error, every question with its ranks to a JSON file.

    python benchmarks/retrieval.py
    python benchmarks/retrieval.py --only locomo
    python benchmarks/retrieval.py --only crossvalidate
    python benchmarks/retrieval.py --only rerank
    python benchmarks/retrieval.py --only ask
    python benchmarks/retrieval.py --only chunks
    python benchmarks/retrieval.py --only variants
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pinyon import Document, Memory
from pinyon.errors import PinyonError
from pinyon.measure import (
    CONTROLS,
    VARIANTS,
    Corpus,
    Report,
    chunk_sizes,
    chunk_table,
    compare,
    cross_validate,
    hotpot,
    locomo,
    locomo_merged,
    passages,
    run_corpus,
    squad,
    squad_articles,
    try_variants,
    variants_table,
)
from pinyon.measure.base import OVERALL, surroundings
from pinyon.measure.learn import learn_weights
from pinyon.measure.other_words import in_other_words, scattered

STUDIES = ("ask", "crossvalidate", "rerank", "chunks", "variants")  # of the ranking itself; only when asked for
ROOT = Path(__file__).resolve().parent.parent
LIMITS = {"recall@10": 0.74, "recall@50": 0.87}  # LoCoMo, one memory a conversation, default embedder, questions of 1-4


@dataclass(frozen=True, slots=True)
class Subject:
    """One data set: where it lies below the data folder, how it becomes a corpus, and the depths reported."""

    name: str
    where: str
    corpus: Callable[..., Corpus]
    ks: tuple[int, ...]
    shown: tuple[int, ...]


SUBJECTS = (
    Subject("locomo", "locomo/*.json", locomo, (1, 5, 10, 20, 50), (10, 50)),
    Subject("merged", "locomo/*.json", locomo_merged, (1, 5, 10, 20, 50), (10, 50)),
    Subject("passages", "books", passages, (1, 5, 10, 20), (1, 10)),
    Subject("squad", "docs/squad2*.json", squad, (1, 5, 10), (1, 5)),
    Subject("squad", "docs/squad2*.json", squad_articles, (1, 5, 10), (1, 5)),
    Subject("hotpot", "docs/hotpotqa*.jsonl", hotpot, (2, 5, 10, 20), (5, 10)),
)


def found(data: Path, subject: Subject) -> Path | None:
    """Return where the data of a subject lie, or None."""
    return next(iter(sorted(data.glob(subject.where))), None)


def measure(subject: Subject, path: Path | None, command: str) -> list[Report]:
    """Run the default and the controls on one corpus."""
    corpus = subject.corpus(path)
    reports = []
    for system, index in {"default": None, **CONTROLS}.items():
        with tqdm(
            total=corpus.questions, desc=f"{corpus.name}: {system}", unit="q", file=sys.stderr, leave=False
        ) as bar:
            report = run_corpus(corpus, ks=subject.ks, system=system, index=index, progress=bar.update)
        reports.append(replace(report, command=command))
    print(compare(reports, [f"recall@{k}" for k in subject.ks]))
    print(reports[0].to_markdown(), flush=True)
    if subject.name == "locomo":
        print(verdicts(reports[0]), flush=True)
    return reports


def verdicts(report: Report) -> str:
    """Return what the project asks of a report on LoCoMo, what was measured, and whether it is met."""
    measured = {metric.name: metric.value for metric in report.metrics if metric.group == OVERALL}
    rows = [
        f"| {name} | >= {least:.2f} | {measured[name]:.3f} | {'met' if measured[name] >= least else 'NOT MET'} |"
        if name in measured
        else f"| {name} | >= {least:.2f} | - | not measured |"
        for name, least in LIMITS.items()
    ]
    return "\n".join(
        [f"### Limits: {report.name}", "", "| what | limit | measured | verdict |", "|---|---:|---:|---|", *rows, ""]
    )


def run_crossvalidation(data: Path) -> dict[str, Any]:
    """Print how the first sum does beside weights that never saw the conversation."""
    path = found(data, SUBJECTS[0])
    if path is None:
        raise SystemExit("cross-validation needs LoCoMo in the data folder")
    with tqdm(desc="cross-validation", unit=" sets of weights", file=sys.stderr, leave=False) as bar:
        result = cross_validate(locomo(path), progress=bar.update)
    print(result.to_markdown(), flush=True)
    return asdict(result)


def run_rerank(data: Path) -> dict[str, Any]:
    """Print the weights of the second look, and what weights that never saw a conversation find in it.

    It learns from the conversations as they are, and from the same evidence under harder circumstances: asked for in
    other words, standing alone between paragraphs of books and of the Python reference, and both.
    """
    path = found(data, SUBJECTS[0])
    if path is None:
        raise SystemExit("the second look learns from LoCoMo in the data folder")
    corpus = locomo(path)
    texts = _paragraphs(passages(next((data / s.where for s in SUBJECTS if s.corpus is passages), None)))
    reworded = in_other_words(corpus)
    variants = (reworded, scattered(corpus, texts), scattered(reworded, texts))
    with tqdm(desc="second look", unit="q", file=sys.stderr, leave=False) as bar:
        learned = learn_weights(corpus, variants, progress=bar.update)
    print(learned.to_markdown(), flush=True)
    return asdict(learned)


def _paragraphs(corpus: Corpus) -> list[list[str]]:
    """Return of each document the paragraphs that are as long as answers of an assistant, in order."""
    documents = [one for room in corpus.rooms for one in room.experiences if isinstance(one, Document)]
    kept = [[part for part in one.text.split("\n\n") if 300 < len(part) < 1500] for one in documents]
    return [parts for parts in kept if parts]


def run_ask(data: Path) -> dict[str, float]:
    """Print how often the answer by quotation is right, and how often it answers what the memory cannot know.

    What it cannot know are the questions to the next conversation, with the names of its speakers put in place of those
    of this one.
    """
    path = found(data, SUBJECTS[0])
    if path is None:
        raise SystemExit("answers need LoCoMo in the data folder")
    corpus = locomo(path)
    rooms = corpus.rooms
    names = [sorted({t.speaker for e in room.experiences for t in e.turns}) for room in rooms]
    counts = dict.fromkeys(("asked", "answered", "first right", "any right", "foreign", "foreign answered"), 0)
    with Memory.open(":memory:") as memory, tqdm(desc="answers", unit="q", file=sys.stderr, leave=False) as bar:
        for place, room in enumerate(rooms):
            here = memory.at(space=room.space)
            here.add_many(room.experiences)
            for question in room.questions:
                if question.category == "adversarial":
                    continue
                cited = [
                    set(corpus.names(c.hit.cube)) & set(question.evidence) for c in here.ask(question.text).citations
                ]
                counts["asked"] += 1
                counts["answered"] += bool(cited)
                counts["first right"] += bool(cited and cited[0])
                counts["any right"] += any(cited)
                bar.update()
            other = (place + 1) % len(rooms)
            for question in rooms[other].questions:
                text = question.text
                for theirs, ours in zip(names[other], names[place], strict=False):
                    text = text.replace(theirs, ours)
                counts["foreign"] += 1
                counts["foreign answered"] += here.ask(text).is_known
                bar.update()
    asked, foreign = counts["asked"], counts["foreign"]
    print(f"### Answers by quotation, LoCoMo, {asked} questions and {foreign} to another conversation\n")
    print("| answered | first citation is evidence | any is | foreign questions answered |\n|---:|---:|---:|---:|")
    shares = (counts["answered"] / asked, counts["first right"] / asked, counts["any right"] / asked)
    print("| " + " | ".join(f"{100 * share:.1f}" for share in (*shares, counts["foreign answered"] / foreign)) + " |\n")
    return {name: float(count) for name, count in counts.items()}


def run_chunks(data: Path) -> list[dict[str, Any]]:
    """Print what chunks of several sizes find in equal amounts of text."""
    out = []
    for subject in SUBJECTS:
        path = found(data, subject)
        if subject.corpus in (passages, squad_articles) and path is not None:
            measured = chunk_sizes(subject.corpus(path))
            print(chunk_table(measured), flush=True)
            out.extend(asdict(one) for one in measured)
    return out


def run_variants(data: Path) -> list[dict[str, Any]]:
    """Print what each change of the ranking brings on each corpus."""
    there = [(subject, path) for subject in SUBJECTS if (path := found(data, subject)) is not None]
    corpora = [(subject.corpus(path), subject.shown) for subject, path in there]
    with tqdm(total=len(corpora) * len(VARIANTS), desc="variants", file=sys.stderr, leave=False) as bar:
        trials = try_variants(corpora, progress=bar.update)
    print(variants_table(trials), flush=True)
    return [asdict(trial) for trial in trials]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*dict.fromkeys(subject.name for subject in SUBJECTS), *STUDIES]
    folder = Path(os.environ.get("PINYON_DATA") or ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=folder, help="evaluation data (default: $PINYON_DATA)")
    parser.add_argument("--only", choices=names, action="append", help="may be repeated; default: all data sets")
    parser.add_argument("--json", type=Path, metavar="OUT", help="default: benchmarks/results/retrieval[-ONLY].json")
    options = parser.parse_args(arguments)
    if not options.data.is_dir():
        print(
            f"no data folder {str(options.data)!r}: give --data or set PINYON_DATA for more than this", file=sys.stderr
        )
    said = sys.argv[1:] if arguments is None else list(arguments)
    command = shlex.join(["python", "benchmarks/retrieval.py", *_without_paths(said)])
    machine, versions = surroundings()
    start = time.perf_counter()
    print(f"`{command}` on {machine}; " + ", ".join(f"{k} {v}" for k, v in versions.items()) + "\n", flush=True)
    wanted = options.only or [name for name in names if name not in STUDIES]
    out: dict[str, Any] = {"command": command, "machine": machine, "versions": versions, "reports": []}
    try:
        for subject in SUBJECTS:
            path = found(options.data, subject) if subject.name in wanted else None
            if path is not None or (subject.corpus is passages and subject.name in wanted):  # Python brings some itself
                out["reports"].extend(report.to_json() for report in measure(subject, path, command))
            elif subject.name in wanted:
                print(f"{subject.name}: no {subject.where} in the data folder, left out\n", file=sys.stderr)
        if "crossvalidate" in wanted:
            out["crossvalidation"] = run_crossvalidation(options.data)
        if "rerank" in wanted:
            out["rerank"] = run_rerank(options.data)
        if "ask" in wanted:
            out["ask"] = run_ask(options.data)
        if "chunks" in wanted:
            out["chunks"] = run_chunks(options.data)
        if "variants" in wanted:
            out["variants"] = run_variants(options.data)
    except PinyonError as error:
        print(error, file=sys.stderr)
        return 1
    out["seconds"] = time.perf_counter() - start
    name = "-".join(["retrieval", *(options.only or [])])
    file = options.json or ROOT / "benchmarks" / "results" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(out) + "\n", encoding="utf-8")
    print(f"{out['seconds']:.0f} s in all.")
    return 0


def _without_paths(arguments: Sequence[str]) -> list[str]:
    """Drop options that name this machine's folders; they are given by the environment of whoever repeats it."""
    kept, skip = [], False
    for argument in arguments:
        if skip or argument.startswith(("--data=", "--json=")):
            skip = False
        elif argument in ("--data", "--json"):
            skip = True
        else:
            kept.append(argument)
    return kept


if __name__ == "__main__":
    raise SystemExit(main())
