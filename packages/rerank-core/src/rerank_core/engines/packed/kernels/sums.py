"""The sums of 32 x 32 outputs: what products and attention are made of.

Both factors lie in pairs of tiles, one for 16 rows (or outputs) and one for the next 16, pair after pair along the
inputs. A tile has 16 lines of 64 bytes. Which instructions add their products up depends on the processor: ``Sums``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numba import njit

kernel = njit(nogil=True, boundscheck=False, error_model="numpy")

LINE_BYTES = 64
TILE_LINES = 16
TILE_BYTES = TILE_LINES * LINE_BYTES
PAIR_BYTES = 2 * TILE_BYTES  # of the tiles that are multiplied together: 32 rows, or 32 outputs

ROW_BYTES = 32 * 4
BLOCK_BYTES = 32 * ROW_BYTES  # of sums


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """What a processor adds products up with. Each is a function for kernels.

    ``begin`` and ``end`` stand around whatever uses the two others, which take the same arguments::

        add_up(a, b, depth, rows, goes_on, sums, sums_bytes, ahead, out, out_bytes)

    They add ``depth`` pairs of tiles up, for the first ``rows`` rows of ``a`` and 32 outputs; ``sums`` has 32 rows of
    32 numbers, ``sums_bytes`` from one to the next, of which those behind ``rows`` may be written. ``goes_on``: from
    what ``sums`` has. ``ahead``: so many bytes behind ``b`` lies what is read next, to be fetched (0: a cache has it).
    ``out``: where the sums will be written, ``out_bytes`` from row to row, to be fetched as well (0: nowhere).
    """

    begin: Callable[..., Any]
    end: Callable[..., Any]
    add_up_bfloat16: Callable[..., Any]
    add_up_bytes: Callable[..., Any]
