"""The tiles of AMX in memory: takes the place of ``kernels.tiles``, so that its users run on any processor.

A thread has tiles from ``configure`` to ``release``; without them an instruction ends the process, as on a processor.
What the instructions compute is from Intel's "Architecture Instruction Set Extensions Programming Reference".
"""

import ctypes
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from rerank_core.engines.packed.kernels.sums import LINE_BYTES, TILE_BYTES, TILE_LINES, kernel
from rerank_core.engines.packed.kernels.vectors import (
    load_float,
    load_int,
    operation,
    store_float,
    store_int,
)
from rerank_core.engines.packed.kernels.writing import FLOAT

_TILES = 8

_libc = ctypes.CDLL(None)
_key = ctypes.c_uint()
_libc.pthread_key_create(ctypes.byref(_key), None)
_KEY = _key.value


def _function(name: str, arguments: list[Any], result: Any = None) -> Any:
    function = _libc[name]  # one of its own, of which the types are ours
    function.argtypes, function.restype = arguments, result
    return function


_get = _function("pthread_getspecific", [ctypes.c_uint], ctypes.c_ssize_t)
_set = _function("pthread_setspecific", [ctypes.c_uint, ctypes.c_ssize_t], ctypes.c_int)
_allocate = _function("calloc", [ctypes.c_ssize_t, ctypes.c_ssize_t], ctypes.c_ssize_t)
_free = _function("free", [ctypes.c_ssize_t])

_as_float = operation(types.float32, [types.int32], lambda builder, bits: builder.bitcast(bits, FLOAT))
_byte = operation(
    types.int32,
    [types.intp],
    lambda builder, at: builder.zext(builder.load(builder.inttoptr(at, ir.IntType(8).as_pointer())), ir.IntType(32)),
)


CONFIGURATION = 1


@kernel
def configure(configuration: Any) -> None:
    """Give this thread tiles, all of zeros."""
    tiles = _get(_KEY)
    if tiles:
        _free(tiles)
    _set(_KEY, _allocate(_TILES * TILE_BYTES, configuration))


@kernel
def release() -> None:
    _free(_get(_KEY))
    _set(_KEY, 0)


def _zero(tile: int) -> Any:
    @kernel
    def zero() -> None:
        start = _get(_KEY) + tile * TILE_BYTES
        for place in range(start, start + TILE_BYTES, 4):
            store_int(place, 0)

    return zero


@kernel
def _copy(source: Any, source_step: Any, target: Any, target_step: Any) -> None:
    for line in range(TILE_LINES):
        for place in range(0, LINE_BYTES, 4):
            store_int(target + line * target_step + place, load_int(source + line * source_step + place))


def _load(tile: int) -> Any:
    return kernel(lambda source, step: _copy(source, step, _get(_KEY) + tile * TILE_BYTES, LINE_BYTES))


def _store(tile: int) -> Any:
    return kernel(lambda target, step: _copy(_get(_KEY) + tile * TILE_BYTES, LINE_BYTES, target, step))


def _add(total: int, rows: int, columns: int, add: Any) -> Any:
    """Make what adds the products of two tiles to a third: ``add`` does so with four bytes of each."""

    @kernel
    def add_products() -> None:
        tiles = _get(_KEY)
        for row in range(TILE_LINES):
            for four in range(TILE_LINES):
                for column in range(TILE_LINES):
                    a = tiles + rows * TILE_BYTES + row * LINE_BYTES + four * 4
                    b = tiles + columns * TILE_BYTES + four * LINE_BYTES + column * 4
                    add(tiles + total * TILE_BYTES + row * LINE_BYTES + column * 4, a, b)

    return add_products


@kernel
def _add_bfloat16(total: Any, a: Any, b: Any) -> None:
    pair, other = load_int(a), load_int(b)
    low = _as_float(np.int32(pair << 16)) * _as_float(np.int32(other << 16))
    high = _as_float(np.int32(pair & -65536)) * _as_float(np.int32(other & -65536))
    store_float(total, load_float(total) + (low + high))


@kernel
def _add_bytes(total: Any, a: Any, b: Any) -> None:
    """Unsigned in ``a``, signed in ``b``."""
    added = load_int(total)
    for place in range(4):
        signed = _byte(b + place)
        added += np.int32(_byte(a + place) * (signed - 256 if signed > 127 else signed))
    store_int(total, np.int32(added))


zero_0, zero_1, zero_2, zero_3 = (_zero(tile) for tile in range(4))
load_0, load_1, load_2, load_3 = (_load(tile) for tile in range(4))
load_4, load_5, load_6, load_7 = (_load(tile) for tile in range(4, 8))
store_0, store_1, store_2, store_3 = (_store(tile) for tile in range(4))

_PRODUCTS = ((0, 4, 6), (1, 4, 7), (2, 5, 6), (3, 5, 7))
add_bfloat16_0, add_bfloat16_1, add_bfloat16_2, add_bfloat16_3 = (_add(*of, _add_bfloat16) for of in _PRODUCTS)
add_bytes_0, add_bytes_1, add_bytes_2, add_bytes_3 = (_add(*of, _add_bytes) for of in _PRODUCTS)
