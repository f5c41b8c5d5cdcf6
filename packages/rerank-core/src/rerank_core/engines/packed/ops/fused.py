"""Which operations a device fuses: does in one pass over its memory, where torch takes several.

On a GPU a kernel is used only where it gave the right numbers when first asked. Triton needs a C compiler and a folder
for what it compiles; without them torch's own operations compute, which takes about a tenth longer (``docs/gpu.md``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from rerank_core.engines.hardware.failures import is_device_error, is_out_of_memory

_NEAR = 1e-4  # of numbers of about one, in float32

logger = logging.getLogger(__name__)


AddNorm: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor | None, float], Tensor]
Rotate: TypeAlias = Callable[[Tensor, Tensor, Tensor], None]
RMSNormalise: TypeAlias = Callable[[Tensor, Tensor, float], Tensor]
MultiplyActivated: TypeAlias = Callable[[Tensor, Tensor], None]


@dataclass(frozen=True, slots=True)
class Fused:
    """The operations that are fused; None for each that torch computes.

    ``add_norm(x, y, weight, bias, epsilon)`` normalises x + y; ``rotate(x, cosines, sines)`` rotates heads;
    ``rms_norm(x, weight, epsilon)`` divides by the root of the mean square. ``gates``, by the activation:
    ``multiply(x, other)`` activates x in place and multiplies it by the other.
    """

    add_norm: AddNorm | None = None
    rotate: Rotate | None = None
    rms_norm: RMSNormalise | None = None
    gates: Mapping[Callable[[Tensor], object], MultiplyActivated] = field(default_factory=dict)


NOTHING = Fused()


@cache
def fused_on(device: str) -> Fused:
    """Return the fused operations of a device; of a GPU without any the log says why."""
    if not device.startswith("cuda"):
        return NOTHING
    try:
        from rerank_core.engines.packed.ops import triton_kernels

        fused = Fused(triton_kernels.add_norm, triton_kernels.rotate)
        with torch.cuda.device(device):
            is_theirs = is_right(triton_kernels.add_norm, triton_kernels.rotate, device)
        reason = None if is_theirs else "their numbers are not torch's"
    except Exception as error:  # of a compiler, whichever is there
        if is_device_error(error) or is_out_of_memory(error):
            raise
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
    if reason is None:
        return fused
    logger.warning("norms and rotary positions take several passes, which is slower: %s", reason)
    return NOTHING


def is_right(add_norm: AddNorm, rotate: Rotate, device: str) -> bool:
    """Return whether each operation gives what torch's operations give."""
    draw = torch.Generator().manual_seed(0)
    x, y, weight, bias = (torch.randn(shape, generator=draw).to(device) for shape in [(5, 48)] * 2 + [(48,)] * 2)
    normed = functional.layer_norm(x + y, (48,), weight, bias, 1e-5)
    unbiased = functional.layer_norm(x + y, (48,), weight, None, 1e-5)
    cosines, sines = (part.to(device) for part in (torch.rand(5, 1, 8, generator=draw) for _ in range(2)))
    heads = x.view(5, 3, 16)
    first, second = heads.chunk(2, dim=-1)
    rotated = torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)
    found = add_norm(x.clone(), y, weight, bias, 1e-5)
    found_unbiased = add_norm(x.clone(), y, weight, None, 1e-5)
    turned = heads.clone()
    rotate(turned, cosines, sines)
    pairs = ((found, normed), (found_unbiased, unbiased), (turned, rotated))
    return all(torch.allclose(ours, golden, rtol=_NEAR, atol=_NEAR) for ours, golden in pairs)
