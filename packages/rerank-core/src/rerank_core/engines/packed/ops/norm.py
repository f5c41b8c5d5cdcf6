"""Normalisation of rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rerank_core.engines.packed.ops.fused import AddNorm, RMSNormalise
from rerank_core.engines.packed.ops.linear import Linear


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation over the last dimension; ``bias`` is None for a family that has none.

    ``fused``: what adds and normalises in one pass; None: torch does, in two.
    """

    weight: Tensor
    bias: Tensor | None
    epsilon: float
    fused: AddNorm | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise the rows."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)

    def of_sum(self, x: Tensor, linear: Linear, read: Tensor) -> Tensor:
        """Normalise ``x`` and what a product gives for ``read``, in the memory of ``x``."""
        if self.fused is not None:
            return self.fused(x, linear(read), self.weight, self.bias, self.epsilon)
        linear.add_to(x, read)
        return self(x)


@dataclass(frozen=True, slots=True)
class RMSNorm:
    """Division by the root of the mean square of the last dimension, computed in float32; ``weight`` is float32."""

    weight: Tensor
    epsilon: float

    def on_device(self, dtype: torch.dtype) -> RMSNorm | FusedRMSNorm:
        """Return what computes the same in one kernel of a GPU, where ``dtype`` can say the weight."""
        weight = self.weight.to(dtype)
        is_said = torch.equal(weight.float(), self.weight)
        return FusedRMSNorm(weight, self.epsilon, _by_torch) if is_said else self

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise the rows."""
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True).add_(self.epsilon))
        return (wide * scale).mul_(self.weight).to(x.dtype)


@dataclass(frozen=True, slots=True)
class FusedRMSNorm:
    """``RMSNorm`` in one pass over the rows, where its own operations take eight. ``weight`` has the rows' type."""

    weight: Tensor
    epsilon: float
    fused: RMSNormalise

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise the rows."""
        return self.fused(x, self.weight, self.epsilon)


def _by_torch(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Normalise by torch's own kernel, which computes in float32 as well: on a GPU that is one pass."""
    return functional.rms_norm(x, weight.shape, weight, epsilon)
