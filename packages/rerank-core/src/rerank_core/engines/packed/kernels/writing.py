"""What the functions that write LLVM's instructions have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

INT32, INT64, FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()

States = Sequence[Any]
"""Values that change from one turn of a loop to the next."""


def pointer(builder: Any, address: Any, kind: Any, offset: int = 0) -> Any:
    """Return the pointer to a value of some kind, ``offset`` bytes behind an address."""
    return builder.inttoptr(builder.add(address, INT64(offset)), kind.as_pointer())


def load(builder: Any, address: Any, kind: Any, offset: int = 0, align: int = 4) -> Any:
    """Load a value of some kind, ``offset`` bytes behind an address."""
    return builder.load(pointer(builder, address, kind, offset), align=align)


def everywhere(builder: Any, value: Any, vector: Any) -> Any:
    """Put one value into all places of a vector."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, INT32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(INT32, vector.count), [0] * vector.count))


def addresses_of_rows(builder: Any, count: int, last: Any, first: Any, row_bytes: Any) -> list[Any]:
    """Compute the addresses of so many rows. Those behind the ``last`` are that one again."""
    numbers = [builder.select(builder.icmp_signed("<", INT64(row), last), INT64(row), last) for row in range(count)]
    return [builder.add(first, builder.mul(number, row_bytes)) for number in numbers]


def repeated(builder: Any, times: Any, start: States, turn: Callable[[States], States]) -> list[Any]:
    """Write a loop of one turn or more, and return what it leaves. ``turn`` writes one: from states to the next."""
    before = builder.block
    loop, behind = builder.append_basic_block("turn"), builder.append_basic_block("behind")
    builder.branch(loop)
    builder.position_at_end(loop)
    left, *states = (builder.phi(value.type) for value in (times, *start))
    fewer, *later = builder.sub(left, INT64(1)), *turn(states)
    for state, first, then in zip((left, *states), (times, *start), (fewer, *later), strict=True):
        state.add_incoming(first, before)
        state.add_incoming(then, loop)
    builder.cbranch(builder.icmp_signed(">", fewer, INT64(0)), loop, behind)
    builder.position_at_end(behind)
    return later
