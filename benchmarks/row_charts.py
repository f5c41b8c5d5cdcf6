"""Charts of named rows, with columns of bars, of intervals around 0, and of remarks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import svg
from charts import (
    GAP,
    INK,
    LABEL,
    MARGIN,
    SOFT_INK,
    WIDTH,
    Caption,
    Tone,
    finished,
    head,
    heading,
    label,
    label_width,
    note,
)

_ROW, _BAR = 28.0, 18.0  # heights


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars from 0, each with a label behind it."""

    heading: str
    values: tuple[float, ...]
    labels: tuple[str, ...]
    below: ClassVar[float] = 0.0

    @property
    def width(self) -> float | None:
        """None: a share of what the remarks leave."""
        return None

    def draw(self, tones: Sequence[Tone], left: float, width: float, top: float) -> Iterator[str]:
        # The longest bar leaves room for its label.
        scale = min(
            (width - 6 - label_width(words)) / value for value, words in zip(self.values, self.labels, strict=True)
        )
        for y, value, words, tone in zip(_middles(top), self.values, self.labels, tones, strict=False):
            yield svg.rectangle(left, y - _BAR / 2, value * scale, _BAR, fill=tone.value)
            yield label(left + value * scale + 6, y, words, tone)


@dataclass(frozen=True, slots=True)
class Interval:
    """A value, and where it may lie: 95 times of 100."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Intervals:
    """Values with their intervals on one axis, 0 in its middle; None where there is none. Labels stand at the right."""

    heading: str
    values: tuple[Interval | None, ...]
    labels: tuple[str, ...]
    below: ClassVar[float] = 14.0  # the axis

    @property
    def width(self) -> float | None:
        """None: a share of what the remarks leave."""
        return None

    def draw(self, tones: Sequence[Tone], left: float, width: float, top: float) -> Iterator[str]:
        bottom = top + _ROW * len(self.values)
        bound = max(max(abs(each.low), abs(each.high)) for each in self.values if each)
        half = (width - max(map(label_width, self.labels)) - 8) / 2 - GAP
        zero, scale = left + GAP + half, half / bound
        yield svg.line(zero, top, zero, bottom, stroke=SOFT_INK)
        for place, words in ((-bound, f"−{bound:.3f}"), (0, "0"), (bound, f"+{bound:.3f}")):
            yield note(zero + place * scale, bottom + 13, words, anchor="middle")
        for y, each, words, tone in zip(_middles(top), self.values, self.labels, tones, strict=False):
            if each:
                yield svg.line(zero + each.low * scale, y, zero + each.high * scale, y, stroke=tone.value, width=3)
                yield svg.dot(zero + each.value * scale, y, fill=tone.value, radius=5)
            if words:
                yield label(left + width, y, words, tone, anchor="end")


@dataclass(frozen=True, slots=True)
class Remarks:
    """Text."""

    heading: str
    labels: tuple[str, ...]
    below: ClassVar[float] = 0.0

    @property
    def width(self) -> float | None:
        """As wide as the text."""
        return max(map(label_width, [self.heading, *self.labels]))

    def draw(self, tones: Sequence[Tone], left: float, width: float, top: float) -> Iterator[str]:
        del width
        for y, words, tone in zip(_middles(top), self.labels, tones, strict=False):
            if words:
                yield label(left, y, words, tone)


Column: TypeAlias = Bars | Intervals | Remarks


@dataclass(frozen=True, slots=True)
class Panel:
    """Named rows, and the columns that show something of each."""

    names: tuple[str, ...]
    tones: tuple[Tone, ...]
    columns: tuple[Column, ...]
    title: str = ""


def row_chart(panels: Sequence[Panel], caption: Caption) -> str:
    """Draw panels one below the other."""
    elements, y = head(caption)
    left = MARGIN + max(label_width(name) for panel in panels for name in panel.names) + 10
    for panel in panels:
        if panel.title:
            y += 20
            elements.append(svg.text(MARGIN, y, panel.title, size=LABEL, fill=INK, bold=True))
        y += 24
        elements += _panel(panel, left, y)
        y += _ROW * len(panel.names) + max(column.below for column in panel.columns) + GAP
    return finished(elements, y, caption)


def _panel(panel: Panel, left: float, top: float) -> Iterator[str]:
    for y, name, tone in zip(_middles(top), panel.names, panel.tones, strict=False):
        yield label(left - 10, y, name, tone, anchor="end")
    widths = [column.width for column in panel.columns]
    spare = WIDTH - MARGIN - left - sum(filter(None, widths)) - GAP * (len(widths) - 1)
    share = spare / max(1, widths.count(None))
    for column, own in zip(panel.columns, widths, strict=True):
        width = share if own is None else own
        yield heading(left, top - 6, column.heading)
        yield from column.draw(panel.tones, left, width, top)
        left += width + GAP


def _middles(top: float) -> Iterator[float]:
    """The heights of the rows' middles."""
    while True:
        yield top + _ROW / 2
        top += _ROW
