"""Attention of sequences that may begin with a prefix, against a mask over everything in double precision."""

from collections import Counter
from itertools import accumulate, pairwise

import pytest
import torch
from rerank_core.engines.packed.ops.attention import Bounds
from rerank_core.engines.packed.ops.continued import AttentionInBlocks, LayerKeys, Places, decoder_attention
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

HEADS, KEY_HEADS, WIDTH = 6, 2, 16
# Tokens of each prefix, and behind it; and how many of the last ones are asked about.
LENGTHS = [(0, 1), (0, 64), (0, 65), (1, 1), (12, 63), (40, 130), (40, 3), (64, 64), (200, 1)]


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def bounds(lengths: list[int]) -> Bounds:
    places = [0, *accumulate(lengths)]
    return Bounds(places, torch.tensor(places, dtype=torch.int32))


def golden(query: Tensor, key: Tensor, value: Tensor, reach: int | None, is_causal: bool) -> Tensor:
    """The context of a sequence's last tokens, head by head: the query's heads share the key's in their order."""
    tokens = len(key)
    place, other = torch.arange(tokens - len(query), tokens)[:, None], torch.arange(tokens)
    seen = other <= place if is_causal else torch.ones(len(query), tokens, dtype=torch.bool)
    if reach is not None:
        seen &= place - other <= reach
    heads = []
    for head in range(HEADS):
        of_key = head * KEY_HEADS // HEADS
        scores = query[:, head].double() @ key[:, of_key].double().t() / WIDTH**0.5
        heads.append(scores.masked_fill(~seen, -torch.inf).softmax(-1) @ value[:, of_key].double())
    return torch.stack(heads, 1).float()


@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("reach", [None, 0, 1, 3, 63, 64, 65, 100])
def test_each_token_sees_those_before_it_in_the_prefix_too(reach, last_only):
    attend = decoder_attention(
        is_causal=True, reach=reach, positions=300, device="cpu", dtype=torch.float32, kernel=None
    )
    counts = [1 if last_only else behind for _, behind in LENGTHS]
    queries, keys = bounds(counts), bounds([behind for _, behind in LENGTHS])
    query = random(queries.places[-1] + 5, HEADS, WIDTH)
    key, value = (random(keys.places[-1] + extra, KEY_HEADS, WIDTH)[: keys.places[-1]] for extra in (7, 8))
    # One object for all sequences of a prefix, as a network has it.
    known = {length: (random(length, KEY_HEADS, WIDTH), random(KEY_HEADS, length, WIDTH).transpose(0, 1).contiguous())
             for length, _ in LENGTHS if length}  # fmt: skip
    prefixes = [known.get(length) for length, _ in LENGTHS]
    out = torch.zeros_like(query)

    attend(query, LayerKeys((key, value), prefixes, Places(queries, keys, [length for length, _ in LENGTHS])), out)

    assert not out[queries.places[-1] :].any(), "rows behind the last bound are left"
    for number, ((first, end), (start, stop)) in enumerate(
        zip(pairwise(queries.places), pairwise(keys.places), strict=True)
    ):
        prefix = prefixes[number] or (key[:0], value[:0])
        whole = [torch.cat([before, own[start:stop]]) for before, own in zip(prefix, (key, value), strict=True)]
        wanted = golden(query[first:end], *whole, reach, True)
        torch.testing.assert_close(out[first:end], wanted, rtol=1e-5, atol=1e-5)


class Copies(TorchDispatchMode):
    """Counts how often each tensor is copied into another, by where it lies."""

    def __init__(self) -> None:
        super().__init__()
        self.of: Counter[int] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.copy_.default:
            self.of[args[1].data_ptr()] += 1
        return func(*args, **(kwargs or {}))


def test_a_prefix_is_laid_once_before_the_sequences_that_share_it_side_by_side():
    attend = AttentionInBlocks(reach=None, positions=300, device="cpu", dtype=torch.float32)
    behind = bounds([3, 5, 4, 2])
    query, key, value = (random(14 + extra, KEY_HEADS, WIDTH)[:14] for extra in (0, 1, 2))
    first, second = (
        (random(length, KEY_HEADS, WIDTH), random(length + 1, KEY_HEADS, WIDTH)[1:]) for length in (40, 60)
    )

    with Copies() as copies:
        keys = LayerKeys((key, value), [first, first, second, second], Places(behind, behind, [40, 40, 60, 60]))
        attend(query, keys, torch.zeros_like(query))

    assert [copies.of[part.data_ptr()] for part in (*first, *second)] == [1, 1, 1, 1]


def test_without_causality_each_token_sees_all():
    attend = decoder_attention(
        is_causal=False, reach=None, positions=300, device="cpu", dtype=torch.float32, kernel=None
    )
    lengths = bounds([1, 70, 5])
    query, key, value = random(76, HEADS, WIDTH), random(76, KEY_HEADS, WIDTH), random(77, KEY_HEADS, WIDTH)[:76]
    out = torch.zeros_like(query)

    attend(query, LayerKeys((key, value), [None] * 3, Places(lengths, lengths, [0, 0, 0])), out)

    for start, end in pairwise(lengths.places):
        wanted = golden(query[start:end], key[start:end], value[start:end], None, False)
        torch.testing.assert_close(out[start:end], wanted, rtol=1e-5, atol=1e-5)
