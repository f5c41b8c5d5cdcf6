"""Classifies an engine's failures: every device words them differently."""

from __future__ import annotations

import torch

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
_DEVICE = ("cuda error", "device-side assert", "cublas_status", "cudnn_status")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an engine failed for want of memory, so that a smaller batch may go through."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def is_device_error(error: BaseException) -> bool:
    """Return whether the device itself failed: after a CUDA error every later call of the process fails too."""
    if is_out_of_memory(error) or not isinstance(error, RuntimeError):
        return False
    known = getattr(torch, "AcceleratorError", ())
    return isinstance(error, known) or any(words in str(error).lower() for words in _DEVICE)
