"""Sums in the tiles of AMX: 32 x 32 of them fill four."""

from __future__ import annotations

from typing import Any

from rerank_core.engines.packed.kernels import tiles
from rerank_core.engines.packed.kernels.sums import PAIR_BYTES, TILE_BYTES, Sums, kernel
from rerank_core.engines.packed.kernels.tiles import (
    CONFIGURATION,
    configure,
    load_0,
    load_1,
    load_2,
    load_3,
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
from rerank_core.engines.packed.kernels.vectors import fetch_to_read, fetch_to_write

_AHEAD = 8192  # bytes of the weight


def _of(add_0: Any, add_1: Any, add_2: Any, add_3: Any) -> Any:
    """Make the function for a type of numbers, out of the instructions that add products of tiles."""

    @kernel
    def add_up(
        a: Any,
        b: Any,
        depth: Any,
        rows: Any,
        goes_on: Any,
        sums: Any,
        sums_bytes: Any,
        ahead: Any,
        out: Any,
        out_bytes: Any,
    ) -> None:
        """Add up, see ``Sums``.

        The lines of ``out`` are fetched between the products, a few at a time: all at once would hold up what the
        products wait for.
        """
        wide = rows > 16
        lower = sums + 16 * sums_bytes
        if goes_on:
            load_0(sums, sums_bytes)
            load_1(sums + 64, sums_bytes)
            if wide:
                load_2(lower, sums_bytes)
                load_3(lower + 64, sums_bytes)
        else:
            zero_0()
            zero_1()
            zero_2()
            zero_3()
        for step in range(depth):
            load_4(a, 64)
            load_6(b, 64)
            add_0()
            load_7(b + TILE_BYTES, 64)
            add_1()
            if out:
                line = out + step % 32 * out_bytes
                fetch_to_write(line)
                fetch_to_write(line + 64)
            if wide:
                load_5(a + TILE_BYTES, 64)
                add_2()
            if ahead:
                for line in range(b + _AHEAD, b + _AHEAD + PAIR_BYTES, 64):
                    fetch_to_read(line)
            if wide:
                add_3()
            a += PAIR_BYTES
            b += PAIR_BYTES
        store_0(sums, sums_bytes)
        store_1(sums + 64, sums_bytes)
        if wide:
            store_2(lower, sums_bytes)
            store_3(lower + 64, sums_bytes)

    return add_up


@kernel
def _begin() -> None:
    configure(CONFIGURATION)


TILES = Sums(
    begin=_begin,
    end=release,
    add_up_bfloat16=_of(tiles.add_bfloat16_0, tiles.add_bfloat16_1, tiles.add_bfloat16_2, tiles.add_bfloat16_3),
    add_up_bytes=_of(tiles.add_bytes_0, tiles.add_bytes_1, tiles.add_bytes_2, tiles.add_bytes_3),
)
