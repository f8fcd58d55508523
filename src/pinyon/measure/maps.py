"""Heat maps and curves as PNG by matplotlib: needles by length and depth, heads by layer, forgetting by distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ..core.payload import Json
from ..extras import require
from .needle_grid import NeedleGrid

__all__ = ["curves_png", "forgetting_curves", "head_map_png", "needle_map_png"]

_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")  # told apart without colour too


def needle_map_png(path: Path, grid: NeedleGrid) -> None:
    """Draw the share of needles that came back, one cell a length and depth, with its number.

    Args:
        path: Of the PNG file.
        grid: What was measured.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    lengths, depths = grid.lengths, grid.depths
    shares = [[grid.cell(length, depth) for length in lengths] for depth in depths]
    values = [[found.value if found.n else float("nan") for found in row] for row in shares]
    figure, axis = _figure(max(5.0, 1.1 * len(lengths) + 3), max(3.0, 0.5 * len(depths) + 2))
    image = axis.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for row, cells in enumerate(shares):
        for column, found in enumerate(cells):
            if found.n:
                colour = "black" if found.value > 0.6 else "white"
                axis.text(column, row, f"{100 * found.value:.0f}", ha="center", va="center", color=colour)
    axis.set_xticks(range(len(lengths)), [str(length) for length in lengths])
    axis.set_yticks(range(len(depths)), [f"{100 * depth:.0f} %" for depth in depths])
    axis.set_xlabel("tokens of the prompt")
    axis.set_ylabel("depth of the needle")
    axis.set_title(f"{grid.model}, {grid.policy}, question {grid.question}", loc="left", fontsize=10)
    figure.colorbar(image, ax=axis, label="needles repeated")
    figure.savefig(path, dpi=120)


def head_map_png(path: Path, profile: Mapping[str, Json]) -> None:
    """Draw the retrieval score of every head, one row a layer.

    Args:
        path: Of the PNG file.
        profile: As `HeadProfile.to_json` gives it.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    layers, heads = int(cast("int", profile["layers"])), int(cast("int", profile["heads"]))
    values = [[0.0] * heads for _ in range(layers)]
    scores = cast("Sequence[Mapping[str, Any]]", profile["scores"])  # as `to_json` writes them
    for one in scores:
        values[one["layer"]][one["head"]] = one["score"]
    figure, axis = _figure(max(4.0, 0.35 * heads + 2.5), max(3.0, 0.22 * layers + 1.5))
    image = axis.imshow(values, vmin=0, vmax=1, cmap="magma", aspect="auto")
    threshold = float(cast("float", profile["threshold"]))
    for one in scores:
        if one["score"] >= threshold:
            axis.text(one["head"], one["layer"], f"{100 * one['score']:.0f}", ha="center", va="center", fontsize=6,
                      color="black" if one["score"] > 0.6 else "white")  # fmt: skip
    axis.set_xlabel("head")
    axis.set_ylabel("layer")
    axis.set_title(f"retrieval score; numbers from {100 * threshold:g} % on", loc="left", fontsize=10)
    figure.colorbar(image, ax=axis, label="share of the needle copied")
    figure.savefig(path, dpi=120)


def curves_png(path: Path, title: str, curves: Mapping[str, Sequence[Mapping[str, Any]]], *, across: str) -> None:
    """Draw shares over something, one line each, with their intervals.

    Args:
        path: Of the PNG file.
        title: Above it.
        curves: By name points with ``x``, ``value``, ``low`` and ``high``.
        across: What x is.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure, axis = _figure(7.0, 4.2)
    for place, (name, points) in enumerate(curves.items()):
        xs, values = [point["x"] for point in points], [point["value"] for point in points]
        below = [max(0.0, point["value"] - point["low"]) for point in points]
        above = [max(0.0, point["high"] - point["value"]) for point in points]
        axis.errorbar(xs, values, yerr=[below, above], marker=_MARKS[place % len(_MARKS)], capsize=2, label=name)
    axis.set_ylim(-0.03, 1.03)
    axis.set_xlabel(across)
    axis.set_ylabel("share that came back")
    axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axis.spines[["top", "right"]].set_visible(False)
    if curves:
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def forgetting_curves(grids: Sequence[NeedleGrid]) -> dict[str, list[dict[str, Any]]]:
    """Return the forgetting curves of grids, by policy, as `curves_png` and a dashboard take them.

    Args:
        grids: Each is one line.
    """
    out: dict[str, list[dict[str, Any]]] = {}
    for grid in grids:
        name = grid.policy if grid.ratio in (None, 0.0) else f"{grid.policy}, {100 * (grid.ratio or 0):g} % gone"
        points = [{"x": x, "value": f.value, "low": f.low, "high": f.high, "n": f.n} for x, f in grid.curve()]
        out[name] = points
    return out


def _figure(width: float, height: float) -> tuple[Any, Any]:
    figure = require("matplotlib.figure", "draw pictures").Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()
