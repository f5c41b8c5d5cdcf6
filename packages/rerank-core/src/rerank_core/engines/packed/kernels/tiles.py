"""The instructions of AMX: eight tile registers of 16 rows of 64 bytes, and products of them.

A tile's number is part of its instruction, so that each is a function of its own here. Tiles 0 to 3 are the sums of
32 x 32 outputs (top left, top right, bottom left, bottom right), 4 and 5 rows of the input, 6 and 7 of the weight.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from rerank_core.engines.packed.kernels.sums import TILE_LINES
from rerank_core.engines.packed.kernels.vectors import operation

_INT8, _INT64 = ir.IntType(8), ir.IntType(64)
_BYTES = _INT8.as_pointer()


def _emit(builder: Any, name: str, kinds: list[Any], values: list[Any]) -> Any:
    module = builder.module
    function = module.globals.get(name) or ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    return builder.call(function, values)


def _of_tiles(name: str, *numbers: int) -> Any:
    tiles = [ir.Constant(_INT8, number) for number in numbers]
    return operation(types.void, [], lambda b: _emit(b, f"llvm.x86.{name}", [_INT8] * len(tiles), tiles))


def _of_memory(name: str, number: int) -> Any:
    """A tile and 16 rows in memory: takes the address of the first, and the bytes from one to the next."""
    tile = ir.Constant(_INT8, number)
    return operation(
        types.void,
        [types.intp, types.intp],
        lambda b, at, step: _emit(b, f"llvm.x86.{name}", [_INT8, _BYTES, _INT64], [tile, b.inttoptr(at, _BYTES), step]),
    )


configure = operation(
    types.void, [types.intp], lambda b, at: _emit(b, "llvm.x86.ldtilecfg", [_BYTES], [b.inttoptr(at, _BYTES)])
)
release = operation(types.void, [], lambda b: _emit(b, "llvm.x86.tilerelease", [], []))

zero_0, zero_1, zero_2, zero_3 = (_of_tiles("tilezero", number) for number in range(4))
load_0, load_1, load_2, load_3 = (_of_memory("tileloadd64", number) for number in range(4))
load_4, load_5, load_6, load_7 = (_of_memory("tileloadd64", number) for number in range(4, 8))
store_0, store_1, store_2, store_3 = (_of_memory("tilestored64", number) for number in range(4))

_PRODUCTS = ((0, 4, 6), (1, 4, 7), (2, 5, 6), (3, 5, 7))
# Adds the products of bfloat16 pairs, in float32; of four uint8 with four int8, in int32.
add_bfloat16_0, add_bfloat16_1, add_bfloat16_2, add_bfloat16_3 = (_of_tiles("tdpbf16ps", *of) for of in _PRODUCTS)
add_bytes_0, add_bytes_1, add_bytes_2, add_bytes_3 = (_of_tiles("tdpbusd", *of) for of in _PRODUCTS)


def _configuration() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Palette 1: every tile has 16 rows of 64 bytes."""
    configuration = np.zeros(64, dtype=np.uint8)
    configuration[0] = 1
    configuration[16:32:2] = 64
    configuration[48:56] = TILE_LINES
    return configuration


_configured = _configuration()
CONFIGURATION: int = _configured.ctypes.data
