"""A progress bar for long work, where a person can see it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from rerank_core.errors import MissingExtra
from rerank_core.types import Encoding, TokenSequence

Advance: TypeAlias = Callable[[int], object]
"""Moves a bar forward by a number of units."""


@contextmanager
def progress_bar(total: int, *, unit: str = "pair", shown: bool) -> Iterator[Advance | None]:
    """Show a bar of ``total`` units until the end of the context, in a notebook or on a terminal; None elsewhere.

    Raises ``MissingExtra`` where tqdm, which draws it, is not installed.
    """
    if not (shown and total and _is_seen()):
        yield None
        return
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped]  # it has no types
    except ModuleNotFoundError as missing:
        if missing.name != "tqdm":
            raise
        raise MissingExtra("progress=True needs tqdm, which draws the bar: pip install tqdm") from missing
    with tqdm(total=total, unit=unit) as bar:
        yield bar.update


class FinishedPairs:
    """Counts the pairs whose sequences are all computed, and moves a bar by them; None: there is no bar."""

    def __init__(self, advance: Advance | None) -> None:
        self._advance = advance
        self._waiting: list[Encoding] = []

    def add(self, encodings: Sequence[Encoding]) -> None:
        """Add encodings to compute."""
        if self._advance is not None:
            self._waiting += encodings

    def update(self, computed: Container[TokenSequence]) -> None:
        """Count what is computed now."""
        if self._advance is None:
            return
        waiting = [one for one in self._waiting if not all(sequence in computed for sequence in one.sequences)]
        self._advance(sum(len(one.documents) for one in self._waiting) - sum(len(one.documents) for one in waiting))
        self._waiting = waiting


def keywords(progress: bool) -> dict[str, Any]:
    """Return the keyword argument that asks a scorer for its bar; none where it is not asked for.

    So a scorer of the caller's own, which need not know it, is called as ever.
    """
    return {"progress": True} if progress else {}


def _is_seen() -> bool:
    """Return whether standard error is a terminal, or that of a notebook, which is none but can show a bar."""
    ipython = sys.modules.get("IPython")
    if ipython is not None and hasattr(ipython.get_ipython(), "kernel"):
        return True
    return sys.stderr is not None and sys.stderr.isatty()  # a program without a console has none
