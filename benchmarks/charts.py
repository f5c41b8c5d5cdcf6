"""Horizontal bars, side by side for each set of pairs; and lines."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

_INK, _SOFT_INK = "#1f2328", "#656d76"
_NAMES_WIDTH, _BAR_HEIGHT = 2.4, 0.36  # inches
_PANEL_WIDTH, _LEAST_WIDTH = 3.1, 10.0  # the least is for the lines above the panels
_LINES_HEIGHT = 3.4
_NAME_HEIGHT = 13.0  # points


class Tone(Enum):
    """The colour of a bar or a line."""

    ACCENT = "#0b7285"
    PALE_ACCENT = "#7cc4cf"
    GREY = "#c9ced4"


@dataclass(frozen=True, slots=True)
class Bar:
    """One value, with a remark behind it."""

    name: str
    value: float
    remark: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars under one title. Each panel of a chart has the same names."""

    title: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """Points from left to right, with a name behind the last."""

    name: str
    points: tuple[tuple[float, float], ...]
    tone: Tone


def draw(path: Path, panels: Sequence[Panel], *, title: str, subtitle: str, footnote: str) -> None:
    """Write an SVG or a PNG, as the path ends. The first panel's largest value is on top, in the others too."""
    names = [bar.name for bar in sorted(panels[0].bars, key=lambda bar: -bar.value)]
    width = max(_LEAST_WIDTH, _NAMES_WIDTH + _PANEL_WIDTH * len(panels))
    panel_width = (width - _NAMES_WIDTH) / len(panels)
    body, below = _BAR_HEIGHT * len(names), 0.45
    height = 1.3 + body + below
    with _style():
        figure = Figure(figsize=(width, height), facecolor="white")
        for number, panel in enumerate(panels):
            left = (_NAMES_WIDTH + panel_width * number) / width
            axes = figure.add_axes((left, below / height, (panel_width - 0.25) / width, body / height))
            _fill(axes, panel, names, with_names=number == 0)
        _finish(figure, path, title=title, subtitle=subtitle, footnote=footnote)


def draw_lines(
    path: Path,
    lines: Sequence[Line],
    *,
    title: str,
    subtitle: str,
    footnote: str,
    across: str,
    up: str,
    logarithmic: bool = False,
) -> None:
    """Write an SVG or a PNG, as the path ends. ``across``, ``up``: what the axes count; the second begins at 0, unless
    it is logarithmic.
    """
    width, above, below = _LEAST_WIDTH, 1.2, 0.95
    height = above + _LINES_HEIGHT + below
    with _style():
        figure = Figure(figsize=(width, height), facecolor="white")
        axes = figure.add_axes((0.75 / width, below / height, 1 - 1.85 / width, _LINES_HEIGHT / height))
        for line in lines:
            axes.plot(*zip(*line.points, strict=True), color=line.tone.value, linewidth=2, marker="o", markersize=4)
        if logarithmic:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.set_ylim(bottom=0)
        axes.set_xlabel(across, color=_SOFT_INK)
        axes.set_title(up, loc="left", fontsize=10, color=_SOFT_INK, pad=8)
        axes.tick_params(colors=_SOFT_INK, length=0, which="both")
        axes.grid(axis="y", color="#e6e8eb", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(Tone.GREY.value)
        _name(figure, axes, lines)
        _finish(figure, path, title=title, subtitle=subtitle, footnote=footnote)


def _name(figure: Figure, axes: Axes, lines: Sequence[Line]) -> None:
    """Each line's name behind its last point, or higher where it would lie upon the one below. Limits are set."""
    taken = float("-inf")
    points_a_pixel = 72 / figure.get_dpi()
    ends = [(axes.transData.transform(line.points[-1])[1] * points_a_pixel, line) for line in lines]
    for height, line in sorted(ends, key=lambda end: end[0]):
        taken = max(height, taken + _NAME_HEIGHT)
        axes.annotate(
            line.name,
            line.points[-1],
            xytext=(8, taken - height),
            textcoords="offset points",
            va="center",
            color=_INK,
        )


def _style() -> AbstractContextManager[None]:
    return mpl.rc_context({"font.family": ["DejaVu Sans"], "font.size": 10, "svg.hashsalt": "rerank"})


def _finish(figure: Figure, path: Path, *, title: str, subtitle: str, footnote: str) -> None:
    width, height = figure.get_size_inches()
    margin = 0.2 / width
    figure.text(margin, 1 - 0.38 / height, title, fontsize=15, fontweight="bold", color=_INK)
    figure.text(margin, 1 - 0.66 / height, subtitle, fontsize=10, color=_SOFT_INK)
    figure.text(margin, 0.16 / height, footnote, fontsize=9, color=_SOFT_INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without its date, the same figures give the same file.
    figure.savefig(path, dpi=160, metadata={"Date": None} if path.suffix == ".svg" else None)


def _fill(axes: Axes, panel: Panel, names: Sequence[str], *, with_names: bool) -> None:
    bars = {bar.name: bar for bar in panel.bars}
    largest = max(bar.value for bar in panel.bars)
    for place, name in enumerate(names):
        bar = bars[name]
        axes.barh(place, bar.value, height=0.68, color=bar.tone.value)
        weight = "bold" if bar.tone is Tone.ACCENT else "normal"
        axes.annotate(
            "  ·  ".join(filter(None, (_three_digits(bar.value), bar.remark))),
            (bar.value, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=_INK,
            fontweight=weight,
        )
        if with_names:
            axes.annotate(
                name,
                (0, place),
                xytext=(-8, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                color=_INK,
                fontweight=weight,
            )
    axes.set_xlim(0, largest * 1.75)  # room for the longest bar's remark
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_title(panel.title, loc="left", fontsize=10.5, fontweight="bold", color=_INK, pad=8)
    axes.axis("off")


def _three_digits(value: float) -> str:
    """At least three of them: 0.720, 24.0, 1246."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"
