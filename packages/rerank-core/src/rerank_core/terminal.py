"""Measures and shortens texts by their width in a terminal."""

from __future__ import annotations

import unicodedata


def width(text: str) -> int:
    """Count the columns that a text takes: some characters take two, and some none."""
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in {"W", "F"})
        for character in text
    )


def shorten(text: str, columns: int) -> str:
    """Return the text, cut where it takes more columns, with three dots at its end."""
    if width(text) <= columns:
        return text
    taken, end = 0, 0
    for character in text:
        taken += width(character)
        if taken > columns - 3:
            break
        end += 1
    return f"{text[:end]}..."
