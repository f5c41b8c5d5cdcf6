"""Where to compute, and with which numbers."""

from __future__ import annotations

from typing import Literal, TypeAlias

from rerank_core.errors import InvalidRequest

Device: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]
DType: TypeAlias = Literal["auto", "float32", "float16", "bfloat16"]

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "float16", "bfloat16")


def choose_device(wanted: str) -> str:
    """The device to use: the one that is wanted, or cuda, mps or cpu by what is there.

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
        raise InvalidRequest(f"device {wanted!r} is not to be had here (there is: {here}): use device='auto'")
    return wanted


def choose_dtype(wanted: str, device: str) -> str:
    """The numbers to compute with: float32, unless another is wanted. Raises ``InvalidRequest``."""
    if wanted not in DTYPES:
        raise InvalidRequest(f"dtype is {wanted!r}: use one of {', '.join(DTYPES)}")
    if wanted == "auto":
        return "float32"
    if device == "cpu" and wanted != "float32":
        raise InvalidRequest(f"dtype {wanted!r} needs a GPU: on a CPU it is slow and no use; take float32")
    return wanted
