"""Rows of attention's scores: which of them a token sees, and the largest."""

from __future__ import annotations

from typing import Any

from rerank_core.engines.packed.kernels.activations import NEVER
from rerank_core.engines.packed.kernels.sums import kernel
from rerank_core.engines.packed.kernels.vectors import larger, largest, load, splat, store_float

EVERYWHERE = 2**40
"""So many tokens behind and ahead of its own a token sees where there is no window."""


@kernel
def hide_unseen(scores: Any, end: Any, place: Any, keys: Any, behind: Any, ahead: Any) -> None:
    """Let the scores of keys that a token does not see weigh nothing.

    The token stands at the key ``place`` and sees so many keys ``behind`` and ``ahead`` of its own, of the first
    ``keys``. Its scores lie from the address ``scores`` on, up to ``end``.
    """
    for unseen in range(scores, scores + max(place - behind, 0) * 4, 4):
        store_float(unseen, NEVER)
    for unseen in range(scores + min(place + 1 + ahead, keys) * 4, end, 4):
        store_float(unseen, NEVER)


@kernel
def largest_everywhere(scores: Any, end: Any) -> Any:
    """Return the largest score, sixteen times."""
    most = load(scores)
    for part in range(scores + 64, end, 64):
        most = larger(load(part), most)
    return splat(largest(most))
