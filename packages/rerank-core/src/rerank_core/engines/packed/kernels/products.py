"""Products of matrices, and how their factors are laid out. Addresses and sizes are in bytes where named so.

32 rows at a time are laid out as pairs of tiles (see ``sums``), pair after pair along their columns: a tile of bfloat16
holds 32 columns, one of bytes 64. A weight's outputs are laid out in the same way, with 2 (bfloat16) or 4 (bytes)
consecutive inputs of an output side by side, as the instructions read them. 32 x 32 outputs are summed along all inputs
in one order, whatever the number of rows.

A product takes so many outputs (``COLUMNS``) and inputs (``DEPTH``) of the weight at a time as stay in a core's own
cache (half a megabyte) while all rows are multiplied with them. Sums that are not complete wait in ``partial``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from rerank_core.engines.packed.kernels.activations import gelu
from rerank_core.engines.packed.kernels.sums import BLOCK_BYTES, PAIR_BYTES, ROW_BYTES, TILE_BYTES, Sums, kernel
from rerank_core.engines.packed.kernels.vectors import (
    fma,
    larger,
    largest,
    load,
    load_float,
    load_ints,
    rounded_to_bfloat16,
    smaller,
    smallest,
    splat,
    store,
    store_bfloat16,
    store_bytes,
    store_float,
    total,
)

OUTLIERS = 16
WRITE, ADD, LAY_OUT = 0, 1, 2  # what is done with a product
COLUMNS = 256
DEPTH = 32  # pairs of tiles

# On a core, about; with AMX more.
OPERATIONS_PER_MICROSECOND = 200_000
NUMBERS_PER_MICROSECOND = 2_000  # that are laid out

_LEAST_STEP = np.float32(1.1754944e-38)
_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)


@kernel
def place_of(tiles: Any, row: Any, depth: Any) -> Any:
    """Return the address of a row's first part."""
    return tiles + row // 32 * depth * PAIR_BYTES + row % 32 // 16 * TILE_BYTES + row % 16 * 64


@kernel
def _part(row: Any, first: Any, columns: Any, buffer: Any) -> Any:
    """Load 16 columns of a row, with zeros behind its last."""
    if first + 16 <= columns:
        return load(row + first * 4)
    store(buffer, splat(_ZERO))
    for column in range(first, columns):
        store_float(buffer + (column - first) * 4, load_float(row + column * 4))
    return load(buffer)


@kernel
def lay_out_bfloat16(x: Any, rows: Any, columns: Any, row_bytes: Any, tiles: Any, buffer: Any) -> None:
    """Round float32 rows to bfloat16, and lay them out."""
    depth = (columns + 31) // 32
    for row in range(rows):
        source = x + row * row_bytes
        target = place_of(tiles, row, depth)
        for first in range(0, depth * 32, 32):
            store_bfloat16(target, _part(source, first, columns, buffer))
            store_bfloat16(target + 32, _part(source, first + 16, columns, buffer))
            target += PAIR_BYTES


@kernel
def lay_out_bytes(
    x: Any,
    rows: Any,
    columns: Any,
    row_bytes: Any,
    outliers: Any,
    steps: Any,
    tiles: Any,
    beside: Any,
    scales: Any,
    buffer: Any,
) -> None:
    """Round float32 rows to ``steps`` + 1 levels between each one's smallest and largest value, and lay them out.

    ``outliers``: 16 numbers of columns (int64) that are left out: each, as the sum of two bfloat16, is laid out in
    ``beside``. ``scales`` gets each row's step and smallest value. ``buffer`` holds one row, filled up, and 64 bytes.
    """
    depth = (columns + 63) // 64
    copy = buffer + 64
    whole = columns // 16 * 16
    for row in range(rows):
        source = x + row * row_bytes
        for first in range(0, depth * 64, 16):
            store(copy + first * 4, _part(source, first, columns, buffer))
        for number in range(16):
            column = outliers[number]
            store_float(buffer + number * 4, load_float(source + column * 4))
            store_float(copy + column * 4, _ZERO)
        values = load(buffer)
        upper = rounded_to_bfloat16(values)
        corner = place_of(beside, row, 1)
        store_bfloat16(corner, upper)
        store_bfloat16(corner + 32, values - upper)
        low = high = load(copy)
        odd = low - low  # 0, or NaN where a number is not finite: levels would not show it
        for first in range(16, whole, 16):
            part = load(copy + first * 4)
            low, high, odd = smaller(part, low), larger(part, high), odd + (part - part)
        bottom, top, unknown = smallest(low), largest(high), total(odd)
        for column in range(whole, columns):
            value = load_float(copy + column * 4)
            bottom, top, unknown = min(bottom, value), max(top, value), unknown + (value - value)
        step = max((top - bottom) / steps, _LEAST_STEP) + unknown
        store_float(scales + row * 8, step)
        store_float(scales + row * 8 + 4, bottom)
        minus, factor, half = splat(bottom), splat(_ONE / step), splat(_HALF)
        target = place_of(tiles, row, depth)
        for first in range(0, depth * 64, 64):
            for part in range(0, 64, 16):
                # Never below 0, and the conversion cuts off: so adding a half rounds.
                level = fma(load(copy + (first + part) * 4) - minus, factor, half)
                store_bytes(target + part, level)
            target += PAIR_BYTES


@kernel
def _put(sums: Any, bias: Any, out: Any, row_bytes: Any, rows: Any, columns: Any, add: Any) -> None:
    """Write 32 columns of sums with their bias, or those that there are, or add them to what is there."""
    first, second = load(bias), load(bias + 64)
    for row in range(rows):
        source, target = sums + row * ROW_BYTES, out + row * row_bytes
        left, right = load(source) + first, load(source + 64) + second
        if columns >= 32:
            if add:
                left, right = load(target) + left, load(target + 64) + right
            store(target, left)
            store(target + 64, right)
        else:
            store(source, left)
            store(source + 64, right)
            for column in range(columns):
                before = load_float(target + column * 4) if add else _ZERO
                store_float(target + column * 4, before + load_float(source + column * 4))


@kernel
def _put_activated(sums: Any, bias: Any, tiles: Any, rows: Any) -> None:
    """Lay 32 columns out as a part of the next product's input, after their bias and GELU."""
    first, second = load(bias), load(bias + 64)
    for number in range(rows):
        source, target = sums + number * ROW_BYTES, tiles + number // 16 * TILE_BYTES + number % 16 * 64
        store_bfloat16(target, gelu(load(source) + first))
        store_bfloat16(target + 32, gelu(load(source + 64) + second))


@kernel
def _put_bfloat16(
    sums: Any, row: Any, rows: Any, column: Any, columns: Any, out: Any, out_bytes: Any, then: Any, terms: Any
) -> None:
    """Put what products of bfloat16 sum up to. ``terms``: the address of the bias."""
    bias = terms[0] + column * 4
    if then == LAY_OUT:
        _put_activated(sums, bias, out, rows)
    else:
        _put(sums, bias, out, out_bytes, rows, columns - column, then == ADD)


def _putting_bytes(add_up_bfloat16: Any) -> Any:
    """Make what puts the sums of bytes, with the products of bfloat16 for what was left out."""

    @kernel
    def _put_bytes(
        sums: Any, row: Any, rows: Any, column: Any, columns: Any, out: Any, out_bytes: Any, then: Any, terms: Any
    ) -> None:
        """Put what products of bytes sum up to, scaled, with what was left out. ``terms``: see ``Products``."""
        numbers, beside, weight_beside, scales, extra = terms
        width = (columns + 31) // 32 * ROW_BYTES
        weight_scales = numbers + column * 4
        weight_sums, bias = weight_scales + width, weight_scales + 2 * width
        # The one pair of rows meets the upper and the lower half of the weight.
        inputs, weight = beside + row // 32 * PAIR_BYTES, weight_beside + column // 32 * 2 * PAIR_BYTES
        add_up_bfloat16(inputs, weight, 1, rows, False, extra, ROW_BYTES, 0, 0, 0)
        add_up_bfloat16(inputs, weight + PAIR_BYTES, 1, rows, False, extra + BLOCK_BYTES, ROW_BYTES, 0, 0, 0)
        for line in range(rows):
            scale = splat(load_float(scales + (row + line) * 8))
            bottom = splat(load_float(scales + (row + line) * 8 + 4))
            for half in range(0, ROW_BYTES, 64):
                at = line * ROW_BYTES + half
                value = load(extra + at) + load(extra + BLOCK_BYTES + at)
                value = fma(bottom, load(weight_sums + half), value)
                store(sums + at, fma(load_ints(sums + at) * load(weight_scales + half), scale, value))
        _put(sums, bias, out, out_bytes, rows, columns - column, then == ADD)

    return _put_bytes


def _multiplying(sums_of: Sums, add_up: Any, put: Any) -> Any:
    """Make the product of a type of numbers."""
    begin_sums, end_sums = sums_of.begin, sums_of.end

    @kernel
    def multiply(
        tiles: Any,
        rows: Any,
        weight: Any,
        depth: Any,
        first_column: Any,
        last_column: Any,
        columns: Any,
        out: Any,
        row_bytes: Any,
        then: Any,
        terms: Any,
        sums: Any,
        partial: Any,
    ) -> None:
        """Write some of ``rows`` x ``columns`` of float32, or add to them, or lay them out after GELU.

        ``then`` says what. Of the columns only those from ``first_column``, a multiple of 32, to ``last_column``.
        ``terms``: the addresses of what else ``put`` needs. What has a number for each column is filled up to a
        multiple of 32, as are the columns that are laid out.
        """
        begin_sums()
        step = depth * PAIR_BYTES
        next_step = (columns + 31) // 32 * PAIR_BYTES
        for start in range(first_column, last_column, COLUMNS):
            end = min(start + COLUMNS, last_column)
            for begin in range(0, depth, DEPTH):
                count = min(DEPTH, depth - begin)
                is_last = begin + count == depth
                ahead = step
                place = partial
                for row in range(0, rows, 32):
                    number = min(rows - row, 32)
                    a = tiles + row // 32 * step + begin * PAIR_BYTES
                    for column in range(start, end, 32):
                        b = weight + column // 32 * step + begin * PAIR_BYTES
                        block = sums if is_last and begin == 0 else place
                        place += BLOCK_BYTES
                        if then == LAY_OUT:
                            target, out_bytes = out + row // 32 * next_step + column // 32 * PAIR_BYTES, 64
                        else:
                            target, out_bytes = out + row * row_bytes + column * 4, row_bytes
                        fetched = target if is_last else 0
                        add_up(a, b, count, number, begin > 0, block, ROW_BYTES, ahead, fetched, out_bytes)
                        if is_last:
                            put(block, row, number, column, columns, target, out_bytes, then, terms)
                    ahead = 0  # the cache has the weight's part
        end_sums()

    return multiply


@dataclass(frozen=True, slots=True, eq=False)
class Products:
    """The products that are made of some sums. Their ``terms`` are addresses.

    ``multiply_bfloat16``: that of the bias. ``multiply_bytes``: the weight's scales, the sums of its rows (scaled) and
    the bias, end to end; what ``lay_out_bytes`` laid out beside; the weight's outlier columns, two pairs for 32
    outputs; the rows' scales; two blocks.
    """

    multiply_bfloat16: Callable[..., None]
    multiply_bytes: Callable[..., None]


@cache
def products_of(sums: Sums) -> Products:
    """Return the products that are made of some sums, compiled when they are first called."""
    put_bytes = _putting_bytes(sums.add_up_bfloat16)
    return Products(
        multiply_bfloat16=_multiplying(sums, sums.add_up_bfloat16, _put_bfloat16),
        multiply_bytes=_multiplying(sums, sums.add_up_bytes, put_bytes),
    )
