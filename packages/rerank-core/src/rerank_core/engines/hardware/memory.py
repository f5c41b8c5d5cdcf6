"""Gives memory back to the system."""

from __future__ import annotations

import ctypes
import sys

import torch


def release_memory() -> None:
    """Give back what is kept for later use: of the device by torch, of the process by glibc.

    After large buffers of many sizes the heap keeps hundreds of megabytes in pieces that the next ones do not fit.
    """
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)
