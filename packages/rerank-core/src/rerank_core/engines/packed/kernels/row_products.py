"""Products of float32 rows with a weight that is read as it lies. Addresses and sizes are in bytes where named so.

A product takes so many outputs (``COLUMNS``) and inputs (``DEPTH``) of the weight at a time as stay in a core's own
cache, a quarter of a megabyte of float32, while many rows are multiplied with them. A row has the same bits among any.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from rerank_core.engines.packed.kernels.row_sums import ADD_UP, INPUTS, OUTPUTS, ROWS
from rerank_core.engines.packed.kernels.sums import kernel
from rerank_core.engines.packed.kernels.vectors import load, store

COLUMNS = 64
DEPTH = 1024
SPARE_BYTES = COLUMNS * DEPTH * 4

OPERATIONS_PER_MICROSECOND = 50_000  # of float32 on a core, about

_SIZES = {"float32": 4, "bfloat16": 2, "float16": 2}


@kernel
def copy_rows(x: Any, rows: Any, row_bytes: Any, out: Any, out_bytes: Any) -> None:
    """Copy rows, of which each has a multiple of 64 bytes, end to end."""
    for row in range(rows):
        source, target = x + row * row_bytes, out + row * out_bytes
        for place in range(0, out_bytes, 64):
            store(target + place, load(source + place))


@cache
def product_of(numbers: str) -> Callable[..., None]:
    """Return the product with a weight of such numbers, compiled when it is first called."""
    add_up, add_up_and_fetch = ADD_UP[numbers]
    size = _SIZES[numbers]

    @kernel
    def multiply(
        x: Any,
        rows: Any,
        x_bytes: Any,
        weight: Any,
        inputs: Any,
        outputs: Any,
        weight_bytes: Any,
        bias: Any,
        out: Any,
        out_bytes: Any,
        add: Any,
        nothing: Any,
        spare: Any,
    ) -> None:
        """Write ``rows`` x ``outputs`` of float32, or ``add`` to them.

        ``bias`` has a number for each output. ``nothing``: sixteen zeros. ``inputs`` are a multiple of ``INPUTS``,
        ``outputs`` one of ``OUTPUTS``. ``spare``: memory for ``SPARE_BYTES``, on a cache line, into which the part of
        the weight is copied that is multiplied next (0: it is read where it lies).
        """
        for begin in range(0, inputs, DEPTH):
            depth = min(DEPTH, inputs - begin)
            steps = depth // INPUTS
            for start in range(0, outputs, COLUMNS):
                end = min(start + COLUMNS, outputs)
                part, part_bytes = weight + start * weight_bytes + begin * size, weight_bytes
                if spare:
                    copy_rows(part, end - start, weight_bytes, spare, depth * size)
                    part, part_bytes = spare, depth * size
                for row in range(0, rows, ROWS):
                    left = (rows - row + ROWS - 1) // ROWS
                    source = x + row * x_bytes + begin * 4
                    last = rows - 1 - row
                    for output in range(start, end, OUTPUTS):
                        factors = part + (output - start) * part_bytes
                        target = out + row * out_bytes + output * 4
                        before, before_bytes = target, out_bytes
                        shift = bias + output * 4
                        if begin > 0:
                            shift = nothing
                        elif not add:
                            before, before_bytes = nothing, 0
                        if row == 0 or left <= OUTPUTS:
                            # What comes next: at first these outputs' neighbours, in the end the next columns.
                            ahead = COLUMNS + left - 1 if left <= OUTPUTS else OUTPUTS
                            add_up_and_fetch(
                                source,
                                x_bytes,
                                last,
                                factors,
                                part_bytes,
                                steps,
                                before,
                                before_bytes,
                                shift,
                                target,
                                out_bytes,
                                weight + (output + ahead) * weight_bytes + begin * size,
                            )
                        else:
                            add_up(
                                source,
                                x_bytes,
                                last,
                                factors,
                                part_bytes,
                                steps,
                                before,
                                before_bytes,
                                shift,
                                target,
                                out_bytes,
                                0,
                            )

    return multiply
