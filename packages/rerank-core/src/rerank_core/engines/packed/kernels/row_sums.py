"""Sums of products of float32 rows with a weight that is read as it lies: nothing is laid out, and nothing widened.

Six rows meet four rows of the weight, which have an output each. Sixteen inputs are multiplied at a time, so that an
output is sixteen sums at first; in the end these are added up, in one order. A weight of 16 bits is widened when it is
read. The 24 sums of sixteen stay in registers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from rerank_core.engines.packed.kernels.vectors import BFLOAT, FETCH, LANES, instruction, operation
from rerank_core.engines.packed.kernels.writing import (
    FLOAT,
    INT32,
    INT64,
    States,
    addresses_of_rows,
    load,
    pointer,
    repeated,
)

ROWS, OUTPUTS = 6, 4
INPUTS = 2 * LANES  # the inputs of a weight are a multiple of these

_FLOATS, _FOUR = ir.VectorType(FLOAT, LANES), ir.VectorType(FLOAT, OUTPUTS)
_NOTHING = ir.Constant(_FLOATS, [0.0] * LANES)
_LINE_BYTES = 64

_fma = instruction("llvm.fma.v16f32", _FLOATS, [_FLOATS] * 3)

# Of two vectors: their first or second halves of each four numbers, alternating by one or by two.
_FIRST_BY_ONE = [place for four in range(0, LANES, 4) for place in (four, four + 16, four + 1, four + 17)]
_SECOND_BY_ONE = [place + 2 for place in _FIRST_BY_ONE]
_FIRST_BY_TWO = [place for four in range(0, LANES, 4) for place in (four, four + 1, four + 16, four + 17)]
_SECOND_BY_TWO = [place + 2 for place in _FIRST_BY_TWO]


def _added(builder: Any, one: Any, other: Any, first: list[int], second: list[int]) -> Any:
    halves = [
        builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(INT32, len(places)), places))
        for places in (first, second)
    ]
    return builder.fadd(*halves)


def _totals(builder: Any, sums: list[Any]) -> Any:
    """Add the numbers of each of four vectors up."""
    pairs = (sums[0], sums[1]), (sums[2], sums[3])
    halves = [_added(builder, one, other, _FIRST_BY_ONE, _SECOND_BY_ONE) for one, other in pairs]
    quarters = _added(builder, halves[0], halves[1], _FIRST_BY_TWO, _SECOND_BY_TWO)  # four of each four numbers
    eight = _added(builder, quarters, quarters, list(range(8)), list(range(8, 16)))
    return _added(builder, eight, eight, list(range(4)), list(range(4, 8)))


def _of(kind: Any, size: int, *, fetches: bool) -> Any:
    """Make the function for a weight's kind of numbers, of ``size`` bytes; ``fetches``: a row of another weight."""
    numbers = ir.VectorType(kind, LANES)

    def write(
        builder: Any,
        x: Any,
        x_bytes: Any,
        last: Any,
        weight: Any,
        weight_bytes: Any,
        steps: Any,
        before: Any,
        before_bytes: Any,
        bias: Any,
        out: Any,
        out_bytes: Any,
        fetched: Any,
    ) -> None:
        rows, befores, outs = (
            addresses_of_rows(builder, ROWS, last, first, step)
            for first, step in ((x, x_bytes), (before, before_bytes), (out, out_bytes))
        )
        weights = [builder.add(weight, builder.mul(weight_bytes, INT64(output))) for output in range(OUTPUTS)]

        def factors(row: Any, place: Any) -> Any:
            found = load(builder, builder.add(row, builder.mul(place, INT64(size))), numbers, align=size)
            return found if size == 4 else builder.fpext(found, _FLOATS)

        def turn(states: States) -> States:
            place, *sums = states
            for part in range(0, INPUTS, LANES):
                here = builder.add(place, INT64(part))
                inputs = [load(builder, builder.add(row, builder.mul(here, INT64(4))), _FLOATS) for row in rows]
                for output, read in enumerate(weights):
                    found = factors(read, here)
                    for row, given in enumerate(inputs):
                        total = row * OUTPUTS + output
                        sums[total] = _fma(builder, given, found, sums[total])
                if fetches and part * size % _LINE_BYTES == 0:
                    FETCH(builder, builder.add(fetched, builder.mul(here, INT64(size))))
            return builder.add(place, INT64(INPUTS)), *sums

        _, *sums = repeated(builder, steps, [INT64(0), *[_NOTHING] * (ROWS * OUTPUTS)], turn)
        shift = load(builder, bias, _FOUR)
        # All of them first: where a row is there twice, the second time it would be read after it was written.
        starts = [builder.fadd(load(builder, place, _FOUR), shift) for place in befores]
        for number, (place, start) in enumerate(zip(outs, starts, strict=True)):
            total = _totals(builder, sums[number * OUTPUTS : (number + 1) * OUTPUTS])
            builder.store(builder.fadd(start, total), pointer(builder, place, _FOUR), align=4)

    return operation(types.void, [types.intp] * 12, write)


ADD_UP = {
    name: (_of(kind, size, fetches=False), _of(kind, size, fetches=True))
    for name, kind, size in (("float32", FLOAT, 4), ("bfloat16", BFLOAT, 2), ("float16", ir.HalfType(), 2))
}
"""By the type of the weight's numbers: without and with the fetching of another row of it, from ``fetched`` on.

``(x, x_bytes, last, weight, weight_bytes, steps, before, before_bytes, bias, out, out_bytes, fetched)``: writes what is
in ``before``, and the bias, and the sums of ``steps`` times ``INPUTS``. Rows behind the ``last`` are that one again.
"""
