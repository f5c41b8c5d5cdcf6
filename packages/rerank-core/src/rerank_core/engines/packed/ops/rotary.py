"""Rotary positions: each query and key is rotated by an angle that grows with its position.

So the product of a query and a key depends on the distance of their positions only ("RoFormer", Su et al. 2021). The
two halves of a head are rotated against each other, as transformers stores them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rerank_core.engines.packed.ops.fused import Rotate


@dataclass(frozen=True, slots=True, eq=False)
class Rotary:
    """The cosines and sines of all positions [positions, width / 2], in float32.

    ``fused``: what rotates in one pass; None: torch does, in several.
    """

    cosines: Tensor
    sines: Tensor
    fused: Rotate | None = None

    @classmethod
    def of(
        cls, *, theta: float, stretch: float, width: int, positions: int, device: str, fused: Rotate | None = None
    ) -> Rotary:
        """Compute the tables: a head of ``width`` has width / 2 frequencies, from 1 down to nearly 1 / ``theta``.

        ``stretch``: all are lower, the lowest by so many times.
        """
        found = frequencies(theta * stretch, width) / stretch ** (2 / width)
        return cls.of_frequencies(found, positions=positions, device=device, fused=fused)

    @classmethod
    def of_frequencies(cls, frequencies: Tensor, *, positions: int, device: str, fused: Rotate | None = None) -> Rotary:
        """Compute the tables of frequencies [width / 2]."""
        angles = torch.arange(positions, dtype=torch.float32)[:, None] * frequencies
        return cls(angles.cos().to(device), angles.sin().to(device), fused)

    def angles(self, position_ids: Tensor) -> Angles:
        """Look up the angles of tokens."""
        return Angles(self.cosines[position_ids, None], self.sines[position_ids, None], self.fused)


@dataclass(frozen=True, slots=True)
class Angles:
    """The cosines and sines of tokens [tokens, 1, width / 2]."""

    cosines: Tensor
    sines: Tensor
    fused: Rotate | None = None

    def rotate(self, x: Tensor) -> None:
        """Rotate queries or keys [tokens, heads, width] in place.

        Each product and sum is an operation of its own: a fused one may round a row differently in another place.
        """
        if self.fused is not None:
            self.fused(x, self.cosines, self.sines)
            return
        first, second = x.chunk(2, dim=-1)
        rotated = first * self.cosines - second * self.sines
        second.copy_(second * self.cosines + first * self.sines)
        first.copy_(rotated)


def frequencies(theta: float, width: int) -> Tensor:
    """Compute the width / 2 frequencies of a head of ``width``, from 1 down to nearly 1 / ``theta``."""
    return 1.0 / theta ** (torch.arange(0, width, 2, dtype=torch.float32) / width)


def lowered(found: Tensor, *, factor: float, low: float, high: float, trained: int) -> Tensor:
    """Lower the frequencies of long waves, as Llama 3 does to read longer texts than in its training.

    Waves that fit less than ``low`` times into the ``trained`` positions are ``factor`` times as long, those that fit
    more than ``high`` times stay, and those in between change over from one to the other.
    """
    times = trained * found / (2 * math.pi)
    share = ((times - low) / (high - low)).clamp(0, 1)
    return (1 - share) * found / factor + share * found
