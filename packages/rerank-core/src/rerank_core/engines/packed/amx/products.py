"""Products of matrices on tiles, and how their factors are laid out. Addresses and sizes are in bytes where named so.

An input's rows are laid out in groups of 16: for each group, tile after tile along its columns. A tile of bfloat16
holds 32 columns, one of bytes 64. A weight's outputs are laid out in groups of 16 in the same way, with 2 (bfloat16) or
4 (bytes) consecutive inputs of an output side by side, as the instructions read them. 32 x 32 outputs at a time are
summed along all inputs, in order, whatever the number of rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from rerank_core.engines.packed.amx.tiles import (
    TILE_BYTES,
    add_bfloat16_0,
    add_bfloat16_1,
    add_bfloat16_2,
    add_bfloat16_3,
    add_bytes_0,
    add_bytes_1,
    add_bytes_2,
    add_bytes_3,
    configure,
    load_4,
    load_5,
    load_6,
    load_7,
    release,
    store_0,
    store_1,
    store_2,
    store_3,
    zero_0,
    zero_1,
    zero_2,
    zero_3,
)
from rerank_core.engines.packed.amx.vectors import (
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
)

SUMS_BYTES = 2 * 32 * 32 * 4
OUTLIERS = 16

_kernel = njit(nogil=True, boundscheck=False, error_model="numpy")
_LEAST_STEP = np.float32(1.1754944e-38)


@_kernel
def _part(row: Any, first: Any, columns: Any, buffer: Any) -> Any:
    """Load 16 columns of a row, with zeros behind its last."""
    if first + 16 <= columns:
        return load(row + first * 4)
    store(buffer, splat(np.float32(0)))
    for column in range(first, columns):
        store_float(buffer + (column - first) * 4, load_float(row + column * 4))
    return load(buffer)


@_kernel
def lay_out_bfloat16(x: Any, rows: Any, columns: Any, row_bytes: Any, tiles: Any, buffer: Any) -> None:
    """Round float32 rows to bfloat16, and lay them out."""
    depth = (columns + 31) // 32
    for row in range(rows):
        source = x + row * row_bytes
        target = tiles + (row // 16) * depth * TILE_BYTES + (row % 16) * 64
        for first in range(0, depth * 32, 32):
            store_bfloat16(target, _part(source, first, columns, buffer))
            store_bfloat16(target + 32, _part(source, first + 16, columns, buffer))
            target += TILE_BYTES


@_kernel
def lay_out_bytes(
    x: Any, rows: Any, columns: Any, row_bytes: Any, outliers: Any, steps: Any, tiles: Any, beside: Any, buffer: Any
) -> None:
    """Round float32 rows to ``steps`` + 1 levels between each one's smallest and largest value, and lay them out.

    ``outliers``: the addresses of 16 column numbers (int64) that are left out: each, as the sum of two bfloat16, is
    laid out in ``beside``, one tile for each group of rows. ``tiles`` begins with each row's step and smallest value
    (float32 pairs, filled up to whole tiles), see ``byte_places``. ``buffer``: of one row, and 64 bytes.
    """
    depth = (columns + 63) // 64
    body = tiles + (rows * 8 + TILE_BYTES - 1) // TILE_BYTES * TILE_BYTES
    copy = buffer + 64
    for row in range(rows):
        source = x + row * row_bytes
        for first in range(0, depth * 64, 16):
            store(copy + first * 4, _part(source, first, columns, buffer))
        for number in range(16):
            column = outliers[number]
            store_float(buffer + number * 4, load_float(source + column * 4))
            store_float(copy + column * 4, np.float32(0))
        values = load(buffer)
        upper = rounded_to_bfloat16(values)
        corner = beside + (row // 16) * TILE_BYTES + (row % 16) * 64
        store_bfloat16(corner, upper)
        store_bfloat16(corner + 32, values - upper)
        low, high = load(copy), load(copy)
        for first in range(16, columns // 16 * 16, 16):
            part = load(copy + first * 4)
            low, high = smaller(part, low), larger(part, high)
        bottom, top = smallest(low), largest(high)
        for column in range(columns // 16 * 16, columns):
            value = load_float(copy + column * 4)
            bottom, top = min(bottom, value), max(top, value)
        step = max((top - bottom) / steps, _LEAST_STEP)
        store_float(tiles + row * 8, step)
        store_float(tiles + row * 8 + 4, bottom)
        minus, factor, half = splat(bottom), splat(np.float32(1) / step), splat(np.float32(0.5))
        target = body + (row // 16) * depth * TILE_BYTES + (row % 16) * 64
        for first in range(0, columns, 16):
            # Never below 0, and the conversion cuts off: so adding a half rounds.
            place = target + (first // 64) * TILE_BYTES + first % 64
            store_bytes(place, fma(load(copy + first * 4) - minus, factor, half))


@_kernel
def sum_bfloat16(a: Any, b: Any, depth: Any, wide: Any, sums: Any, row_bytes: Any) -> None:
    """Multiply 32 rows (16: not ``wide``) with 32 outputs; ``row_bytes``: from one row of sums to the next."""
    step = depth * TILE_BYTES
    zero_0()
    zero_1()
    if wide:
        zero_2()
        zero_3()
        for _ in range(depth):
            load_4(a, 64)
            load_6(b, 64)
            add_bfloat16_0()
            load_7(b + step, 64)
            add_bfloat16_1()
            load_5(a + step, 64)
            add_bfloat16_2()
            add_bfloat16_3()
            a += TILE_BYTES
            b += TILE_BYTES
        store_2(sums + 16 * row_bytes, row_bytes)
        store_3(sums + 16 * row_bytes + 64, row_bytes)
    else:
        for _ in range(depth):
            load_4(a, 64)
            load_6(b, 64)
            add_bfloat16_0()
            load_7(b + step, 64)
            add_bfloat16_1()
            a += TILE_BYTES
            b += TILE_BYTES
    store_0(sums, row_bytes)
    store_1(sums + 64, row_bytes)


@_kernel
def _sum_bytes(a: Any, b: Any, depth: Any, wide: Any, sums: Any, row_bytes: Any) -> None:
    """See ``sum_bfloat16``; the sums are int32."""
    step = depth * TILE_BYTES
    zero_0()
    zero_1()
    if wide:
        zero_2()
        zero_3()
        for _ in range(depth):
            load_4(a, 64)
            load_6(b, 64)
            add_bytes_0()
            load_7(b + step, 64)
            add_bytes_1()
            load_5(a + step, 64)
            add_bytes_2()
            add_bytes_3()
            a += TILE_BYTES
            b += TILE_BYTES
        store_2(sums + 16 * row_bytes, row_bytes)
        store_3(sums + 16 * row_bytes + 64, row_bytes)
    else:
        for _ in range(depth):
            load_4(a, 64)
            load_6(b, 64)
            add_bytes_0()
            load_7(b + step, 64)
            add_bytes_1()
            a += TILE_BYTES
            b += TILE_BYTES
    store_0(sums, row_bytes)
    store_1(sums + 64, row_bytes)


@_kernel
def _put(sums: Any, out: Any, row_bytes: Any, rows: Any, columns: Any, add: Any) -> None:
    """Write 32 columns of sums, or add them to what is there."""
    for row in range(rows):
        source, target = sums + row * 128, out + row * row_bytes
        if columns >= 32:
            first, second = load(source), load(source + 64)
            if add:
                first, second = load(target) + first, load(target + 64) + second
            store(target, first)
            store(target + 64, second)
        else:
            for column in range(columns):
                before = load_float(target + column * 4) if add else np.float32(0)
                store_float(target + column * 4, before + load_float(source + column * 4))


@_kernel
def multiply_bfloat16(
    configuration: Any,
    tiles: Any,
    rows: Any,
    weight: Any,
    depth: Any,
    columns: Any,
    bias: Any,
    out: Any,
    row_bytes: Any,
    add: Any,
    block: Any,
    sums: Any,
) -> None:
    """Write, or add to, ``rows`` x ``columns`` of float32; ``bias`` is filled up to a multiple of 32.

    ``block``: how many rows (a multiple of 32) are multiplied with all outputs before the next: these stay in the
    cache.
    """
    configure(configuration)
    step = depth * TILE_BYTES
    for start in range(0, rows, block):
        end = min(start + block, rows)
        for column in range(0, columns, 32):
            first, second = load(bias + column * 4), load(bias + column * 4 + 64)
            for row in range(start, end, 32):
                wide = row + 16 < rows
                sum_bfloat16(tiles + (row // 16) * step, weight + (column // 16) * step, depth, wide, sums, 128)
                count = min(rows - row, 32)
                for place in range(sums, sums + count * 128, 128):
                    store(place, load(place) + first)
                    store(place + 64, load(place + 64) + second)
                _put(sums, out + row * row_bytes + column * 4, row_bytes, count, columns - column, add)
    release()


@_kernel
def multiply_bytes(
    configuration: Any,
    tiles: Any,
    beside: Any,
    rows: Any,
    weight: Any,
    weight_beside: Any,
    depth: Any,
    columns: Any,
    terms: Any,
    out: Any,
    row_bytes: Any,
    add: Any,
    block: Any,
    sums: Any,
) -> None:
    """As ``multiply_bfloat16``, with what ``lay_out_bytes`` gives.

    ``terms``: three rows of float32, each filled up to a multiple of 32 and laid end to end: the weight's scales, the
    sums of its rows (scaled), the bias. ``weight_beside``: of the outlier columns, two tiles for each group of outputs.
    """
    configure(configuration)
    step = depth * TILE_BYTES
    width = (columns + 31) // 32 * 128
    body = tiles + (rows * 8 + TILE_BYTES - 1) // TILE_BYTES * TILE_BYTES
    extra = sums + SUMS_BYTES // 2
    for start in range(0, rows, block):
        end = min(start + block, rows)
        for column in range(0, columns, 32):
            term = terms + column * 4
            for row in range(start, end, 32):
                wide = row + 16 < rows
                _sum_bytes(body + (row // 16) * step, weight + (column // 16) * step, depth, wide, sums, 128)
                aside = weight_beside + column // 16 * 2 * TILE_BYTES
                _sum_beside(beside + (row // 16) * TILE_BYTES, aside, wide, extra)
                count = min(rows - row, 32)
                for number in range(count):
                    scaling = tiles + (row + number) * 8
                    scale, bottom = splat(load_float(scaling)), splat(load_float(scaling + 4))
                    for half in range(0, 128, 64):
                        place = number * 128 + half
                        value = load(extra + place) + load(term + 2 * width + half)
                        value = fma(bottom, load(term + width + half), value)
                        store(sums + place, fma(load_ints(sums + place) * load(term + half), scale, value))
                _put(sums, out + row * row_bytes + column * 4, row_bytes, count, columns - column, add)
    release()


@_kernel
def _sum_beside(a: Any, b: Any, wide: Any, sums: Any) -> None:
    """Multiply the outlier columns of 32 rows with the two bfloat16 whose sum each of their weights is."""
    zero_0()
    zero_1()
    zero_2()
    zero_3()
    load_4(a, 64)
    if wide:
        load_5(a + TILE_BYTES, 64)
    for _ in range(2):
        load_6(b, 64)
        load_7(b + 2 * TILE_BYTES, 64)
        add_bfloat16_0()
        add_bfloat16_1()
        if wide:
            add_bfloat16_2()
            add_bfloat16_3()
        b += TILE_BYTES
    store_0(sums, 128)
    store_1(sums + 64, 128)
    if wide:
        store_2(sums + 2048, 128)
        store_3(sums + 2112, 128)
