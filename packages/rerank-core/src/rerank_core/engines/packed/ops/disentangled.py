"""DeBERTa's disentangled attention: content and relative position have queries and keys of their own.

The score of tokens i and j is (q_i·k_j + q_i·K_r + k_j·Q_r) / sqrt(width · terms), where r is the row of the distance
i - j, and K and Q are projections of one table of relative positions ("DeBERTa", He et al. 2021).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from rerank_core.engines.packed.ops.attention import Bounds


def distance_buckets(*, buckets: int, furthest: int, positions: int) -> Tensor:
    """Give each distance, from 1 - ``positions`` to ``positions`` - 1, its row in the table of relative positions.

    Near distances have a row each; with ``buckets``, those beyond half of them share rows, more and more with the
    logarithm of the distance. Without (0), those beyond ``furthest`` share the last.
    """
    distances = torch.arange(1 - positions, positions)
    span = buckets or furthest
    if not buckets:
        return (distances + span).clamp(0, 2 * span - 1)
    middle = buckets // 2
    beyond = distances.abs().clamp(min=middle)
    logarithms = torch.log(beyond / middle) / torch.log(torch.tensor((furthest - 1) / middle))
    shared = torch.ceil(logarithms * (middle - 1)).long() + middle
    found = torch.where(distances.abs() <= middle, distances, shared * distances.sign())
    return (found + span).clamp(0, 2 * span - 1)


@dataclass(frozen=True, slots=True)
class DisentangledAttention:
    """One layer's attention.

    ``keys``, ``queries``: of relative positions [heads, rows, width], None where the family's variant has no such term.
    ``buckets`` [2 · positions - 1]: the row of each distance.
    """

    keys: Tensor | None
    queries: Tensor | None
    buckets: Tensor

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bounds: Bounds, out: Tensor) -> None:
        """See ``Attention``."""
        terms = 1 + (self.keys is not None) + (self.queries is not None)
        scale = 1 / math.sqrt(query.shape[-1] * terms)
        query, key, value = (part.transpose(0, 1) for part in (query, key, value))
        for start, end in pairwise(bounds.places):
            rows = slice(start, end)
            q, k, v = query[:, rows], key[:, rows], value[:, rows]
            bias = self._bias(q, k) * scale
            attended = functional.scaled_dot_product_attention(q[None], k[None], v[None], bias[None], scale=scale)
            out[rows].copy_(attended[0].transpose(0, 1))

    def _bias(self, query: Tensor, key: Tensor) -> Tensor:
        """Compute the terms of relative positions [heads, tokens, tokens] for one sequence."""
        tokens = query.shape[1]
        place = torch.arange(tokens, device=query.device)
        distances = place[:, None] - place + len(self.buckets) // 2
        rows = self.buckets[distances].expand(len(query), -1, -1)
        bias = torch.zeros(rows.shape, dtype=query.dtype, device=query.device)
        if self.keys is not None:
            bias += torch.gather(query @ self.keys.transpose(1, 2), 2, rows)
        if self.queries is not None:  # for each key first, so that a row is gathered for all queries
            bias += torch.gather(key @ self.queries.transpose(1, 2), 2, rows.transpose(1, 2)).transpose(1, 2)
        return bias
