"""Heat maps and curves as PNG by matplotlib: needles by length and depth, heads by layer, forgetting by distance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from ..core.payload import Json
from ..errors import BadInput, NotFound, StoreError
from ..extras import require
from ..files import whole_file
from .needle_grid import NeedleGrid

__all__ = [
    "PictureKind",
    "check_pictures",
    "curves_png",
    "forgetting_curves",
    "head_map_png",
    "load_picture_data",
    "needle_map_png",
    "save_picture_data",
]

PictureKind = Literal["needle map", "head map", "forgetting curves"]
"""What a picture shows; its numbers are those of `NeedleGrid.to_json`, `HeadProfile.to_json` or `forgetting_curves`."""

_FORMAT = 1
_NEEDED: Mapping[str, frozenset[str]] = {
    "needle map": frozenset({"model", "policy", "ratio", "question", "cells", "curve", "overall"}),
    "head map": frozenset({"layers", "heads", "threshold", "scores"}),
    "forgetting curves": frozenset({"across", "curves"}),
}
_DODGE = 5.0  # points on paper: curves that share their places stand side by side, so that each interval is seen
_LETTER = 0.08  # inches of a letter of a title
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
    values = [[100 * found.value if found.n else float("nan") for found in row] for row in shares]
    most = max((found.n for row in shares for found in row), default=0)
    title = f"{grid.model}, {_named(grid)}\nquestion {grid.question}, at most {most} needles a cell"
    figure, axis = _figure(max(5.0, 1.1 * len(lengths) + 3), max(3.0, 0.5 * len(depths) + 2), title)
    image = axis.imshow(values, vmin=0, vmax=100, cmap="viridis", aspect="auto")
    for row, cells in enumerate(shares):
        for column, found in enumerate(cells):
            if found.n:
                colour = "black" if found.value > 0.6 else "white"
                axis.text(column, row, f"{100 * found.value:.0f}", ha="center", va="center", color=colour)
    axis.set_xticks(range(len(lengths)), [str(length) for length in lengths])
    axis.set_yticks(range(len(depths)), [f"{100 * depth:.0f} %" for depth in depths])
    axis.set_xlabel("tokens of the prompt")
    axis.set_ylabel("depth of the needle")
    figure.colorbar(image, ax=axis, label="needles repeated, %")
    figure.savefig(path, dpi=120)


def head_map_png(path: Path, profile: Mapping[str, Json], *, model: str) -> None:
    """Draw the retrieval score of every head, one row a layer.

    Args:
        path: Of the PNG file.
        profile: As `HeadProfile.to_json` gives it.
        model: Its name.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    layers, heads = int(cast("int", profile["layers"])), int(cast("int", profile["heads"]))
    values = [[0.0] * heads for _ in range(layers)]
    scores = cast("Sequence[Mapping[str, Any]]", profile["scores"])  # as `to_json` writes them
    for one in scores:
        values[one["layer"]][one["head"]] = 100 * one["score"]
    threshold = float(cast("float", profile["threshold"]))
    title = f"{model}, retrieval scores of its heads\nnumbers from {100 * threshold:g} % on"
    figure, axis = _figure(max(4.0, 0.35 * heads + 2.5), max(3.0, 0.22 * layers + 1.5), title)
    image = axis.imshow(values, vmin=0, vmax=100, cmap="magma", aspect="auto")
    for one in scores:
        if one["score"] >= threshold:
            axis.text(one["head"], one["layer"], f"{100 * one['score']:.0f}", ha="center", va="center", fontsize=6,
                      color="black" if one["score"] > 0.6 else "white")  # fmt: skip
    axis.set_xlabel("head")
    axis.set_ylabel("layer")
    for one_axis in (axis.xaxis, axis.yaxis):
        one_axis.get_major_locator().set_params(integer=True)
    figure.colorbar(image, ax=axis, label="of the needle copied, %")
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
    figure, axis = _figure(7.0, 4.4, title)
    moved = require("matplotlib.transforms", "draw pictures").ScaledTranslation
    every = [point["x"] for points in curves.values() for point in points] or [0.0]
    margin = max(10.0, 0.06 * (max(every) - min(every)))
    for place, (name, points) in enumerate(curves.items()):
        aside = _DODGE * (place - (len(curves) - 1) / 2) / 72  # inches
        xs, values = [point["x"] for point in points], [100 * point["value"] for point in points]
        below = [max(0.0, value - 100 * point["low"]) for value, point in zip(values, points, strict=True)]
        above = [max(0.0, 100 * point["high"] - value) for value, point in zip(values, points, strict=True)]
        axis.errorbar(xs, values, yerr=[below, above], marker=_MARKS[place % len(_MARKS)], capsize=2, label=name,
                      transform=axis.transData + moved(aside, 0, figure.dpi_scale_trans))  # fmt: skip
    axis.set_xlim(min(every) - margin, max(every) + margin)
    axis.set_ylim(-3, 103)
    axis.set_xlabel(across)
    axis.set_ylabel("came back, %, with 95 % intervals")
    axis.spines[["top", "right"]].set_visible(False)
    if curves:
        figure.legend(loc="outside lower center", ncols=2, fontsize=8)  # beside the curves, where it hides none
    figure.savefig(path, dpi=120)


def forgetting_curves(grids: Sequence[NeedleGrid]) -> dict[str, list[dict[str, Any]]]:
    """Return the forgetting curves of grids, by policy, as `curves_png` and a dashboard take them.

    Args:
        grids: Each is one line.
    """
    out: dict[str, list[dict[str, Any]]] = {}
    for grid in grids:
        points = [{"x": x, "value": f.value, "low": f.low, "high": f.high, "n": f.n} for x, f in grid.curve()]
        out[_named(grid)] = points
    return out


def check_pictures(pictures: Sequence[Path], *, written: Path | None = None, read: Sequence[Path] = ()) -> None:
    """Say before a long measurement that its files could not be written after it.

    Args:
        pictures: Files of the pictures; the numbers of each go beside it as JSON.
        written: What else is written.
        read: What is read, and must not be written over.

    Raises:
        BadInput: A folder is not there, a picture is no PNG, or two files are one.
        MissingExtra: matplotlib is not installed.
    """
    files = [*pictures, *(() if written is None else (written,))]
    for file in files:
        if not file.absolute().parent.is_dir():
            raise BadInput(f"there is no folder {str(file.absolute().parent)!r}", hint="make it first")
    taken = {file.resolve() for file in (*files[len(pictures) :], *read)}
    for picture in pictures:
        if picture.suffix.lower() != ".png":
            raise BadInput(f"a picture is a PNG file, got {str(picture)!r}", hint="give it a name that ends in .png")
        for file in (picture, picture.with_suffix(".json")):
            if file.resolve() in taken:
                raise BadInput(f"the picture or its numbers would replace {str(file)!r}", hint="name it otherwise")
    if pictures:
        require("matplotlib.figure", "draw pictures")


def save_picture_data(path: Path, kind: PictureKind, data: Mapping[str, Json]) -> Path:
    """Write what a picture shows beside it, as JSON with its kind; return the file.

    Args:
        path: Of the picture; the ending becomes ``.json``.
        kind: What it shows.
        data: Its numbers.

    Raises:
        StoreError: It cannot be written.
    """
    file = path.with_suffix(".json")
    said = {"format": _FORMAT, "kind": kind, "data": data}
    try:
        with whole_file(file) as written:
            written.write(json.dumps(said, ensure_ascii=False, indent=1).encode() + b"\n")
    except OSError as error:
        raise StoreError(f"{str(file)!r} cannot be written: {error.strerror or error}") from error
    return file


def load_picture_data(path: Path) -> tuple[PictureKind, Mapping[str, Json]]:
    """Return the kind and the numbers of a picture that `save_picture_data` wrote, for a dashboard or a notebook.

    Raises:
        NotFound: There is no such file.
        BadInput: It is no such file.
    """
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {str(path)!r}") from error
    except (OSError, ValueError) as error:
        raise BadInput(f"{str(path)!r} cannot be read as the data of a picture: {error}") from error
    kind, data = (str(read.get("kind")), read.get("data")) if isinstance(read, dict) else ("", None)
    if kind not in _NEEDED or read.get("format") != _FORMAT or not isinstance(data, dict) or _NEEDED[kind] - set(data):
        raise BadInput(f"{str(path)!r} holds no data of a picture", hint="pinyon heads and pinyon measure write them")
    return cast("PictureKind", kind), data


def _named(grid: NeedleGrid) -> str:
    """Return the policy of a grid and how much it lets go."""
    return grid.policy if grid.ratio in (None, 0.0) else f"{grid.policy}, {100 * (grid.ratio or 0):g} % gone"


def _figure(width: float, height: float, title: str) -> tuple[Any, Any]:
    """Return a figure that is wide enough for the lines of its title, and its axes."""
    widest = max(width, 1.0 + _LETTER * max(map(len, title.split("\n"))))
    figure = require("matplotlib.figure", "draw pictures").Figure(figsize=(widest, height), layout="constrained")
    figure.suptitle(title, x=0.02, ha="left", fontsize=10)
    return figure, figure.subplots()
