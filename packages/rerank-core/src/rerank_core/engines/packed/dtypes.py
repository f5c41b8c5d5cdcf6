"""What a device computes with for each dtype, and how its products and its attention are computed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from rerank_core.engines.hardware import cpu_features
from rerank_core.engines.packed.device_classes import class_of
from rerank_core.engines.packed.kernels import instructions
from rerank_core.engines.packed.ops.attention import Attention
from rerank_core.engines.packed.ops.continued import ContinuedAttention
from rerank_core.engines.packed.ops.fused import NOTHING, Fused, fused_on
from rerank_core.engines.packed.ops.linear import (
    BFloat16Linear,
    DeviceLinear,
    FloatLinear,
    Linear,
    OneDnnLinear,
    WideningLinear,
)
from rerank_core.engines.packed.ops.mkl_linear import MklLinear

if TYPE_CHECKING:
    from rerank_core.engines.packed.kernels.attention import AttentionKernel

_LEAST_NUMBERS = 2**17  # of a weight: a tiny model loads faster than a kernel compiles

MakeLinear: TypeAlias = Callable[[Tensor, Tensor | None], Linear]


def numbers(device: str, dtype: str) -> tuple[torch.dtype, MakeLinear]:
    """Choose the dtype to compute in, and the layers' products."""
    if device != "cpu":
        return getattr(torch, dtype), DeviceLinear
    if dtype == "bfloat16":
        return torch.float32, _kernel_product() if has_kernels(device, dtype) else BFloat16Linear
    # Those of fewer bits begin as float32: see ``quantization``.
    return torch.float32, float_product(device) if dtype == "float32" else FloatLinear


def float_product(device: str) -> MakeLinear:
    """Choose the products in the dtype to compute in."""
    if device != "cpu":
        return DeviceLinear
    if cpu_features.multiplies_by_onednn():
        return partial(_reading_rows, otherwise=OneDnnLinear)
    return MklLinear if torch.backends.mkl.is_available() else FloatLinear


def widening_product() -> MakeLinear:
    """Choose the products in float32 with a weight of 16 bits, on a CPU."""
    return partial(_reading_rows, otherwise=WideningLinear)


def _reading_rows(weight: Tensor, bias: Tensor | None, otherwise: MakeLinear) -> Linear:
    return (row_product(weight) or otherwise)(weight, bias)


def row_product(weight: Tensor) -> MakeLinear | None:
    """Return the product that reads a weight of 32 or 16 bits as it lies, where that is the fastest in float32."""
    if weight.numel() < _LEAST_NUMBERS or not instructions.reads_rows():
        return None
    from rerank_core.engines.packed.kernels.row_linear import RowLinear, fits

    return RowLinear if fits(weight) else None


def last_product(device: str, dtype: str) -> MakeLinear:
    """Choose the products of a last layer of which only first tokens are computed."""
    return _kernel_product() if has_kernels(device, dtype) else float_product(device)


def _kernel_product() -> MakeLinear:
    from rerank_core.engines.packed.kernels.linear import BFloat16Linear as KernelLinear

    return KernelLinear


def activated(product: MakeLinear) -> MakeLinear | None:
    """Return the product with GELU that goes with a product, where there is one."""
    if instructions.found() is None or product is not _kernel_product():
        return None
    from rerank_core.engines.packed.kernels.linear import ActivatedLinear

    return ActivatedLinear


def has_kernels(device: str, dtype: str) -> bool:
    """Return whether products and attention are computed by kernels there, see ``kernels``."""
    return device == "cpu" and dtype in ("bfloat16", "int8") and instructions.found() is not None


def own_attention(device: str, dtype: str, hidden: int, reach: int | None) -> Attention | None:
    """Return the attention of our own kernels, where there is one for heads of a multiple of 32; else None.

    ``reach``: how far away a token sees others; None: everywhere.
    """
    kernel = _attention_kernel(device, dtype, hidden)
    if kernel is None:
        return None
    from rerank_core.engines.packed.kernels.attention import KernelAttention

    return KernelAttention(kernel, reach)


def own_decoder_attention(
    device: str, dtype: str, hidden: int, *, is_causal: bool, reach: int | None
) -> ContinuedAttention | None:
    """Return the attention of a decoder's layer of our own kernels, as ``own_attention``.

    ``reach``: how many places back a token is seen; None: all.
    """
    kernel = _attention_kernel(device, dtype, hidden)
    if kernel is None:
        return None
    from rerank_core.engines.packed.kernels.attention import ContinuedKernelAttention

    return ContinuedKernelAttention(kernel, is_causal, reach)


def _attention_kernel(device: str, dtype: str, hidden: int) -> AttentionKernel | None:
    if has_kernels(device, dtype):
        from rerank_core.engines.packed.kernels.bfloat16_attention import attention_kernel

        return attention_kernel()
    is_exact = device == "cpu" and dtype in ("float32", "float16-weights")
    if not is_exact or not _is_wide(hidden) or not instructions.reads_rows():
        return None
    from rerank_core.engines.packed.kernels.float_attention import FLOAT32

    return FLOAT32


def own_head_product(device: str, hidden: int, head_width: int) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return the product of our own kernels of which each head has a weight of its own; None: torch's is used."""
    if device != "cpu" or not _is_computed_in_rows(hidden, head_width):
        return None
    from rerank_core.engines.packed.kernels.head_product import multiply_heads

    return multiply_heads


def fused(device: str, hidden: int, *widths: int) -> Fused:
    """Return the operations that are fused on a device. ``widths``: of the rows, besides ``hidden``, that they take."""
    if device != "cpu":
        return fused_on(device)
    if not _is_computed_in_rows(hidden, *widths):
        return NOTHING
    from rerank_core.engines.packed.kernels.passes import FUSED

    return FUSED


def _is_computed_in_rows(hidden: int, *widths: int) -> bool:
    return _is_wide(hidden) and not any(width % 32 for width in (hidden, *widths)) and instructions.computes_rows()


def _is_wide(hidden: int) -> bool:
    return 3 * hidden**2 >= _LEAST_NUMBERS


def has_one_kernel(device: str, dtype: torch.dtype) -> bool:
    """Return whether torch's kernel for all sequences at once is tried there, see ``find_kernel``."""
    return str(dtype).removeprefix("torch.") in class_of(device).kernel_dtypes
