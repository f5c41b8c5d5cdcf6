"""Attention with a learned number for the distance of two tokens, as in T5 (Raffel et al. 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


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
class DistanceBias:
    """A bias for each head and distance: ``biases`` [heads, 2 · positions - 1]."""

    biases: Tensor
    scale: float

    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        """See ``Bias``."""
        queries, keys = query.shape[1], key.shape[1]
        place = torch.arange(max(queries, keys), device=query.device)
        return self.biases[:, place[:queries, None] - place[:keys] + self.biases.shape[1] // 2]
