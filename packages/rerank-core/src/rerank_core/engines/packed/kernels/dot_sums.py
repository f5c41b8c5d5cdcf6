"""Sums in registers, by the dot products of AVX-512: of two bfloat16 (BF16), and of four bytes (VNNI).

Such an instruction multiplies a line of the weight, some consecutive inputs of 16 outputs, with the same inputs of one
row, and adds the products to the row's 16 sums. The sums of eight rows and 32 outputs are 16 registers of 32: enough
that no instruction waits for the one before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from rerank_core.engines.packed.kernels.sums import LINE_BYTES, PAIR_BYTES, TILE_BYTES, TILE_LINES, Sums, kernel
from rerank_core.engines.packed.kernels.vectors import BFLOAT, FETCH, LANES, instruction, operation, splat, store
from rerank_core.engines.packed.kernels.writing import FLOAT, INT32, INT64, States, everywhere, load, pointer, repeated

_ROWS = 8

_INTS, _FLOATS = ir.VectorType(INT32, LANES), ir.VectorType(FLOAT, LANES)
_BYTES, _BFLOATS = ir.VectorType(ir.IntType(8), 64), ir.VectorType(BFLOAT, 32)

Dot = Callable[[Any, Any, Any, Any], Any]
"""Writes one instruction: takes a builder, 16 sums, and 64 bytes of a row and of the weight; returns the new sums."""


def _dot(name: str, sums: Any, numbers: Any) -> Dot:
    emit = instruction(f"llvm.x86.{name}.512", sums, [sums, numbers, numbers])
    return lambda builder, total, row, weight: emit(
        builder, total, builder.bitcast(row, numbers), builder.bitcast(weight, numbers)
    )


def _adding_rows(dot: Dot, sums_kind: Any, *, fetches: bool) -> Any:
    """Make what adds eight rows of ``a`` up over ``depth`` pairs of tiles, onto what ``sums`` has.

    For each pair one tile is fetched, from ``fetched`` on.
    """

    def write(builder: Any, a: Any, b: Any, depth: Any, sums: Any, sums_bytes: Any, fetched: Any) -> None:
        rows = [builder.add(sums, builder.mul(sums_bytes, INT64(row))) for row in range(_ROWS)]
        places = [pointer(builder, row, sums_kind, half) for row in rows for half in (0, LINE_BYTES)]

        def turn(states: States) -> States:
            row, tiles, ahead, *totals = states
            for line in range(TILE_LINES):
                if fetches:
                    FETCH(builder, builder.add(ahead, INT64(line * LINE_BYTES)))
                weights = [
                    load(builder, tiles, _INTS, tile + line * LINE_BYTES, align=LINE_BYTES) for tile in (0, TILE_BYTES)
                ]
                for number in range(_ROWS):
                    four = load(builder, row, INT32, number * LINE_BYTES + line * 4)
                    inputs = everywhere(builder, four, _INTS)
                    for place, weight in enumerate(weights, start=2 * number):
                        totals[place] = dot(builder, totals[place], inputs, weight)
            sizes = (row, PAIR_BYTES), (tiles, PAIR_BYTES), (ahead, TILE_BYTES)
            return *(builder.add(address, INT64(size)) for address, size in sizes), *totals

        start = [a, b, fetched, *(builder.load(place, align=4) for place in places)]
        _, _, _, *totals = repeated(builder, depth, start, turn)
        for total, place in zip(totals, places, strict=True):
            builder.store(total, place, align=4)

    return operation(types.void, [types.intp] * 6, write)


def _of(dot: Dot, sums: Any) -> Any:
    """Make the function for a type of numbers, out of the instruction that multiplies and adds them."""
    add_rows = _adding_rows(dot, sums, fetches=False)
    add_rows_and_fetch = _adding_rows(dot, sums, fetches=True)
    nothing = np.float32(0)

    @kernel
    def add_up(
        a: Any,
        b: Any,
        depth: Any,
        rows: Any,
        goes_on: Any,
        sums: Any,
        sums_bytes: Any,
        ahead: Any,
        out: Any,
        out_bytes: Any,
    ) -> None:
        """Add up, see ``Sums``. Where the sums are written the processor fetches by itself."""
        if not goes_on:
            for row in range(sums, sums + (rows + _ROWS - 1) // _ROWS * _ROWS * sums_bytes, sums_bytes):
                store(row, splat(nothing))
                store(row + 64, splat(nothing))
        for first in range(0, rows, _ROWS):
            x = a + first // 16 * TILE_BYTES + first % 16 * LINE_BYTES
            block = sums + first * sums_bytes
            if ahead:  # every other time, the first half of what comes next, and the second
                fetched = b + ahead + first // _ROWS % 2 * depth * TILE_BYTES
                add_rows_and_fetch(x, b, depth, block, sums_bytes, fetched)
            else:
                add_rows(x, b, depth, block, sums_bytes, 0)

    return add_up


@kernel
def _nothing() -> None:
    pass


DOTS = Sums(
    begin=_nothing,
    end=_nothing,
    add_up_bfloat16=_of(_dot("avx512bf16.dpbf16ps", _FLOATS, _BFLOATS), _FLOATS),
    add_up_bytes=_of(_dot("avx512.vpdpbusd", _INTS, _BYTES), _INTS),
)
