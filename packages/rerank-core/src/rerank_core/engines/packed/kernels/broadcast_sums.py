"""Sums of products of float32, one number of a row with sixteen columns at a time, as attention needs them.

Six rows meet 64 columns, or 32, whose sums stay in registers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from rerank_core.engines.packed.kernels.vectors import LANES, instruction, operation

ROWS = 6

_INT32, _INT64, _FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()
_FLOATS = ir.VectorType(_FLOAT, LANES)
_NOTHING = ir.Constant(_FLOATS, [0.0] * LANES)
_EVERYWHERE = ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES)

_fma = instruction("llvm.fma.v16f32", _FLOATS, [_FLOATS] * 3)


class _Writer:
    """Writes the loop over a row's numbers. ``vectors``: how many times sixteen columns there are."""

    def __init__(self, vectors: int) -> None:
        self._vectors = vectors

    def write(
        self,
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
        """Write six rows of ``a``, ``depth`` numbers each, times as many rows of ``b``.

        Rows of ``a`` behind the ``last`` are that one again.
        """
        numbers = [_smaller(builder, _INT64(row), last) for row in range(ROWS)]
        rows, outs = (
            [builder.add(base, builder.mul(number, step)) for number in numbers]
            for base, step in ((a, a_bytes), (out, out_bytes))
        )
        entry = builder.block
        loop, behind = builder.append_basic_block("numbers"), builder.append_basic_block("behind")
        builder.branch(loop)
        builder.position_at_end(loop)
        left, place, line = (builder.phi(_INT64) for _ in range(3))  # numbers; bytes of a row; a row of b
        sums = [builder.phi(_FLOATS) for _ in range(ROWS * self._vectors)]
        columns = [self._vector(builder, line, number) for number in range(self._vectors)]
        totals = []
        for row, address in enumerate(rows):
            factor = _everywhere(builder, builder.load(_at(builder, builder.add(address, place), _FLOAT), align=4))
            for number, column in enumerate(columns):
                totals.append(_fma(builder, factor, column, sums[row * self._vectors + number]))
        later = (builder.sub(left, _INT64(1)), builder.add(place, _INT64(4)), builder.add(line, b_bytes), *totals)
        start = (depth, _INT64(0), b, *[_NOTHING] * len(sums))
        for state, first, then in zip((left, place, line, *sums), start, later, strict=True):
            state.add_incoming(first, entry)
            state.add_incoming(then, loop)
        builder.cbranch(builder.icmp_signed(">", later[0], _INT64(0)), loop, behind)
        builder.position_at_end(behind)
        for row, address in enumerate(outs):
            for number in range(self._vectors):
                target = builder.add(address, _INT64(number * LANES * 4))
                builder.store(totals[row * self._vectors + number], _at(builder, target, _FLOATS), align=4)

    def _vector(self, builder: Any, line: Any, number: int) -> Any:
        return builder.load(_at(builder, builder.add(line, _INT64(number * LANES * 4)), _FLOATS), align=4)


def _at(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _everywhere(builder: Any, number: Any) -> Any:
    undefined = ir.Constant(_FLOATS, ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(undefined, number, _INT32(0)), undefined, _EVERYWHERE)


def _smaller(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.icmp_signed("<", one, other), one, other)


def _of(vectors: int) -> Any:
    return operation(types.void, [types.intp] * 8, _Writer(vectors).write)


add_up_64, add_up_32 = _of(4), _of(2)
"""See ``_Writer.write``: for 64 columns, and for 32."""
