"""The parts that all charts share: colours, sizes, title and footnote. The title of a chart is the answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import svg

INK, SOFT_INK, GRID = "#1f2328", "#59636e", "#e6e8eb"

WIDTH, MARGIN, GAP = 560.0, 16.0, 14.0
TITLE, LABEL, HEADING, NOTE = 19.0, 14.0, 13.5, 12.0  # font sizes


class Tone(Enum):
    """The colour of a row or a line; the label of an accent is bold."""

    ACCENT = "#0b7285"
    PALE_ACCENT = "#7cc4cf"
    GREY = "#b8bfc7"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """The words around a chart: the answer, what was measured, and how."""

    title: str
    subtitle: str
    footnote: str


def label_width(words: str) -> float:
    """The width of a label, bold or not."""
    return svg.text_width(words, LABEL, bold=True)


def label(x: float, y: float, words: str, tone: Tone, *, anchor: svg.Anchor = "start") -> str:
    """The label of a row or a line; ``y`` is its middle."""
    return svg.text(x, y + 5, words, size=LABEL, fill=INK, anchor=anchor, bold=tone is Tone.ACCENT)


def heading(x: float, y: float, words: str, *, anchor: svg.Anchor = "start") -> str:
    """The heading of a column or an axis."""
    return svg.text(x, y, words, size=HEADING, fill=SOFT_INK, anchor=anchor)


def note(x: float, y: float, words: str, *, anchor: svg.Anchor = "start") -> str:
    """Small text: a tick, a footnote."""
    return svg.text(x, y, words, size=NOTE, fill=SOFT_INK, anchor=anchor)


def head(caption: Caption) -> tuple[list[str], float]:
    """The words above a chart, and where the chart may begin."""
    elements: list[str] = []
    y, width = MARGIN, WIDTH - 2 * MARGIN
    for words in svg.wrapped(caption.title, TITLE, width, bold=True):
        y += TITLE * 1.2
        elements.append(svg.text(MARGIN, y - 4, words, size=TITLE, fill=INK, bold=True))
    for words in svg.wrapped(caption.subtitle, HEADING, width):
        y += HEADING * 1.35
        elements.append(heading(MARGIN, y, words))
    return elements, y + GAP


def finished(elements: list[str], y: float, caption: Caption) -> str:
    """The whole file, with the footnote below ``y``."""
    for words in svg.wrapped(caption.footnote, NOTE, WIDTH - 2 * MARGIN):
        y += NOTE * 1.35
        elements.append(note(MARGIN, y, words))
    return svg.document(WIDTH, y + MARGIN, caption.title, elements)
