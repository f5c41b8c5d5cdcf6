"""Sixteen float32 at a time, in functions that numba compiles.

A compiler's own choice of vectors is not relied upon: what is written with these runs in vectors, in this order, so
that a number's bits depend on its own row only.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, overload, register_model

from rerank_core.engines.packed.kernels.writing import FLOAT, INT32, everywhere, pointer

LANES = 16

Emit = Callable[..., Any]
"""Writes the instructions of an operation: takes a builder and its arguments, returns its value."""

_INT8, _INT16 = ir.IntType(8), ir.IntType(16)


class _BFloat16(ir.Type):
    """LLVM's bfloat16, which llvmlite does not name."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat16)

    def __hash__(self) -> int:
        return hash(_BFloat16)


_BYTES, _SHORTS = ir.VectorType(_INT8, LANES), ir.VectorType(_INT16, LANES)
_INTS, _FLOATS = ir.VectorType(INT32, LANES), ir.VectorType(FLOAT, LANES)
BFLOAT = _BFloat16()
_BFLOATS = ir.VectorType(BFLOAT, LANES)


class _FloatVector(types.Type):
    """Numba's type of sixteen float32."""


class _IntVector(types.Type):
    """Numba's type of sixteen int32."""


FLOATS, INTS = _FloatVector("float32x16"), _IntVector("int32x16")


@register_model(_FloatVector)
class _FloatModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _FLOATS)


@register_model(_IntVector)
class _IntModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _INTS)


def operation(result: types.Type, arguments: Sequence[types.Type], emit: Emit) -> Any:
    """Make a function that kernels call out of the instructions that ``emit`` writes."""

    def typed(*_: types.Type) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            value = emit(builder, *values)
            return context.get_dummy_value() if result is types.void else value

        return result(*arguments), generate

    # numba reads the number of arguments off the function.
    by_count: dict[int, Callable[..., Any]] = {
        0: lambda typing: typed(),
        1: lambda typing, a: typed(a),
        2: lambda typing, a, b: typed(a, b),
        3: lambda typing, a, b, c: typed(a, b, c),
        6: lambda typing, a, b, c, d, e, f: typed(a, b, c, d, e, f),
        8: lambda typing, a, b, c, d, e, f, g, h: typed(a, b, c, d, e, f, g, h),
        12: lambda typing, a, b, c, d, e, f, g, h, i, j, k, m: typed(a, b, c, d, e, f, g, h, i, j, k, m),
    }
    return intrinsic(by_count[len(arguments)])


def instruction(name: str, result: Any, arguments: Sequence[Any]) -> Emit:
    """Emit a call of one of LLVM's intrinsic functions."""

    def emit(builder: Any, *values: Any) -> Any:
        module = builder.module
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(result, arguments), name)
        return builder.call(function, values)

    return emit


def _all(value: int) -> Any:
    return ir.Constant(_INTS, [value] * LANES)


def _to_bfloat16(builder: Any, value: Any) -> Any:
    """Round to the nearest bfloat16, ties to even."""
    return builder.bitcast(builder.fptrunc(value, _BFLOATS), _SHORTS)


def _from_bfloat16(builder: Any, value: Any) -> Any:
    return builder.bitcast(builder.shl(builder.zext(value, _INTS), _all(16)), _FLOATS)


def _pairs(builder: Any, even: Any, odd: Any) -> Any:
    low, high = (builder.zext(_to_bfloat16(builder, value), _INTS) for value in (even, odd))
    return builder.or_(low, builder.shl(high, _all(16)))


def _power_of_two(builder: Any, exponent: Any) -> Any:
    whole = builder.add(builder.fptosi(exponent, _INTS), _all(127))
    return builder.bitcast(builder.shl(whole, _all(23)), _FLOATS)


_address = types.intp

load = operation(FLOATS, [_address], lambda b, at: b.load(pointer(b, at, _FLOATS), align=4))
load_ints = operation(FLOATS, [_address], lambda b, at: b.sitofp(b.load(pointer(b, at, _INTS), align=4), _FLOATS))
store = operation(types.void, [_address, FLOATS], lambda b, at, x: b.store(x, pointer(b, at, _FLOATS), align=4))
store_bfloat16 = operation(
    types.void, [_address, FLOATS], lambda b, at, x: b.store(_to_bfloat16(b, x), pointer(b, at, _SHORTS), align=2)
)
# Sixteen pairs of bfloat16: (even[0], odd[0]), (even[1], odd[1]) ...
store_pairs = operation(
    types.void, [_address, FLOATS, FLOATS], lambda b, at, x, y: b.store(_pairs(b, x, y), pointer(b, at, _INTS), align=4)
)
# Sixteen bytes of what is 0 to 255 already; cuts off what is behind the point.
store_bytes = operation(
    types.void,
    [_address, FLOATS],
    lambda b, at, x: b.store(b.trunc(b.fptosi(x, _INTS), _BYTES), pointer(b, at, _BYTES), align=1),
)
load_float = operation(types.float32, [_address], lambda b, at: b.load(pointer(b, at, FLOAT), align=4))
store_float = operation(
    types.void, [_address, types.float32], lambda b, at, x: b.store(x, pointer(b, at, FLOAT), align=4)
)
load_int = operation(types.int32, [_address], lambda b, at: b.load(pointer(b, at, INT32), align=4))
store_int = operation(types.void, [_address, types.int32], lambda b, at, x: b.store(x, pointer(b, at, INT32), align=4))

# Fetch a cache line ahead: into the core's own cache for reading, or to be written.
_prefetch = instruction("llvm.prefetch.p0", ir.VoidType(), [_INT8.as_pointer(), INT32, INT32, INT32])


def _ahead(*, write: int, locality: int) -> Emit:
    kind = [ir.Constant(INT32, number) for number in (write, locality, 1)]
    return lambda b, at: _prefetch(b, pointer(b, at, _INT8), *kind)


FETCH = _ahead(write=0, locality=2)
fetch_to_read = operation(types.void, [_address], FETCH)
fetch_to_write = operation(types.void, [_address], _ahead(write=1, locality=3))

splat = operation(FLOATS, [types.float32], lambda b, x: everywhere(b, x, _FLOATS))
fma = operation(FLOATS, [FLOATS] * 3, instruction("llvm.fma.v16f32", _FLOATS, [_FLOATS] * 3))
round_even = operation(FLOATS, [FLOATS], instruction("llvm.rint.v16f32", _FLOATS, [_FLOATS]))
larger = operation(FLOATS, [FLOATS] * 2, lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y))
smaller = operation(FLOATS, [FLOATS] * 2, lambda b, x, y: b.select(b.fcmp_ordered("<", x, y), x, y))
rounded_to_bfloat16 = operation(FLOATS, [FLOATS], lambda b, x: _from_bfloat16(b, _to_bfloat16(b, x)))
power_of_two = operation(FLOATS, [FLOATS], _power_of_two)  # of whole numbers between -126 and 127
_add_up = instruction("llvm.vector.reduce.fadd.v16f32", FLOAT, [FLOAT, _FLOATS])  # one after the other
total = operation(types.float32, [FLOATS], lambda b, x: _add_up(b, ir.Constant(FLOAT, -0.0), x))
largest = operation(types.float32, [FLOATS], instruction("llvm.vector.reduce.fmax.v16f32", FLOAT, [_FLOATS]))
smallest = operation(types.float32, [FLOATS], instruction("llvm.vector.reduce.fmin.v16f32", FLOAT, [_FLOATS]))


def _overload(function: Any, emit: Emit) -> None:
    compute = operation(FLOATS, [FLOATS, FLOATS], emit)

    @overload(function, strict=False)  # numba would compare the annotations
    def of_vectors(x: Any, y: Any) -> Any:
        if isinstance(x, _FloatVector) and isinstance(y, _FloatVector):
            return lambda x, y: compute(x, y)
        return None


_overload(operator.add, lambda b, x, y: b.fadd(x, y))
_overload(operator.sub, lambda b, x, y: b.fsub(x, y))
_overload(operator.mul, lambda b, x, y: b.fmul(x, y))
_overload(operator.truediv, lambda b, x, y: b.fdiv(x, y))
