"""What a device computes with for each dtype, and how its products and its attention are computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from rerank_core.engines.hardware import cpu_features
from rerank_core.engines.packed import amx
from rerank_core.engines.packed.device_classes import class_of
from rerank_core.engines.packed.ops.linear import BFloat16Linear, DeviceLinear, FloatLinear, Linear, OneDnnLinear
from rerank_core.engines.packed.ops.mkl_linear import MklLinear

MakeLinear: TypeAlias = Callable[[Tensor, Tensor | None], Linear]


def numbers(device: str, dtype: str) -> tuple[torch.dtype, MakeLinear]:
    """Choose the dtype to compute in, and the layers' products."""
    if device != "cpu":
        return getattr(torch, dtype), DeviceLinear
    if dtype == "bfloat16":
        return torch.float32, _tile_product() if has_tiles(device, dtype) else BFloat16Linear
    # Those of fewer bits begin as float32: see ``quantization``.
    return torch.float32, float_product(device) if dtype == "float32" else FloatLinear


def float_product(device: str) -> MakeLinear:
    """Choose the products in the dtype to compute in."""
    if device != "cpu":
        return DeviceLinear
    if cpu_features.multiplies_by_onednn():
        return OneDnnLinear
    return MklLinear if torch.backends.mkl.is_available() else FloatLinear


def last_product(device: str, dtype: str) -> MakeLinear:
    """Choose the products of a last layer of which only first tokens are computed."""
    return _tile_product() if has_tiles(device, dtype) else float_product(device)


def _tile_product() -> MakeLinear:
    from rerank_core.engines.packed.amx.linear import BFloat16Linear as TileLinear

    return TileLinear


def activated(product: MakeLinear) -> MakeLinear | None:
    """Return the product with GELU that goes with a product, where there is one."""
    if not amx.is_usable() or product is not _tile_product():
        return None
    from rerank_core.engines.packed.amx.linear import ActivatedLinear

    return ActivatedLinear


def has_tiles(device: str, dtype: str) -> bool:
    """Return whether products and attention are computed with AMX's tiles there, see ``amx``."""
    return device == "cpu" and dtype in ("bfloat16", "int8") and amx.is_usable()


def has_one_kernel(device: str, dtype: torch.dtype) -> bool:
    """Return whether torch's kernel for all sequences at once is tried there, see ``find_kernel``."""
    return str(dtype).removeprefix("torch.") in class_of(device).kernel_dtypes
