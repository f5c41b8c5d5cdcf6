"""A convolution over the neighbours of each token, as DeBERTa-v2's larger networks add it to their first layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from rerank_core.engines.packed.ops.attention import Bounds
from rerank_core.engines.packed.ops.linear import Linear
from rerank_core.engines.packed.ops.norm import Norm


@dataclass(frozen=True, slots=True)
class Convolution:
    """The convolution as one product, its activation, which works in place, and the norm of the sum that it is part of.

    ``linear`` reads ``kernel`` neighbours side by side, the token itself in the middle; beyond a sequence's ends these
    are zeros.
    """

    linear: Linear
    kernel: int
    activation: Callable[[Tensor], object]
    norm: Norm

    def __call__(self, x: Tensor, bounds: Bounds) -> Tensor:
        """Compute [tokens, hidden] of [tokens, hidden]."""
        neighbours = x.new_zeros(len(x), self.kernel, x.shape[1])
        for start, end in pairwise(bounds.places):
            for place in range(self.kernel):
                ahead = place - self.kernel // 2
                rows = slice(max(start, start - ahead), min(end, end - ahead))
                if rows.start < rows.stop:
                    neighbours[rows, place] = x[rows.start + ahead : rows.stop + ahead]
        x = self.linear(neighbours.flatten(1))
        self.activation(x)
        return x
