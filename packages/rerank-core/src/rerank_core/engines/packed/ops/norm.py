"""Layer normalisation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation over the last dimension; ``bias`` is None for a family that has none."""

    weight: Tensor
    bias: Tensor | None
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise the rows."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)
