"""Products in 8 bits, with which a score still depends on its own pair only.

Each row of the input is rounded to 256 levels between its own smallest and largest value (never with a scale that it
shares with other rows), each row of the weight to 255 levels around zero; the sums are exact integers. A few input
columns are so much larger than all others that they would waste the levels: these, and their weights, stay in float32
(the outlier columns of "LLM.int8()", Dettmers et al. 2022; here fixed per weight, so that they too know no batch).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rerank_core.engines.hardware import cpu_features
from rerank_core.engines.packed.kernels import instructions
from rerank_core.engines.packed.ops.linear import Linear
from rerank_core.engines.packed.quantization.quantize import ObservedLinear

OUTLIER_COLUMNS = 16

_CHUNK = 128  # rows that are rounded while they are in the cache


class Int8Linear:
    """x W^T + b, with x = s (q - z) for each row and W = t p for each row: s t (q p^T - z sum(p)), q and p integers.

    The outlier columns, the zero points and the bias are a second, narrow product: [x_o, -s z, 1] [W_o, t sum(p), b].
    """

    def __init__(self, weight: Tensor, bias: Tensor, columns: Tensor, *, levels: int) -> None:
        """``columns``: the inputs that stay in float32; ``levels``: how many an input is rounded to, 256 or less."""
        inner = weight.index_fill(1, columns, 0.0)
        scale = inner.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / 127
        rounded = (inner / scale[:, None]).round().to(torch.int8)
        self._packed = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._scale = scale
        self._zeros = torch.zeros(len(scale), dtype=torch.int32)
        self._columns = columns
        self._steps = float(levels - 1)
        sums = rounded.sum(1, dtype=torch.int32).float() * scale
        self._beside = torch.cat([weight[:, columns].t(), sums[None], bias[None]])

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """See ``Linear``."""
        rounded, scale, beside = self._rounded(x)
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, 0, self._packed, self._scale, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        product.mul_(scale)
        return torch.addmm(product, beside, self._beside, out=product)

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """See ``Linear``."""
        total.add_(self(x))

    def _rounded(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Round to levels: uint8 [rows, inputs], their distance [rows, 1], and the input of the narrow product."""
        rounded = torch.empty(x.shape, dtype=torch.uint8)
        scale = torch.empty(len(x), 1)
        beside = torch.ones(len(x), len(self._columns) + 2)
        outliers, zero_points = beside[:, :-2], beside[:, -2:-1]
        torch.index_select(x, 1, self._columns, out=outliers)
        for start in range(0, len(x), _CHUNK):
            rows = slice(start, start + _CHUNK)
            inner = x[rows].index_fill(1, self._columns, 0.0)
            low, high = inner.amin(1, keepdim=True), inner.amax(1, keepdim=True)  # twelve times as fast as aminmax
            step = ((high - low) / self._steps).clamp_(min=torch.finfo(torch.float32).tiny)
            scale[rows] = step
            zero_points[rows] = low
            # Never below 0, and the conversion cuts off: so adding a half rounds. Torch converts to int16 and from that
            # to uint8 in vectors, but not from float32 to uint8: 0.16 ms and not 0.43 for a million numbers.
            torch.sub(inner, low, out=inner).mul_(1 / step).add_(0.5)
            rounded[rows] = inner.to(torch.int16)
        return rounded, scale, beside


def to_int8(observed: ObservedLinear) -> Linear:
    """Make a product in 8 bits; its outlier columns are those of the calibration texts."""
    columns = observed.largest.topk(min(OUTLIER_COLUMNS, len(observed.largest))).indices.sort().values
    return product()(observed.linear.weight, observed.bias, columns, levels=cpu_features.int8_levels())


def product() -> Callable[..., Linear]:
    """Choose how products in 8 bits are computed on this machine."""
    if instructions.found() is None:
        return Int8Linear
    from rerank_core.engines.packed.kernels.linear import Int8Linear as KernelLinear

    return KernelLinear
