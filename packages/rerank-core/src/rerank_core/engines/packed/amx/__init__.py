"""Products and attention with the matrix instructions of Intel processors (AMX), compiled by numba when a model loads.

oneDNN, which torch asks for such products, chooses the order of its sums by the number of rows: a score's last bits
then depend on the batch. These kernels sum every row in one order, write float32 without a rounding between, and
round inputs while they lay them out as the instructions read them.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib.util import find_spec

from rerank_core.engines.hardware import cpu_features

logger = logging.getLogger(__name__)


@cache
def is_usable() -> bool:
    """Return whether the processor has the instructions, the system lets this process use them, and numba is there.

    Where only numba is missing, the log says once what it would bring.
    """
    if not cpu_features.has_amx():
        return False
    if find_spec("numba") is None:
        logger.info("this processor has AMX: with rerank-core[amx] bfloat16 and int8 are faster here")
        return False
    return _compiles_for_tiles() and cpu_features.may_use_amx()


def _compiles_for_tiles() -> bool:
    """Return whether numba compiles here, for this processor. LLVM ends the process over an instruction that is not."""
    from llvmlite.binding import get_host_cpu_features
    from numba import config

    is_changed = any(getattr(config, name, None) for name in ("DISABLE_JIT", "CPU_NAME", "CPU_FEATURES"))
    features = get_host_cpu_features()
    return not is_changed and all(features.get(name) for name in ("amx-tile", "amx-bf16", "amx-int8", "avx512bf16"))
