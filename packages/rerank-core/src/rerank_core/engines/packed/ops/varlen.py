"""torch's attention kernel for all sequences at once, ``varlen_attn``, with the arguments that it takes here.

Each version of torch knows other arguments, and a device may refuse one that its torch knows: some builds have the
kernel for newer devices only, or ``num_splits`` for one of their kernels only. So it is asked, once, on the device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from inspect import signature
from typing import Any, cast

import torch
from torch import Tensor

from rerank_core.engines.hardware.failures import is_device_error, is_out_of_memory
from rerank_core.engines.packed.ops.attention import Bounds

EVERYWHERE = (-1, -1)
"""The window of a token that sees all others."""

_WIDEST = 256  # numbers of a head

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VarlenKernel:
    """The kernel with its arguments. ``repeats``: how often a key head is repeated, where the kernel shares none."""

    attend: Callable[..., object]
    repeats: int = 1

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, queries: Bounds, keys: Bounds) -> Tensor:
        """Compute the context of the queries [rows, heads, width]; keys and values are [tokens, key heads, width]."""
        if self.repeats > 1:
            key, value = (part.repeat_interleave(self.repeats, dim=1) for part in (key, value))
        attended = self.attend(query, key, value, queries.offsets, keys.offsets, queries.longest, keys.longest)
        return cast("Tensor", attended)  # alone: nothing was asked for beside it


@dataclass(frozen=True, slots=True)
class VarlenAttention:
    """Attends in one kernel for all sequences."""

    kernel: VarlenKernel

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bounds: Bounds, out: Tensor) -> None:
        """See ``Attention``."""
        tokens = slice(bounds.places[-1])
        out[tokens].copy_(self.kernel(query[tokens], key[tokens], value[tokens], bounds, bounds))


def has_varlen() -> bool:
    """Return whether this torch has the kernel at all."""
    return find_spec("torch.nn.attention.varlen") is not None


def find_kernel(
    device: str,
    dtype: torch.dtype,
    *,
    heads: int,
    key_heads: int,
    head_width: int,
    window: tuple[int, int] = EVERYWHERE,
) -> VarlenKernel | None:
    """Return the kernel, or None where it does not compute this.

    ``window``: how many places back and ahead a token is seen, -1: all. Keys are not divided into splits where that can
    be asked for: how many there are depends on the longest sequence of the batch, and the last bits with it.
    """
    from torch.nn.attention.varlen import varlen_attn

    known = set(signature(varlen_attn).parameters)
    if head_width % 8 or head_width > _WIDEST or (window != EVERYWHERE and "window_size" not in known):
        return None
    wanted: dict[str, Any] = {"window_size": window, "enable_gqa": heads != key_heads, "num_splits": 1}
    options = {name: value for name, value in wanted.items() if name in known}
    repeats = 1 if "enable_gqa" in known else heads // key_heads
    reasons = []
    while True:
        kernel = VarlenKernel(partial(varlen_attn, **options), repeats)
        reason = _unsupported_reason(kernel, device, dtype, heads=heads, key_heads=key_heads, head_width=head_width)
        if reason is None:
            return kernel
        reasons.append(reason)
        if options.pop("num_splits", None) is None:
            break
    logger.warning("attention is computed a sequence at a time, which is slower: %s", "; ".join(reasons))
    return None


def _unsupported_reason(
    kernel: VarlenKernel, device: str, dtype: torch.dtype, *, heads: int, key_heads: int, head_width: int
) -> str | None:
    """Return why the kernel does not compute two sequences of one token; None where it does."""
    query, key = (torch.zeros(2, count, head_width, device=device, dtype=dtype) for count in (heads, key_heads))
    places = [0, 1, 2]
    bounds = Bounds(places, torch.tensor(places, dtype=torch.int32, device=device))
    try:
        kernel(query, key, key, bounds, bounds)
    except RuntimeError as error:
        if is_out_of_memory(error) or is_device_error(error):
            raise
        return str(error).partition("\n")[0]
    return None
