"""Attention behind a prefix, by kernels: near torch's, and the same to the bit in any company."""

import itertools
from collections.abc import Sequence

import pytest
import torch
from rerank_core.engines.packed.kernels import instructions
from rerank_core.engines.packed.ops.attention import Bounds
from rerank_core.engines.packed.ops.continued import LayerKeys, Places, decoder_attention

# A prefix's tokens, a sequence's own, and its queries: those of all its own tokens, or of the last one.
LENGTHS = [(0, 40, 40), (100, 1, 1), (64, 70, 70), (3, 200, 1), (0, 7, 7), (130, 65, 65)]
HEADS = pytest.mark.parametrize(("heads", "key_heads", "width"), [(4, 2, 64), (2, 2, 32), (8, 1, 128)])
SEES = pytest.mark.parametrize(
    ("is_causal", "reach"), [(True, None), (False, None), (True, 0), (True, 5), (True, 31), (True, 64), (True, 150)]
)


def some_numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def bounds_of(lengths: list[int]) -> Bounds:
    places = [0, *itertools.accumulate(lengths)]
    return Bounds(places, torch.tensor(places, dtype=torch.int32))


def rows_of(bounds: Bounds, numbers: Sequence[int]) -> torch.Tensor:
    places = list(itertools.pairwise(bounds.places))
    return torch.cat([torch.arange(*places[number]) for number in numbers])


def check(kernel, heads: int, key_heads: int, width: int, is_causal: bool, reach: int | None, near: float) -> None:
    from rerank_core.engines.packed.kernels.attention import ContinuedKernelAttention

    wanted = [one for one in LENGTHS if is_causal or (one[0] == 0 and one[1] == one[2])]
    prefixes = [tuple(some_numbers(before, key_heads, width, seed=place + kind) for kind in (50, 60))
                if before else None for place, (before, _, _) in enumerate(wanted)]  # fmt: skip
    own = tuple(some_numbers(sum(one[1] for one in wanted), key_heads, width, seed=seed) for seed in (1, 2))
    query = some_numbers(sum(one[2] for one in wanted), heads, width, seed=3)
    queries, tokens = (bounds_of([one[place] for one in wanted]) for place in (2, 1))

    def attended(attention, numbers: Sequence[int]) -> torch.Tensor:
        rows, parts = rows_of(queries, numbers), rows_of(tokens, numbers)
        places = Places(*(bounds_of([wanted[number][place] for number in numbers]) for place in (2, 1)),
                        [wanted[number][0] for number in numbers])  # fmt: skip
        keys = LayerKeys((own[0][parts], own[1][parts]), [prefixes[number] for number in numbers], places)
        out = torch.zeros(len(rows), heads, width)
        attention(query[rows], keys, out)
        return out

    golden = decoder_attention(
        is_causal=is_causal, reach=reach, positions=400, device="cpu", dtype=torch.float32, kernel=None
    )
    ours, every = ContinuedKernelAttention(kernel, is_causal, reach), range(len(wanted))

    found = attended(ours, every)

    assert float((found - attended(golden, every)).abs().max()) < near
    for number, (start, end) in enumerate(itertools.pairwise(queries.places)):
        assert torch.equal(attended(ours, [number]), found[start:end])


@SEES
@HEADS
@pytest.mark.skipif(
    not instructions.reads_rows(), reason="SKIPPED LOUDLY: float32 is not best computed by kernels here, or no numba"
)
def test_in_float32(heads, key_heads, width, is_causal, reach):
    from rerank_core.engines.packed.kernels.float_attention import FLOAT32

    check(FLOAT32, heads, key_heads, width, is_causal, reach, near=3e-5)


@SEES
@HEADS
def test_in_bfloat16(heads, key_heads, width, is_causal, reach, sums):
    from rerank_core.engines.packed.kernels.bfloat16_attention import attention_kernel

    check(attention_kernel(sums), heads, key_heads, width, is_causal, reach, near=0.05)
