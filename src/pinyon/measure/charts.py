"""Bars with intervals, as SVG for pages and as PNG by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ..extras import require

__all__ = ["Bar", "bars_png", "bars_svg"]

_ROW, _LABEL, _WIDTH, _VALUE = 26, 230, 420, 150  # pixels
_OURS, _OTHERS = "#1f6f4a", "#7d8894"  # one dark, one mid grey: told apart without colour too


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a chart.

    Args:
        label: What it is.
        value: Length of the bar, >= 0.
        low: Lower end of its interval.
        high: Upper end.
        shown: The value as text.
        is_ours: Drawn dark.
    """

    label: str
    value: float
    low: float
    high: float
    shown: str
    is_ours: bool = False


def bars_svg(title: str, bars: Sequence[Bar]) -> str:
    """Return a chart as an SVG element that needs nothing beside itself.

    Args:
        title: Read out instead of the picture, and shown above it.
        bars: From top to bottom.

    Example:
        >>> svg = bars_svg("recall@10", [Bar("a < b", 0.5, 0.4, 0.6, "50.0", is_ours=True)])
        >>> svg.startswith("<svg"), "a &lt; b" in svg
        (True, True)
    """
    most = max((bar.high for bar in bars), default=0.0) or 1.0
    height = _ROW * len(bars) + 30
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(title, quote=True)}"'
        f' viewBox="0 0 {_LABEL + _WIDTH + _VALUE} {height}" width="{_LABEL + _WIDTH + _VALUE}" height="{height}"'
        ' font-family="sans-serif" font-size="13">',
        f'<text x="0" y="15" font-weight="bold" fill="currentColor">{escape(title)}</text>',
    ]
    for place, bar in enumerate(bars):
        top = 26 + place * _ROW
        lines.extend(_row(bar, top, _WIDTH / most))
    return "\n".join([*lines, "</svg>"])


def bars_png(path: Path, charts: Sequence[tuple[str, Sequence[Bar]]]) -> None:
    """Write charts below each other into one picture.

    Args:
        path: Of the PNG file.
        charts: Title and bars of each.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure_module = require("matplotlib.figure", "draw charts")
    rows = sum(len(bars) + 2 for _, bars in charts)
    figure = figure_module.Figure(figsize=(9, max(2.0, 0.32 * rows)), layout="constrained")
    ratios = [len(bars) + 2 for _, bars in charts]
    axes = figure.subplots(len(charts), 1, squeeze=False, gridspec_kw={"height_ratios": ratios})[:, 0]
    for axis, (title, bars) in zip(axes, charts, strict=True):
        shown = list(reversed(bars))
        values = [bar.value for bar in shown]
        errors = [[max(0.0, b.value - b.low) for b in shown], [max(0.0, b.high - b.value) for b in shown]]
        colours = [_OURS if bar.is_ours else _OTHERS for bar in shown]
        places = range(len(shown))
        axis.barh(places, values, xerr=errors, color=colours, height=0.7, ecolor="#222222", capsize=2)
        axis.set_yticks(places, [bar.label for bar in shown])
        axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def _row(bar: Bar, top: int, scale: float) -> list[str]:
    middle = top + 9
    end, low, high = (_LABEL + max(0.0, value) * scale for value in (bar.value, bar.low, bar.high))
    colour = _OURS if bar.is_ours else _OTHERS
    weight = ' font-weight="bold"' if bar.is_ours else ""
    label = f'<text x="{_LABEL - 8}" y="{middle + 5}" text-anchor="end" fill="currentColor"{weight}>'
    lines = [
        f"{label}{escape(bar.label)}</text>",
        f'<rect x="{_LABEL}" y="{top}" width="{max(0.0, end - _LABEL):.1f}" height="18" fill="{colour}"/>',
    ]
    if bar.high > bar.low:
        lines.append(
            f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8"'
            ' stroke="currentColor" fill="none"/>'
        )
    lines.append(f'<text x="{max(end, high) + 6:.1f}" y="{middle + 5}" fill="currentColor">{escape(bar.shown)}</text>')
    return lines
