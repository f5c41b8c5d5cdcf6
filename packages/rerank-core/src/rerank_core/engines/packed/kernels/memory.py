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
        self._buffers: dict[str, tuple[int, int, NDArray[np.uint8]]] = {}

    def address(self, name: str, size: int) -> int:
        """Return the address of a buffer of at least so many bytes, on a cache line, with anything in it."""
        room, address, _ = self._buffers.get(name, _NO_BUFFER)
        if room < size or not address:
            buffer = np.zeros(size + 64, dtype=np.uint8)
            start = buffer.ctypes.data  # takes longer than a small product: asked once
            address = start + -start % 64
            self._buffers[name] = size, address, buffer
        return address


_NO_BUFFER = 0, 0, np.zeros(0, dtype=np.uint8)

SCRATCH = Scratch()
