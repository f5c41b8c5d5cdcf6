"""What a device computes with for each dtype, and how its products and its attention are computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from rerank_core.engines.packed.device_classes import class_of
from rerank_core.engines.packed.ops.linear import BFloat16Linear, FloatLinear, Linear
from rerank_core.engines.packed.ops.varlen import has_varlen

MakeLinear: TypeAlias = Callable[[Tensor, Tensor | None], Linear]

# How the layers' products are computed on a CPU; everything else there is float32. Those of fewer bits
# begin as float32: see ``quantization``.
_CPU_PRODUCTS: dict[str, MakeLinear] = {"float32": FloatLinear, "bfloat16": BFloat16Linear}


def numbers(device: str, dtype: str) -> tuple[torch.dtype, MakeLinear]:
    """Choose the dtype to compute in, and the layers' products."""
    return (
        (torch.float32, _CPU_PRODUCTS.get(dtype, FloatLinear))
        if device == "cpu"
        else (getattr(torch, dtype), FloatLinear)
    )


def has_one_kernel(device: str, dtype: torch.dtype) -> bool:
    """Return whether torch's kernel for all sequences at once is tried there, see ``find_kernel``."""
    return str(dtype).removeprefix("torch.") in class_of(device).kernel_dtypes and has_varlen()
