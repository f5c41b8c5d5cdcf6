"""Which instructions for products this machine has, and whether numba can compile kernels with them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, TypeAlias

from rerank_core.engines.hardware import cpu_features

if TYPE_CHECKING:
    from rerank_core.engines.packed.kernels.sums import Sums

logger = logging.getLogger(__name__)

Name: TypeAlias = Literal["amx", "avx512"]
"""Tiles of Intel's AMX; dot products of AVX-512 (BF16 and VNNI)."""

# As LLVM calls what each needs.
_NEEDED: Mapping[Name | Literal["rows"], tuple[str, ...]] = {
    "amx": ("amx-tile", "amx-bf16", "amx-int8", "avx512bf16"),
    "rows": ("avx512f", "avx512bw", "avx512dq", "avx512vl"),
    "avx512": ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni", "avx512bf16"),
}


@cache
def found() -> Name | None:
    """Return the fastest instructions that the processor has, the system allows and numba compiles for; else None.

    Where only numba is missing, the log says once what it would bring.
    """
    able: dict[Name, bool] = {"amx": cpu_features.has_amx(), "avx512": cpu_features.has_dot_products()}
    if not any(able.values()):
        return None
    if find_spec("numba") is None:
        what = "AMX" if able["amx"] else "AVX-512 with BF16 and VNNI"
        logger.info("this processor has %s: with rerank-core[kernels] bfloat16 and int8 are faster here", what)
        return None
    if able["amx"] and _compiles("amx") and cpu_features.may_use_amx():
        return "amx"
    return "avx512" if able["avx512"] and _compiles("avx512") else None


def _compiles(name: Name | Literal["rows"]) -> bool:
    """Return whether numba compiles for this processor. LLVM ends the process over an instruction that is not there."""
    from llvmlite.binding import get_host_cpu_features
    from numba import config

    is_changed = any(getattr(config, variable, None) for variable in ("DISABLE_JIT", "CPU_NAME", "CPU_FEATURES"))
    features = get_host_cpu_features()
    return not is_changed and all(features.get(needed) for needed in _NEEDED[name])


@cache
def computes_rows() -> bool:
    """Return whether kernels can compute with float32 rows: on Linux, with AVX-512 and numba."""
    has_all = cpu_features.has_avx512() and sys.platform == "linux" and find_spec("numba") is not None
    return has_all and _compiles("rows")


@cache
def reads_rows() -> bool:
    """Return whether products in float32 are best computed by kernels that read the weight as it lies.

    On AMD's processors with AVX-512, where numba is there. On Intel's, MKL is as fast over many rows.
    """
    if not cpu_features.multiplies_by_onednn() or sys.platform != "linux":
        return False
    if find_spec("numba") is None:
        logger.info("this processor has AVX-512: with rerank-core[kernels] float32 is faster here")
    return computes_rows()


def sums_with(name: Name) -> Sums:
    """Return what adds products up with some instructions. Whether this machine has them is not asked."""
    if name == "amx":
        from rerank_core.engines.packed.kernels.tile_sums import TILES

        return TILES
    from rerank_core.engines.packed.kernels.dot_sums import DOTS

    return DOTS


def best_sums() -> Sums:
    """Return the fastest of this machine. Raises ``RuntimeError`` where it has none: ask ``found`` first."""
    name = found()
    if name is None:
        raise RuntimeError("this machine has no instructions for these kernels")
    return sums_with(name)
