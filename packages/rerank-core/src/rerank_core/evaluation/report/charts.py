"""Charts as SVG inside a page, which gives the classes their colours, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH = 760.0
_VALUES = 70.0  # room for what is written behind bars
_LETTER = 7.2  # about the width of one, for want of a font to measure
_STEP = 26.0  # from one bar to the next
_AXIS = 34.0  # height below the plot
_LINE = 15.0  # height of a line of text


@dataclass(frozen=True, slots=True)
class Bar:
    """A value at least 0, and what is written behind it. ``accent``: of a system, rather than what it is beside."""

    name: str
    value: float
    written: str
    accent: bool = True


@dataclass(frozen=True, slots=True)
class Span:
    """A value with its interval."""

    name: str
    value: float
    low: float
    high: float
    written: str
    accent: bool = True


@dataclass(frozen=True, slots=True)
class Point:
    """A place in the plane; ``across`` is above 0."""

    name: str
    across: float
    up: float


def bars(title: str, rows: Sequence[Bar], *, most: float | None = None) -> str:
    """Draw horizontal bars from 0; with an axis to ``most``, where the values can be no larger."""
    largest = most or max((row.value for row in rows), default=0.0) or 1.0
    left = _room([row.name for row in rows])
    room = _WIDTH - left - _VALUES
    height = len(rows) * _STEP
    body = []
    if most is not None:
        body = [_tick_line(left + tick / most * room, height, f"{tick:g}", zero=not tick) for tick in ticks(0.0, most)]
    for number, row in enumerate(rows):
        middle, length = (number + 0.5) * _STEP, max(1.0, row.value / largest * room)
        kind = "accent" if row.accent else "plain"
        body += [
            _text(left - 10, middle, _short(row.name), "end"),
            f'<rect class="{kind}" x="{left:.1f}" y="{middle - 8:.1f}" width="{length:.1f}" height="16" rx="2"/>',
            _text(left + length + 8, middle, row.written),
        ]
    return _svg(title, height + (_AXIS if most is not None else 0.0), body)


def spans(title: str, rows: Sequence[Span]) -> str:
    """Draw points with their intervals beside a line at 0."""
    low, high = min([0.0, *(row.low for row in rows)]), max([0.0, *(row.high for row in rows)])
    left, right = _room([row.name for row in rows]), _WIDTH - 130.0
    place = _scale(low, high, left + 10, right)
    bottom = len(rows) * _STEP
    body = [_tick_line(place(tick), bottom, f"{tick:+g}" if tick else "0", zero=not tick) for tick in ticks(low, high)]
    for number, row in enumerate(rows):
        middle = (number + 0.5) * _STEP
        kind = "accent" if row.accent else "plain"
        body += [
            _text(left - 10, middle, _short(row.name), "end"),
            f'<line class="{kind}-line" x1="{place(row.low):.1f}" x2="{place(row.high):.1f}" '
            f'y1="{middle:.1f}" y2="{middle:.1f}"/>',
            f'<circle class="{kind}" cx="{place(row.value):.1f}" cy="{middle:.1f}" r="5"/>',
            _text(right + 30, middle, row.written),
        ]
    return _svg(title, bottom + _AXIS, body)


def plane(title: str, points: Sequence[Point], *, across: str, up: str, most: float = math.inf) -> str:
    """Draw points by two figures, the first on a logarithmic axis, with their names beside them, moved apart.

    The other axis ends at ``most``, where the values can be no larger.
    """
    left, right, height, top = 64.0, _WIDTH - 150.0, 280.0, 22.0
    logs = [math.log10(point.across) for point in points]
    margin = max(0.05, (max(logs) - min(logs)) * 0.08)
    x = _scale(min(logs) - margin, max(logs) + margin, left, right)
    values = [point.up for point in points]
    pad = max(0.005, (max(values) - min(values)) * 0.15)
    low, high = min(values) - pad, min(max(values) + pad, most)
    y = _scale(low, high, top + height, top)
    body = [
        f'<line class="grid" x1="{left}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        + _text(left - 8, y(tick), f"{tick:g}", "end", "soft")
        for tick in ticks(low, high)
    ]
    body += [
        f'<line class="grid" x1="{x(math.log10(tick)):.1f}" x2="{x(math.log10(tick)):.1f}" y1="{top}" '
        f'y2="{top + height}"/>' + _text(x(math.log10(tick)), top + height + 14, f"{tick:g}", "middle", "soft")
        for tick in log_ticks(10 ** (min(logs) - margin), 10 ** (max(logs) + margin))
    ]
    body += [_text(left, 8, up, "start", "soft"), _text(right, top + height + 32, across, "end", "soft")]
    names = _Names([(x(math.log10(point.across)), y(point.up)) for point in points])
    for point in sorted(points, key=lambda point: (y(point.up), x(math.log10(point.across)))):
        dot_x, dot_y = x(math.log10(point.across)), y(point.up)
        body += [
            f'<circle class="accent" cx="{dot_x:.1f}" cy="{dot_y:.1f}" r="5"/>',
            names.beside(dot_x, dot_y, point.name),
        ]
    return _svg(title, max(top + height, names.lowest) + 44, body)


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Choose about ``count`` round numbers from ``low`` to ``high``."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    digits = max(0, -math.floor(math.log10(step)))
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(number * step, digits + 1) + 0.0 for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Choose 1, 2, 5, 10, 20 ... between two numbers above 0; round numbers where fewer than two of those are."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    inside = [tick for tick in found if low <= tick <= high]
    return inside if len(inside) > 1 else ticks(low, high, 4)


class _scale:  # noqa: N801 (read as a function)
    """Map a range of values to a range of pixels."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._start = low, start
        self._factor = (end - start) / ((high - low) or 1.0)

    def __call__(self, value: float) -> float:
        return self._start + (value - self._low) * self._factor


class _Names:
    """Names beside points, given from the highest down, each moved below the names and points that it would cover."""

    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        self._taken = sorted(((x - 6, x + 6, y) for x, y in points), key=lambda place: place[2])  # left, right, middle
        self.lowest = 0.0

    def beside(self, x: float, y: float, name: str) -> str:
        """Place a name right of the point, or left of it where there is no room."""
        length = len(name) * _LETTER
        is_right = x + 10 + length <= _WIDTH
        left = x + 10 if is_right else x - 10 - length
        for start, end, middle in self._taken:  # from the highest down, so that moving on meets the next
            if left < end and start < left + length and abs(y - middle) < _LINE:
                y = middle + _LINE
        self._taken = sorted([*self._taken, (left, left + length, y)], key=lambda place: place[2])
        self.lowest = max(self.lowest, y)
        return _text(x + 10 if is_right else x - 10, y, name, "start" if is_right else "end")


def _room(names: Sequence[str]) -> float:
    """Measure the room for names left of a chart."""
    return min(0.55 * _WIDTH, 20 + _LETTER * max(map(len, names), default=0))


def _short(name: str) -> str:
    """Shorten a name to what there is room for at the most."""
    most = int((0.55 * _WIDTH - 20) / _LETTER)
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _text(x: float, y: float, words: str, anchor: str = "start", kind: str = "ink") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" dominant-baseline="central">'
        f"{escape(words)}</text>"
    )


def _tick_line(x: float, bottom: float, words: str, *, zero: bool) -> str:
    kind = "zero" if zero else "grid"
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom}"/>' + _text(
        x, bottom + 14, words, "middle", "soft"
    )


def _svg(title: str, height: float, body: Sequence[str]) -> str:
    name = escape(title, quote=True)
    return f'<svg viewBox="0 0 {_WIDTH:g} {height:g}" role="img" aria-label="{name}">{"".join(body)}</svg>'
