"""Attention with a bias for the distance of two tokens, as in T5 (Raffel et al. 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from rerank_core.engines.packed.ops.attention import Bounds


def bias_rows(*, rows: int, furthest: int, positions: int) -> Tensor:
    """Give each distance of a query from its key, from 1 - ``positions`` to ``positions`` - 1, its row of biases.

    Each side has half of the rows: half of these for near distances, one each, the others by the logarithm of the
    distance, up to ``furthest``.
    """
    distances = torch.arange(1 - positions, positions)
    side, near, magnitude = rows // 2, rows // 4, distances.abs()
    logarithms = torch.log(magnitude.clamp(min=near).float() / near) / math.log(furthest / near)
    far = (near + (logarithms * (side - near)).long()).clamp(max=side - 1)
    return torch.where(magnitude < near, magnitude, far) + side * (distances < 0)


@dataclass(frozen=True, slots=True)
class BiasedAttention:
    """Attention whose scores have a bias for each head and distance: ``biases`` [heads, 2 · positions - 1]."""

    biases: Tensor

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bounds: Bounds, out: Tensor) -> None:
        """See ``Attention``."""
        query, key, value = (part[None].transpose(1, 2) for part in (query, key, value))
        for start, end in pairwise(bounds.places):
            rows = slice(start, end)
            place = torch.arange(end - start, device=query.device)
            distances = place[:, None] - place + self.biases.shape[1] // 2
            attended = functional.scaled_dot_product_attention(
                query[:, :, rows], key[:, :, rows], value[:, :, rows], self.biases[:, distances][None]
            )
            out[rows].copy_(attended[0].transpose(0, 1))
