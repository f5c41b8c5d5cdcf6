"""Elements of an SVG file, as text. Coordinates are rounded, so that the same figures give the same file everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

Anchor = Literal["start", "middle", "end"]

_FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
_WIDE, _NARROW = set("mwMW%@—"), set("iljtfrI.,:;'|!()[] /")
_SHOWN_LARGER = 1.2  # the natural width in a page; a narrow window scales the file down


def text_width(words: str, size: float, *, bold: bool = False) -> float:
    """Estimate a width. Fonts differ from reader to reader: this is for a wide one (DejaVu Sans)."""
    ems = sum(0.97 if letter in _WIDE else 0.36 if letter in _NARROW else 0.63 for letter in words)
    return ems * size * (1.12 if bold else 1)


def wrapped(words: str, size: float, width: float, *, bold: bool = False) -> list[str]:
    """Break a text into lines that are at most ``width`` wide."""
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, bold=bold) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def text(
    x: float, y: float, words: str, *, size: float, fill: str, anchor: Anchor = "start", bold: bool = False
) -> str:
    """One line of text; ``y`` is its base line."""
    weight = ' font-weight="bold"' if bold else ""
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}" fill="{fill}"{weight}{place}>{escape(words)}</text>'


def rectangle(x: float, y: float, width: float, height: float, *, fill: str) -> str:
    """A filled rectangle."""
    return f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" rx="2" fill="{fill}"/>'


def line(x1: float, y1: float, x2: float, y2: float, *, stroke: str, width: float = 1) -> str:
    """A straight line."""
    ends = f'x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"'
    return f'<line {ends} stroke="{stroke}" stroke-width="{_n(width)}"/>'


def path(points: Sequence[tuple[float, float]], *, stroke: str) -> str:
    """A line through all points."""
    places = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
    return f'<polyline points="{places}" fill="none" stroke="{stroke}" stroke-width="2.5"/>'


def dot(x: float, y: float, *, fill: str, radius: float = 4) -> str:
    """A filled circle."""
    return f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" fill="{fill}"/>'


def document(width: float, height: float, title: str, elements: Iterable[str]) -> str:
    """A file with a white background of its own, so that it can be read on a dark page too."""
    place = f'x="0.5" y="0.5" width="{_n(width - 1)}" height="{_n(height - 1)}" rx="6"'
    background = f'<rect {place} fill="#ffffff" stroke="#d0d7de"/>'
    size = f'width="{_n(width * _SHOWN_LARGER)}" height="{_n(height * _SHOWN_LARGER)}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {_n(width)} {_n(height)}"'
    return "\n".join(
        [
            f'{head} role="img" font-family={quoteattr(_FONT)}>',
            f"<title>{escape(title)}</title>",
            background,
            *elements,
            "</svg>\n",
        ]
    )


def _n(value: float) -> str:
    """One decimal, and none where it is 0."""
    return f"{value:.1f}".removesuffix(".0")
