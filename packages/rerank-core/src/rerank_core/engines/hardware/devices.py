"""Chooses the device to compute on, and the dtype to compute with."""

from __future__ import annotations

import logging
from typing import Literal, TypeAlias

from rerank_core.engines.hardware import cpu_features
from rerank_core.errors import InvalidRequest

Device: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]
DType: TypeAlias = Literal["auto", "float32", "float16-weights", "float16", "bfloat16", "int8"]

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "float16-weights", "float16", "bfloat16", "int8")

_DTYPES_OF = {
    "cpu": ("float32", "float16-weights", "bfloat16", "int8"),
    "cuda": ("float32", "float16", "bfloat16"),
    "mps": ("float32", "float16"),
}

logger = logging.getLogger(__name__)


def choose_device(wanted: str) -> str:
    """Choose the device: the one that is wanted, or for ``auto`` the first of cuda, mps and cpu that is there.

    Raises ``InvalidRequest`` for one that is not there. ``cuda:1`` names one of several.
    """
    import torch

    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if found[name])
    kind, _, number = wanted.partition(":")
    if kind not in found or (":" in wanted and not (kind == "cuda" and number.isdecimal())):
        raise InvalidRequest(f"device is {wanted!r}: use one of {', '.join(DEVICES)}, or cuda:1 and so on")
    if not found[kind] or (number and int(number) >= torch.cuda.device_count()):
        here = ", ".join(name for name, is_here in found.items() if is_here)
        raise InvalidRequest(f"device={wanted!r} is not to be had here (there is: {here}): use device='auto'")
    return wanted


def with_number(device: str) -> str:
    """Give ``cuda`` the number of the device that is current in this thread; leave every other name as it is."""
    import torch

    return f"cuda:{torch.cuda.current_device()}" if device == "cuda" else device


def set_threads(threads: int) -> None:
    """Set torch's CPU threads, for the whole process."""
    import torch

    torch.set_num_threads(threads)


def choose_dtype(wanted: str, device: str) -> str:
    """Choose the dtype to compute with: float32, unless another is wanted.

    ``float16-weights`` are float32 on a machine that cannot, with a line in the log. Raises ``InvalidRequest`` for
    what a device does not have.
    """
    if wanted not in DTYPES:
        raise InvalidRequest(f"dtype is {wanted!r}: use one of {', '.join(DTYPES)}")
    if wanted in ("auto", "float32"):
        return "float32"
    kind = device.partition(":")[0]
    if wanted not in _DTYPES_OF[kind]:
        raise InvalidRequest(f"dtype={wanted!r} is not for {kind}: use one of {', '.join(_DTYPES_OF[kind])}")
    return _on_this_cpu(wanted) if kind == "cpu" else wanted


def _on_this_cpu(wanted: str) -> str:
    if wanted == "float16-weights" and not cpu_features.has_float16_weights():
        logger.warning("float16-weights need an x86 processor with AVX2: computing in float32, with twice the memory")
        return "float32"
    if wanted == "int8" and not cpu_features.has_int8():
        raise InvalidRequest("dtype='int8' needs an x86 processor with AVX2: use float32")
    if wanted == "bfloat16" and not cpu_features.has_bfloat16():
        raise InvalidRequest(
            "dtype='bfloat16' needs a processor with AMX or AVX512-BF16; without, it is eight times slower than "
            "float32: use that"
        )
    return wanted
