"""Normalisation of rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rerank_core.engines.packed.ops.fused import Fused
from rerank_core.engines.packed.ops.linear import Linear


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation over the last dimension; ``bias`` is None for a family that has none."""

    weight: Tensor
    bias: Tensor | None
    epsilon: float
    fused: Fused | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise the rows."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)

    def of_sum(self, x: Tensor, linear: Linear, read: Tensor) -> Tensor:
        """Normalise ``x`` and what a product gives for ``read``, in the memory of ``x``."""
        if self.fused is not None:
            return self.fused.add_norm(x, linear(read), self.weight, self.bias, self.epsilon)
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
        return FusedRMSNorm(weight, self.epsilon) if torch.equal(weight.float(), self.weight) else self

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise the rows."""
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True).add_(self.epsilon))
        return (wide * scale).mul_(self.weight).to(x.dtype)


@dataclass(frozen=True, slots=True)
class FusedRMSNorm:
    """``RMSNorm`` by torch's own kernel, which reads a weight of the type of the rows, and computes in float32 as well.

    On a GPU one pass over the rows, where eight operations take eight.
    """

    weight: Tensor
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise the rows."""
        return functional.rms_norm(x, self.weight.shape, self.weight, self.epsilon)
