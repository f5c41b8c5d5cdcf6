"""Sums of products of float32, one number of a row with sixteen columns at a time, as attention needs them.

Six rows meet 64 columns, or 32, whose sums stay in registers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from rerank_core.engines.packed.kernels.vectors import LANES, instruction, operation
from rerank_core.engines.packed.kernels.writing import (
    FLOAT,
    INT64,
    States,
    addresses_of_rows,
    everywhere,
    load,
    pointer,
    repeated,
)

ROWS = 6

_FLOATS = ir.VectorType(FLOAT, LANES)
_NOTHING = ir.Constant(_FLOATS, [0.0] * LANES)
_VECTOR_BYTES = LANES * 4

_fma = instruction("llvm.fma.v16f32", _FLOATS, [_FLOATS] * 3)


def _of(vectors: int) -> Any:
    """Make the function for so many times sixteen columns."""

    def write(
        builder: Any,
        a: Any,
        a_bytes: Any,
        last: Any,
        b: Any,
        b_bytes: Any,
        depth: Any,
        out: Any,
        out_bytes: Any,
    ) -> None:
        rows = addresses_of_rows(builder, ROWS, last, a, a_bytes)

        def turn(states: States) -> States:
            place, line, *sums = states
            columns = [load(builder, line, _FLOATS, number * _VECTOR_BYTES) for number in range(vectors)]
            numbers = [everywhere(builder, load(builder, builder.add(row, place), FLOAT), _FLOATS) for row in rows]
            pairs = [(number, column) for number in numbers for column in columns]
            added = [_fma(builder, *pair, total) for pair, total in zip(pairs, sums, strict=True)]
            return builder.add(place, INT64(4)), builder.add(line, b_bytes), *added

        _, _, *sums = repeated(builder, depth, [INT64(0), b, *[_NOTHING] * (ROWS * vectors)], turn)
        for row, address in enumerate(addresses_of_rows(builder, ROWS, last, out, out_bytes)):
            for number in range(vectors):
                target = pointer(builder, address, _FLOATS, number * _VECTOR_BYTES)
                builder.store(sums[row * vectors + number], target, align=4)

    return operation(types.void, [types.intp] * 8, write)


add_up_64, add_up_32 = _of(4), _of(2)
"""``(a, a_bytes, last, b, b_bytes, depth, out, out_bytes)``, for 64 columns and for 32.

Writes six rows of ``a``, ``depth`` numbers each, times as many rows of ``b``. Rows of ``a`` behind the ``last`` are
that one again.
"""
