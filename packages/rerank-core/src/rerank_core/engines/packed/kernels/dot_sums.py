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
from rerank_core.engines.packed.kernels.vectors import BFLOAT, FETCH, instruction, operation, splat, store

_ROWS = 8

_INT8, _INT32, _INT64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_INTS, _FLOATS = ir.VectorType(_INT32, 16), ir.VectorType(ir.FloatType(), 16)
_BYTES, _BFLOATS = ir.VectorType(_INT8, 64), ir.VectorType(BFLOAT, 32)

Dot = Callable[[Any, Any, Any, Any], Any]
"""Writes one instruction: takes a builder, 16 sums, and 64 bytes of a row and of the weight; returns the new sums."""


def _dot(name: str, sums: Any, numbers: Any) -> Dot:
    emit = instruction(f"llvm.x86.{name}.512", sums, [sums, numbers, numbers])
    return lambda builder, total, row, weight: emit(
        builder, total, builder.bitcast(row, numbers), builder.bitcast(weight, numbers)
    )


class _Writer:
    """Writes the loop over the pairs of tiles, with all sums of eight rows in registers."""

    def __init__(self, dot: Dot, sums: Any, *, fetches: bool) -> None:
        self._dot = dot
        self._sums = sums
        self._fetches = fetches

    def write(self, builder: Any, a: Any, b: Any, depth: Any, sums: Any, sums_bytes: Any, fetched: Any) -> None:
        """Add up eight rows of ``a``, onto what ``sums`` has. There is at least one pair.

        For each pair one tile is fetched, from ``fetched`` on.
        """
        rows = [builder.add(sums, builder.mul(sums_bytes, _INT64(row))) for row in range(_ROWS)]
        places = [_at(builder, row, half, self._sums) for row in rows for half in (0, LINE_BYTES)]
        before = builder.block
        steps, behind = builder.append_basic_block("pairs"), builder.append_basic_block("behind")
        start = [depth, a, b, fetched, *(builder.load(place, align=4) for place in places)]
        builder.branch(steps)
        builder.position_at_end(steps)
        states = [builder.phi(value.type) for value in start]
        left, row, line, fetched, *totals = states
        totals = self._pair(builder, row, line, fetched, totals)
        left = builder.sub(left, _INT64(1))
        moved = [
            builder.add(address, _INT64(size))
            for address, size in ((row, PAIR_BYTES), (line, PAIR_BYTES), (fetched, TILE_BYTES))
        ]
        end = [left, *moved, *totals]
        for state, first, later in zip(states, start, end, strict=True):
            state.add_incoming(first, before)
            state.add_incoming(later, steps)
        builder.cbranch(builder.icmp_signed(">", left, _INT64(0)), steps, behind)
        builder.position_at_end(behind)
        for total, place in zip(totals, places, strict=True):
            builder.store(total, place, align=4)

    def _pair(self, builder: Any, a: Any, b: Any, fetched: Any, totals: list[Any]) -> list[Any]:
        for line in range(TILE_LINES):
            if self._fetches:
                FETCH(builder, builder.add(fetched, _INT64(line * LINE_BYTES)))
            weights = [
                builder.load(_at(builder, b, tile + line * LINE_BYTES, _INTS), align=64) for tile in (0, TILE_BYTES)
            ]
            for row in range(_ROWS):
                inputs = _everywhere(
                    builder, builder.load(_at(builder, a, row * LINE_BYTES + line * 4, _INT32), align=4)
                )
                for half, weight in enumerate(weights):
                    place = 2 * row + half
                    totals[place] = self._dot(builder, totals[place], inputs, weight)
        return totals


def _at(builder: Any, address: Any, offset: int, kind: Any) -> Any:
    return builder.inttoptr(builder.add(address, _INT64(offset)), kind.as_pointer())


def _everywhere(builder: Any, inputs: Any) -> Any:
    undefined = ir.Constant(_INTS, ir.Undefined)
    first = builder.insert_element(undefined, inputs, _INT32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(_INTS, [0] * 16))


def _of(dot: Dot, sums: Any) -> Any:
    """Make the function for a type of numbers, out of the instruction that multiplies and adds them."""
    addresses = [types.intp] * 6
    add_rows = operation(types.void, addresses, _Writer(dot, sums, fetches=False).write)
    add_rows_and_fetch = operation(types.void, addresses, _Writer(dot, sums, fetches=True).write)
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
