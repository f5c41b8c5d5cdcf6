"""What this machine's processor can do, as far as it decides about engines."""

from __future__ import annotations

from collections.abc import Mapping


def has_float16_weights() -> bool:
    """FBGEMM's products with float16 weights: x86 with AVX2 or more."""
    import torch

    return "fbgemm" in torch.backends.quantized.supported_engines


def widens_float16() -> bool:
    """Whether MKL's float32 product is so much faster than FBGEMM's that widening weights first is worth its cost.

    On an Intel Xeon with AVX-512 it is: 1.14 times as fast over full batches of the default model's shape. MKL does not
    use AVX-512 on other makers' processors.
    """
    return bool(_capabilities().get("avx512_f")) and str(_capabilities().get("cpu_name", "")).startswith("Intel")


def has_int8() -> bool:
    """Products of uint8 and int8 at more than float32's speed (oneDNN): x86 with AVX2 or more."""
    import torch

    return has_float16_weights() and "onednn" in torch.backends.quantized.supported_engines


def has_bfloat16() -> bool:
    """Instructions for products in bfloat16; without them they are eight times slower than float32."""
    return any(_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))


def int8_levels() -> int:
    """How many levels an 8-bit input may have, without an overflow on the way to the 32-bit sum.

    VNNI adds up four products in 32 bits. Older instructions add two in 16: 2 * 127 * 127 still fits.
    """
    return 256 if any(_capabilities().get(name) for name in ("avx512_vnni", "avx_vnni")) else 128


def _capabilities() -> Mapping[str, object]:
    import torch

    known: Mapping[str, object] = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return known
