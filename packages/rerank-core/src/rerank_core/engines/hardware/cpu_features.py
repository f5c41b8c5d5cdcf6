"""The features of this machine's processor that decide how engines compute.

What the environment takes away from oneDNN (``ONEDNN_MAX_CPU_ISA``) or from torch (``ATEN_CPU_CAPABILITY``) does not
count: their products would be those of a lesser processor, and our own kernels are not used on one either.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping

# Linux on x86-64: a system call, its request for a part of the processor's state, and that part: what tiles hold.
_ARCH_PRCTL, _REQUEST_STATE, _TILE_DATA = 158, 0x1023, 18

# What oneDNN still uses of the features that are asked for here, by the value of its variable. Other values take
# nothing of these away.
_AVX512 = frozenset({"avx512_f", "avx512_bw", "avx512_dq", "avx512_vl"})
_ONEDNN = {
    "SSE41": frozenset[str](),
    "AVX": frozenset[str](),
    "AVX2": frozenset[str](),
    "AVX2_VNNI": frozenset({"avx_vnni"}),
    "AVX2_VNNI_2": frozenset({"avx_vnni"}),
    "AVX512_CORE": _AVX512,
    "AVX512_CORE_VNNI": _AVX512 | {"avx512_vnni"},
    "AVX512_CORE_BF16": _AVX512 | {"avx512_vnni", "avx512_bf16"},
    "AVX512_CORE_FP16": _AVX512 | {"avx512_vnni", "avx512_bf16"},
    "AVX10_1_512": _AVX512 | {"avx512_vnni", "avx512_bf16"},
}


def has_float16_weights() -> bool:
    """Return whether FBGEMM multiplies with float16 weights here: x86 with AVX2 or more."""
    import torch

    return "fbgemm" in torch.backends.quantized.supported_engines


def widens_float16() -> bool:
    """Return whether MKL's float32 product is so much faster than FBGEMM's that widening weights first is worth it.

    On an Intel Xeon with AVX-512 it is: 1.14 times as fast over full batches of the default model's shape. MKL does not
    use AVX-512 on other makers' processors.
    """
    return has_avx512() and _is_intel()


def multiplies_by_onednn() -> bool:
    """Return whether oneDNN's float32 product is faster than MKL's: AVX-512, which MKL uses on Intel's processors only.

    On AMD's it is 1.10 to 1.13 times as fast over full batches of the default model's shape. On Intel's it is 1.05 to
    1.07 times as fast up to 160 rows, and no faster for full batches, whose products MKL writes into memory in use.
    """
    import torch

    return has_avx512() and not _is_intel() and torch.backends.mkldnn.is_available()


def has_int8() -> bool:
    """Return whether oneDNN multiplies uint8 and int8 faster than float32 here: x86 with AVX2 or more."""
    import torch

    return has_float16_weights() and "onednn" in torch.backends.quantized.supported_engines


def has_bfloat16() -> bool:
    """Return whether there are instructions for bfloat16; without them it is eight times slower than float32."""
    return any(_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))


def has_amx() -> bool:
    """Return whether there are matrix instructions for bfloat16 and bytes, and Linux to ask for them."""
    has_all = all(_capabilities().get(name) for name in ("amx_tile", "amx_bf16", "amx_int8", "avx512_bf16"))
    return has_all and sys.platform == "linux"


def has_dot_products() -> bool:
    """Return whether there are dot products of bfloat16 and of bytes, for 16 sums at once, on Linux."""
    needed = ("avx512_f", "avx512_bw", "avx512_dq", "avx512_vl", "avx512_vnni", "avx512_bf16")
    return all(_capabilities().get(name) for name in needed) and sys.platform == "linux"


def may_use_amx() -> bool:
    """Ask the system to let this process use AMX's tiles, for all its threads and children."""
    failed: int = ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST_STATE, _TILE_DATA)
    return not failed


def int8_levels() -> int:
    """How many levels an 8-bit input may have, without an overflow on the way to the 32-bit sum.

    VNNI adds up four products in 32 bits. Older instructions add two in 16: 2 * 127 * 127 still fits.
    """
    return 256 if any(_capabilities().get(name) for name in ("avx512_vnni", "avx_vnni")) else 128


def has_avx512() -> bool:
    """Return whether there are AVX-512's instructions for sixteen float32."""
    return bool(_capabilities().get("avx512_f"))


def _is_intel() -> bool:
    return str(_capabilities().get("cpu_name", "")).startswith("Intel")


def _capabilities() -> Mapping[str, object]:
    import torch

    known: Mapping[str, object] = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return {name: value for name, value in known.items() if not _is_taken_away(name)}


def _is_taken_away(name: str) -> bool:
    import torch

    if not name.startswith(("avx", "amx")):
        return False
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    left = _ONEDNN.get(limit.upper())
    by_torch = torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2") and not name.startswith("avx_")
    return by_torch or (left is not None and name not in left)
