"""Products with weights in float16 and arithmetic in float32."""

from __future__ import annotations

import torch
from torch import Tensor

from rerank_core.engines.hardware import cpu_features
from rerank_core.engines.packed import dtypes
from rerank_core.engines.packed.ops.linear import SCRATCH, Linear
from rerank_core.engines.packed.quantization.quantize import ObservedLinear


class Float16WeightsLinear:
    """Weights rounded to float16, all arithmetic in float32 (FBGEMM): half the memory, on x86 with AVX2 or more.

    Most of what rounding the weights does to a product is the same for every row, since rows have much in common. The
    bias is corrected by it: by what rounding does to ``mean``, the mean row of the calibration texts (on the default
    model's shape a logit is four times nearer then).
    """

    def __init__(self, weight: Tensor, bias: Tensor, mean: Tensor) -> None:
        self._packed = torch.ops.quantized.linear_prepack_fp16(weight, bias_corrected(weight, bias, mean))

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """See ``Linear``."""
        product: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self._packed)
        return product

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """See ``Linear``."""
        total.add_(self(x))


class WidenedLinear:
    """As ``Float16WeightsLinear``, but the weight is widened to float32 for every product, which is then MKL's.

    Where that is much faster than FBGEMM's, as on Intel's AVX-512, widening costs less than it brings.
    """

    def __init__(self, weight: Tensor, bias: Tensor, mean: Tensor) -> None:
        self._weight = weight.half()
        self._bias = bias_corrected(weight, bias, mean)

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """See ``Linear``."""
        return torch.addmm(self._bias, x, self._transposed(), out=out)

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """See ``Linear``."""
        total.add_(self._bias)
        torch.addmm(total, x, self._transposed(), out=total)

    def _transposed(self) -> Tensor:
        return SCRATCH.buffer(self._weight.shape).copy_(self._weight).t()


def bias_corrected(weight: Tensor, bias: Tensor, mean: Tensor) -> Tensor:
    """Correct the bias by the effect that rounding the weight to float16 has on the mean input row."""
    return bias + (weight - weight.half().float()) @ mean


def to_float16_weights(observed: ObservedLinear) -> Linear:
    """Choose the fastest product on this machine; all round the weights alike."""
    weight = observed.linear.weight
    rounded = weight.half()
    if (row_product := dtypes.row_product(rounded)) is not None:
        return row_product(rounded, bias_corrected(weight, observed.bias, observed.mean))
    product = WidenedLinear if cpu_features.widens_float16() else Float16WeightsLinear
    return product(weight, observed.bias, observed.mean)
