"""Sums of products of float32 rows with a weight that is read as it lies: nothing is laid out, and nothing copied.

Six rows meet four rows of the weight, which have an output each. Sixteen inputs are multiplied at a time, so that an
output is sixteen sums at first; in the end these are added up, in one order. A weight of 16 bits is widened when it is
read. The 24 sums of sixteen stay in registers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from rerank_core.engines.packed.kernels.vectors import BFLOAT, FETCH, LANES, instruction, operation

ROWS, OUTPUTS = 6, 4
INPUTS = 2 * LANES  # the inputs of a weight are a multiple of these

_INT32, _INT64 = ir.IntType(32), ir.IntType(64)
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_FOUR = ir.VectorType(ir.FloatType(), OUTPUTS)
_NOTHING = ir.Constant(_FLOATS, [0.0] * LANES)

_fma = instruction("llvm.fma.v16f32", _FLOATS, [_FLOATS] * 3)

# Of two vectors: their first or second halves of each four numbers, alternating by one or by two.
_FIRST_BY_ONE = [place for first in range(0, LANES, 4) for place in (first, first + 16, first + 1, first + 17)]
_SECOND_BY_ONE = [place + 2 for place in _FIRST_BY_ONE]
_FIRST_BY_TWO = [place for first in range(0, LANES, 4) for place in (first, first + 1, first + 16, first + 17)]
_SECOND_BY_TWO = [place + 2 for place in _FIRST_BY_TWO]


def _at(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _shuffled(builder: Any, one: Any, other: Any, places: list[int]) -> Any:
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(_INT32, len(places)), places))


def _added(builder: Any, one: Any, other: Any, first: list[int], second: list[int]) -> Any:
    return builder.fadd(_shuffled(builder, one, other, first), _shuffled(builder, one, other, second))


def _totals(builder: Any, sums: list[Any]) -> Any:
    """Add the numbers of each of four vectors up."""
    pairs = (sums[0], sums[1]), (sums[2], sums[3])
    halves = [_added(builder, one, other, _FIRST_BY_ONE, _SECOND_BY_ONE) for one, other in pairs]
    quarters = _added(builder, halves[0], halves[1], _FIRST_BY_TWO, _SECOND_BY_TWO)  # four of each four numbers
    eight = _added(builder, quarters, quarters, list(range(8)), list(range(8, 16)))
    return _added(builder, eight, eight, list(range(4)), list(range(4, 8)))


class _Writer:
    """Writes the loop over the inputs. ``kind``: of the weight's numbers; ``fetches``: a row of another weight."""

    def __init__(self, kind: Any, size: int, *, fetches: bool) -> None:
        self._kind = ir.VectorType(kind, LANES)
        self._size = size
        self._fetches = fetches

    def write(
        self,
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
        """Write what is in ``before``, and the bias, and the sums. Rows behind the ``last`` are that one again."""
        numbers = [self._smaller(builder, _INT64(row), last) for row in range(ROWS)]
        rows, befores, outs = (
            [builder.add(base, builder.mul(number, step)) for number in numbers]
            for base, step in ((x, x_bytes), (before, before_bytes), (out, out_bytes))
        )
        weights = [builder.add(weight, builder.mul(weight_bytes, _INT64(output))) for output in range(OUTPUTS)]
        sums = self._loop(builder, rows, weights, steps, fetched)
        shift = builder.load(_at(builder, bias, _FOUR), align=4)
        # All of them first: where a row is there twice, the second time it would be read after it was written.
        starts = [builder.fadd(builder.load(_at(builder, place, _FOUR), align=4), shift) for place in befores]
        for number, (place, start) in enumerate(zip(outs, starts, strict=True)):
            total = _totals(builder, sums[number * OUTPUTS : (number + 1) * OUTPUTS])
            builder.store(builder.fadd(start, total), _at(builder, place, _FOUR), align=4)

    def _loop(self, builder: Any, rows: list[Any], weights: list[Any], steps: Any, fetched: Any) -> list[Any]:
        entry = builder.block
        loop, behind = builder.append_basic_block("inputs"), builder.append_basic_block("behind")
        builder.branch(loop)
        builder.position_at_end(loop)
        left, place = builder.phi(_INT64), builder.phi(_INT64)  # steps; inputs
        sums = [builder.phi(_FLOATS) for _ in range(ROWS * OUTPUTS)]
        totals: list[Any] = list(sums)
        for part in range(0, INPUTS, LANES):
            here = builder.add(place, _INT64(part))
            totals = self._multiplied(builder, rows, weights, here, totals)
            if self._fetches and (part * self._size) % 64 == 0:
                FETCH(builder, self._input(builder, fetched, here, self._size))
        later = (builder.sub(left, _INT64(1)), builder.add(place, _INT64(INPUTS)), *totals)
        for state, first, then in zip(
            (left, place, *sums), (steps, _INT64(0), *[_NOTHING] * len(sums)), later, strict=True
        ):
            state.add_incoming(first, entry)
            state.add_incoming(then, loop)
        builder.cbranch(builder.icmp_signed(">", later[0], _INT64(0)), loop, behind)
        builder.position_at_end(behind)
        return totals

    def _multiplied(self, builder: Any, rows: list[Any], weights: list[Any], place: Any, sums: list[Any]) -> list[Any]:
        inputs = [builder.load(_at(builder, self._input(builder, row, place, 4), _FLOATS), align=4) for row in rows]
        for output, weight in enumerate(weights):
            factors = self._widened(builder, self._input(builder, weight, place, self._size))
            for row, numbers in enumerate(inputs):
                total = row * OUTPUTS + output
                sums[total] = _fma(builder, numbers, factors, sums[total])
        return sums

    def _widened(self, builder: Any, address: Any) -> Any:
        factors = builder.load(_at(builder, address, self._kind), align=self._size)
        return factors if self._size == 4 else builder.fpext(factors, _FLOATS)

    def _input(self, builder: Any, row: Any, place: Any, size: int) -> Any:
        return builder.add(row, builder.mul(place, _INT64(size)))

    def _smaller(self, builder: Any, one: Any, other: Any) -> Any:
        return builder.select(builder.icmp_signed("<", one, other), one, other)


def _of(kind: Any, size: int, *, fetches: bool) -> Any:
    return operation(types.void, [types.intp] * 12, _Writer(kind, size, fetches=fetches).write)


ADD_UP = {
    name: (_of(kind, size, fetches=False), _of(kind, size, fetches=True))
    for name, kind, size in (
        ("float32", ir.FloatType(), 4),
        ("bfloat16", BFLOAT, 2),
        ("float16", ir.HalfType(), 2),
    )
}
"""By the type of the weight's numbers: without and with the fetching of another row of it."""
