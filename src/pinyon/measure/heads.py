"""`pinyon heads` and `pinyon measure needle`: look inside a local model, with tables, JSON and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..core.payload import Json, canonical, digest
from ..errors import BadInput
from .maps import (
    check_pictures,
    curves_png,
    forgetting_curves,
    head_map_png,
    needle_map_png,
    save_picture_data,
)
from .needle_grid import NeedleGrid, Question, measure_needles
from .needle_policies import reading_called
from .session import ItemLog

if TYPE_CHECKING:
    from ..models.backbone import Backbone
    from ..state.head_check import HeadCheck
    from ..state.head_profile import HeadProfile

__all__ = ["Looked", "heads", "needle"]

Progress = Callable[[object], object]
_LISTED = 20  # heads that are named


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen inside a model.

    Args:
        text: For people, in Markdown.
        data: The same as JSON, all a dashboard needs.
    """

    text: str
    data: Json


def heads(
    model: str,
    *,
    trials: int = 20,
    lengths: str = "500,700,900",
    threshold: int = 10,
    seed: int = 0,
    check: bool = False,
    facts: str | None = None,
    text: str | None = None,
    out: str | None = None,
    log: str | None = None,
    png: str | None = None,
    progress: Progress | None = None,
) -> Looked:
    """Find the heads of a model that copy from far away into what it writes.

    Args:
        model: As `Backbone.load` takes it.
        trials: Needles that are hidden.
        lengths: Tokens of the prompts, divided by commas.
        threshold: From which score on a head counts, in per cent.
        seed: Of the trials.
        check: Whether to silence the best five, and five others ten times, and ask for other needles.
        facts: File of the needles, one JSON object a line with told, question and answer; our own when None.
        text: File whose sentences the needles are hidden in; the Python language reference when None.
        out: File for the profile.
        log: File of the trials; an interrupted search goes on there.
        png: File for a map of the heads; its numbers are written beside it as JSON.
        progress: Told 1 after each trial.

    Raises:
        BadInput: Something cannot be used.
        MissingExtra: torch, or matplotlib for a picture, is not installed.
        ModelError: The model cannot be loaded.
    """
    picture = None if png is None else Path(png).expanduser()
    check_pictures(
        [] if picture is None else [picture],
        written=None if out is None else Path(out).expanduser(),
        read=_paths(facts, text, log),
    )
    backbone = _loaded(model)
    from ..state.head_check import check_heads
    from ..state.needle_prompts import FIND_FACTS, read_facts, reference_sentences
    from ..state.retrieval_heads import find_heads

    sentences = reference_sentences if text is None else _sentences_of(Path(text).expanduser())
    profile = find_heads(
        backbone,
        FIND_FACTS if facts is None else read_facts(Path(facts).expanduser()),
        lengths=[int(one) for one in _numbers(lengths, "lengths")],
        trials=trials,
        threshold=threshold / 100,
        seed=seed,
        sentences=sentences,
        log=None if log is None else Path(log).expanduser(),
        progress=_steps(progress),
    )
    data = profile.to_json()
    lines = _head_lines(profile, backbone.name)
    if check:
        found = check_heads(backbone, profile, counts=(5,), seed=seed, sentences=sentences, progress=_steps(progress))
        data["check"] = _check_json(found)
        lines += _check_lines(found)
    if out is not None:
        profile.save(Path(out).expanduser())
        lines.append(f"written: {out}")
    if picture is not None:
        head_map_png(picture, data, model=backbone.name)
        lines += [f"written: {picture}", f"written: {save_picture_data(picture, 'head map', data)}"]
    return Looked("\n".join(lines) + "\n", data)


def needle(
    *,
    model: str = "smollm2",
    policy: str = "none",
    ratio: str = "0.5",
    question: Question = "unseen",
    lengths: str = "400,700,1000",
    depths: str = "0,0.25,0.5,0.75,1",
    profile: str | None = None,
    facts: str | None = None,
    items: int | None = None,
    seed: int = 0,
    out: str = "measured",
    png: str | None = None,
    progress: Progress | None = None,
) -> Looked:
    """Ask a local model for needles, its cache cut by one or several policies.

    Args:
        model: As `Backbone.load` takes it.
        policy: Names divided by commas.
        ratio: Share of the entries that goes, 0 to below 1.
        question: Whether the cache is cut before the question is read ("unseen") or after ("seen").
        lengths: Tokens of the prompts, divided by commas.
        depths: Where the needles lie, 0 to 1, divided by commas.
        profile: File of the head profile, for policies by heads.
        facts: File of the needles, as for `heads`; those for checks when None.
        items: Most needles of each policy, drawn at random.
        seed: Of the texts.
        out: Folder of the logs; an interrupted measurement goes on there.
        png: File for a heat map; with several policies also their forgetting curves, beside it. The numbers of each are
            written beside it as JSON.
        progress: Told 1 after each needle.

    Raises:
        BadInput: Something cannot be used.
        NotFound: There is no policy of a name.
        MissingExtra: torch, or matplotlib for a picture, is not installed.
        ModelError: The model cannot be loaded.
    """
    if question not in ("unseen", "seen"):
        raise BadInput(f"question must be 'unseen' or 'seen', got {question!r}")
    from ..state.needle_prompts import read_facts

    share = _share(ratio)
    picture = None if png is None else Path(png).expanduser()
    names = list(dict.fromkeys(name.strip() for name in policy.split(",") if name.strip()))
    if not names:
        raise BadInput(f"policies are names divided by commas, got {policy!r}", hint="none keeps everything")
    check_pictures(_pictures(picture, names), read=_paths(profile, facts))
    backbone = _loaded(model)
    hidden = None if facts is None else read_facts(Path(facts).expanduser())
    folder = Path(out).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    file = None if profile is None else Path(profile).expanduser()
    grids: list[NeedleGrid] = []
    for name in names:
        gone = 0.0 if name == "none" else share
        setting = [backbone.fingerprint.digest, gone, question, seed, lengths, depths, facts, profile]
        mark = digest(canonical(setting))[:12]  # results of two settings never mix
        read = reading_called(name, backbone, profile=file, seed=seed)
        with ItemLog(folder / f"needle--{name}--{mark}.items.jsonl", note=_noted(progress)) as log:
            grids.append(
                measure_needles(
                    backbone, hidden, read=read, policy=name, ratio=gone, question=question, items=items, seed=seed,
                    log=log, lengths=[int(one) for one in _numbers(lengths, "lengths")],
                    depths=_numbers(depths, "depths"),
                )
            )  # fmt: skip
    written = [] if picture is None else _draw(grids, picture)
    text = "\n".join(grid.to_markdown() for grid in grids) + "".join(f"written: {one}\n" for one in written)
    curves = cast("Json", forgetting_curves(grids))
    return Looked(text, {"grids": [grid.to_json() for grid in grids], "curves": curves})


def _share(text: str) -> float:
    """Return the share of a cache that goes."""
    numbers = _numbers(text, "ratio")
    if len(numbers) != 1 or not 0 <= numbers[0] < 1:
        raise BadInput(
            f"ratio must be one number from 0 to below 1, got {text!r}", hint="0.5 lets half of the cache go"
        )
    return numbers[0]


def _draw(grids: Sequence[NeedleGrid], path: Path) -> list[Path]:
    pictures, written = _pictures(path, [grid.policy for grid in grids]), []
    for grid, picture in zip(grids, pictures, strict=False):
        needle_map_png(picture, grid)
        written += [picture, save_picture_data(picture, "needle map", grid.to_json())]
    if len(grids) > 1:
        across, found = "tokens since it was told", forgetting_curves(grids)
        curves_png(pictures[-1], f"{grids[0].model}, question {grids[0].question}", found, across=across)
        data: Mapping[str, Json] = {"across": across, "curves": cast("Json", found)}
        written += [pictures[-1], save_picture_data(pictures[-1], "forgetting curves", data)]
    return written


def _pictures(path: Path | None, policies: Sequence[str]) -> list[Path]:
    """Return the files of the heat maps, and of the forgetting curves where there are several policies."""
    if path is None:
        return []
    if len(policies) < 2:
        return [path]
    return [path.with_name(f"{path.stem}-{name}{path.suffix}") for name in (*policies, "forgetting")]


def _paths(*files: str | None) -> list[Path]:
    return [Path(file).expanduser() for file in files if file is not None]


def _loaded(model: str) -> Backbone:
    from ..states import backbone_from

    return backbone_from(model)


def _numbers(text: str, name: str) -> list[float]:
    try:
        found = [float(part) for part in str(text).split(",") if part.strip()]
    except ValueError:
        found = []
    if not found:
        raise BadInput(f"{name} must be numbers divided by commas, got {text!r}")
    return found


def _sentences_of(file: Path) -> Callable[[], Sequence[str]]:
    """Return the sentences of a text file."""
    import re

    words = " ".join(file.read_text(encoding="utf-8", errors="replace").split())
    found = [one for one in re.split(r"(?<=[.!?])\s+", words) if 4 <= len(one.split()) <= 60]
    if not found:
        raise BadInput(f"{str(file)!r} holds no sentences")
    return lambda: found


def _steps(progress: Progress | None) -> Callable[[int, int], object] | None:
    return None if progress is None else lambda _done, _all: progress(1)


def _noted(progress: Progress | None) -> Callable[[str, str], object] | None:
    return None if progress is None else lambda what, _key: progress(1) if what == "end" else None


def _head_lines(profile: HeadProfile, name: str) -> list[str]:
    scores, activation, found = profile.scores, profile.activation, profile.retrieval_heads
    none = sum(score == 0 for score in scores.values())
    kv_heads = sum(score >= profile.threshold for layer in profile.kv_scores() for score in layer)
    lines = [
        f"### heads: {name}",
        "",
        f"{len(profile.counted)} of {len(profile.trials)} needles repeated; {len(found)} of {len(scores)} heads"
        f" ({100 * len(found) / len(scores):.1f} %) copy at least {100 * profile.threshold:g} % of a needle,"
        f" {100 * none / len(scores):.1f} % nothing; {kv_heads} of {profile.layers * profile.kv_heads} key/value heads",
        "",
        "| layer | head | score | active in |",
        "|---:|---:|---:|---:|",
    ]
    lines += [f"| {a} | {b} | {scores[a, b]:.3f} | {100 * activation[a, b]:.0f} % |" for a, b in found[:_LISTED]]
    return lines


def _check_lines(found: HeadCheck) -> list[str]:
    others = [100 * row.recall for row in found.others(5)]
    mean = sum(others) / len(others)
    return [
        "",
        f"{len(found.facts)} of {found.asked} other needles repeated, word recall {100 * found.whole.recall:.0f};"
        f" without the best five {100 * found.top(5).recall:.0f}; without five others"
        f" {mean:.0f} ({min(others):.0f} to {max(others):.0f}, {len(others)} draws)",
    ]


def _check_json(found: HeadCheck) -> dict[str, Any]:
    rows = [{**asdict(row), "heads": [list(head) for head in row.heads], "recall": row.recall} for row in found.rows]
    return {
        "asked": found.asked, "repeated": len(found.facts), "when": found.when, "mode": found.mode,
        "rows": [{**row, "recalls": list(row["recalls"])} for row in rows],
    }  # fmt: skip
