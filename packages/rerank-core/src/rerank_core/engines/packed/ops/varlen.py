"""torch's attention kernels for all sequences at once, with the arguments that they take here.

``varlen_attn`` computes in 16 bits, on GPUs from Ampere on; the memory-efficient kernel in float32 as well. Each
version of torch knows other arguments, and a device may refuse one that its torch knows: some builds have a kernel for
newer devices only, or ``num_splits`` for one of their kernels only. So they are asked, once, on the device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
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

# Of the memory-efficient kernel; the causal one counts places from the ends of queries and keys.
_EVERYWHERE_MASK, _CAUSAL_MASK = 0, 2

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
        """See ``Attention``. Rows behind the last bound get whatever the kernel's memory held."""
        out.copy_(self.kernel(query, key, value, bounds, bounds))


def find_kernel(
    device: str,
    dtype: torch.dtype,
    *,
    heads: int,
    key_heads: int,
    head_width: int,
    window: tuple[int, int] = EVERYWHERE,
) -> VarlenKernel | None:
    """Return the first kernel that computes this on the device; None where none does, and the log says why.

    ``window``: how many places back and ahead a token is seen, -1: all.
    """
    if head_width % 8 or head_width > _WIDEST:
        return None
    reasons = []
    for kernel in _candidates(heads=heads, key_heads=key_heads, window=window):
        reason = _unsupported_reason(kernel, device, dtype, heads=heads, key_heads=key_heads, head_width=head_width)
        if reason is None:
            return kernel
        reasons.append(reason)
    if reasons:
        logger.warning("attention is computed a sequence at a time, which is slower: %s", "; ".join(reasons))
    return None


def _candidates(*, heads: int, key_heads: int, window: tuple[int, int]) -> Iterator[VarlenKernel]:
    """Yield kernels that may compute this, the fastest first.

    Keys are not divided into splits where that can be asked for: how many there are depends on the longest sequence of
    the batch, and the last bits with it.
    """
    if find_spec("torch.nn.attention.varlen") is not None:
        from torch.nn.attention.varlen import varlen_attn

        known = set(signature(varlen_attn).parameters)
        wanted: dict[str, Any] = {"window_size": window, "enable_gqa": heads != key_heads, "num_splits": 1}
        options = {name: value for name, value in wanted.items() if name in known}
        if window == EVERYWHERE or "window_size" in known:
            repeats = 1 if "enable_gqa" in known else heads // key_heads
            yield VarlenKernel(partial(varlen_attn, **options), repeats)
            if options.pop("num_splits", None) is not None:
                yield VarlenKernel(partial(varlen_attn, **options), repeats)
    back, ahead = window
    if window == EVERYWHERE or ahead == 0:  # it knows no window that ends behind a token
        options = {"custom_mask_type": _EVERYWHERE_MASK if window == EVERYWHERE else _CAUSAL_MASK}
        if back >= 0:
            options["window_size"] = back + 1
        yield VarlenKernel(partial(memory_efficient, **options), heads // key_heads)


def memory_efficient(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    custom_mask_type: int,
    window_size: int | None = None,
) -> Tensor:
    """Compute attention by torch's memory-efficient kernel: in float32 too, and on GPUs before Ampere.

    It is the one behind ``scaled_dot_product_attention``, which takes no bounds of sequences.
    """
    attended: Tensor = torch.ops.aten._efficient_attention_forward(
        query[None],
        key[None],
        value[None],
        None,
        cu_seq_q,
        cu_seq_k,
        max_q,
        max_k,
        0.0,
        custom_mask_type,
        window_size=window_size,
    )[0][0]
    return attended


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
