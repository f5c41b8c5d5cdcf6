"""Charts of lines, each with its name behind its last point."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import svg
from charts import GAP, GRID, LABEL, MARGIN, WIDTH, Caption, Tone, finished, head, heading, label, label_width, note

_HEIGHT = 240.0


@dataclass(frozen=True, slots=True)
class Line:
    """Points from left to right, with a name behind the last."""

    name: str
    points: tuple[tuple[float, float], ...]
    tone: Tone


def line_chart(
    lines: Sequence[Line],
    caption: Caption,
    *,
    across: str,
    up: str,
    ticks: Sequence[float] | None = None,
    logarithmic: bool = False,
) -> str:
    """Draw lines. ``across``, ``up``: what the axes count. Both begin at 0, but the second not where it is logarithmic.
    ``ticks``: of the first axis.
    """
    elements, y = head(caption)
    values = [value for line in lines for _, value in line.points]
    up_ticks = _logarithmic_ticks(min(values), max(values)) if logarithmic else _ticks(max(values))
    across_ticks = ticks or _ticks(max(x for line in lines for x, _ in line.points))

    left = MARGIN + max(label_width(f"{tick:g}") for tick in up_ticks) + 8
    right = WIDTH - MARGIN - 12 - max(label_width(line.name) for line in lines)
    bottom = y + 32 + _HEIGHT
    place_x = _scale(0, across_ticks[-1], left, right)
    height_of = _scale(up_ticks[0], up_ticks[-1], bottom, bottom - _HEIGHT, logarithmic=logarithmic)

    elements.append(heading(MARGIN, y + 14, up))
    for tick in up_ticks:
        elements.append(svg.line(left, height_of(tick), right, height_of(tick), stroke=GRID))
        elements.append(note(left - 8, height_of(tick) + 4, f"{tick:g}", anchor="end"))
    elements += [note(place_x(tick), bottom + 18, f"{tick:g}", anchor="middle") for tick in across_ticks]
    elements.append(heading((left + right) / 2, bottom + 38, across, anchor="middle"))

    below = math.inf
    for line in sorted(lines, key=lambda line: line.points[-1][1]):
        points = [(place_x(x), height_of(value)) for x, value in line.points]
        elements.append(svg.path(points, stroke=line.tone.value))
        elements += [svg.dot(*point, fill=line.tone.value, radius=3.5) for point in points]
        below = min(points[-1][1], below - LABEL - 2)  # higher where it would lie upon the label below it
        elements.append(label(points[-1][0] + 10, below, line.name, line.tone))
    return finished(elements, bottom + 38 + GAP, caption)


def _scale(low: float, high: float, start: float, end: float, *, logarithmic: bool = False) -> Callable[[float], float]:
    """Return the function from a value to its place between ``start`` and ``end``."""
    measure = math.log if logarithmic else float
    return lambda value: start + (end - start) * (measure(value) - measure(low)) / (measure(high) - measure(low))


def _ticks(highest: float) -> list[float]:
    """Return ticks from 0 to at least the highest value, in at most five steps of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(highest))
    step = next(power * times for times in (0.2, 0.5, 1, 2) if highest <= 5 * power * times)
    return [round(step * number, 10) for number in range(math.ceil(highest / step - 1e-9) + 1)]


def _logarithmic_ticks(lowest: float, highest: float) -> list[float]:
    """1, 2 and 5 times powers of ten, from at most the lowest value to at least the highest."""
    powers = range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1)
    ticks = [times * 10.0**power for power in powers for times in (1, 2, 5)]
    first = max(place for place, tick in enumerate(ticks) if tick <= lowest)
    last = min(place for place, tick in enumerate(ticks) if tick >= highest)
    return ticks[first : max(last, first + 1) + 1]
