"""Addresses of memory that kernels read and write: they check nothing themselves."""

from __future__ import annotations

import threading

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def address_of_rows(x: Tensor, rows: int, width: int) -> int:
    """Return the address of float32 rows, each in one piece. Raises ``TypeError`` for other tensors."""
    in_pieces = x.stride(-1) == 1 or width == 1
    if x.dtype != torch.float32 or x.shape != (rows, width) or not in_pieces or x.device.type != "cpu":
        raise TypeError(f"float32 [{rows}, {width}] is needed, not {x.dtype} {list(x.shape)} with strides {x.stride()}")
    return x.data_ptr()


def as_rows(x: Tensor) -> Tensor:
    """Return float32 rows, each in one piece. What is returned must live as long as its address is used."""
    return x if x.dtype == torch.float32 and x.stride(1) == 1 else x.float().contiguous()


class Scratch(threading.local):
    """Keeps each thread's buffers: fresh memory costs as much to touch as to write."""

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[np.uint8]] = {}

    def address(self, name: str, size: int) -> int:
        """Return the address of a buffer of at least so many bytes, on a cache line, with anything in it."""
        buffer = self._buffers.get(name)
        if buffer is None or len(buffer) < size:
            whole = np.zeros(size + 64, dtype=np.uint8)
            buffer = self._buffers[name] = whole[-whole.ctypes.data % 64 :]
        return buffer.ctypes.data


SCRATCH = Scratch()
