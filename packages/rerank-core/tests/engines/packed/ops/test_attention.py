"""Attention over sequences laid end to end, in one call for each sequence. That in one kernel: see test_varlen.py."""

from itertools import pairwise

import pytest
import torch
from rerank_core.engines.packed.encoder import PackedSequences
from rerank_core.engines.packed.last_attention import AbsorbedAttention, AbsorbedValue, WholeAttention
from rerank_core.engines.packed.ops import attention
from rerank_core.engines.packed.ops.attention import Bounds, LocalAttention, per_sequence
from rerank_core.engines.packed.ops.linear import FloatLinear
from torch.nn import functional

LENGTHS = [3, 1, 40, 17]
HEADS, WIDTH = 4, 8


def each_alone(query, key, value, bounds):
    out = torch.empty_like(query)
    for start, end in pairwise(bounds.places):
        weights = torch.einsum("qhw,khw->hqk", query[start:end], key[start:end]) / query.shape[-1] ** 0.5
        out[start:end] = torch.einsum("hqk,khw->qhw", weights.softmax(-1), value[start:end])
    return out


def bounds_of(lengths: list[int]) -> Bounds:
    places = [0, *torch.tensor(lengths).cumsum(0).tolist()]
    return Bounds(places, torch.tensor(places, dtype=torch.int32))


@pytest.fixture
def bounds() -> Bounds:
    return bounds_of(LENGTHS)


def some(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape) + shape[0]))


def test_each_token_attends_to_its_own_sequence_only(bounds):
    query, key, value = some(70, 3, HEADS, WIDTH).unbind(1)
    out = torch.full((70, HEADS, WIDTH), 7.0)

    per_sequence(query, key, value, bounds, out)

    assert torch.allclose(out[:61], each_alone(query, key, value, bounds)[:61], atol=1e-6)
    assert (out[61:] == 7.0).all()


@pytest.mark.parametrize("reach", [0, 1, 7, 63, 64, 65, 500])
def test_a_local_token_sees_those_within_its_reach_and_no_other(reach):
    """Sequences around the edges of the window, and of the blocks that it is computed in."""
    lengths = [1, 2, 8, 63, 64, 65, 128, 129, 200]
    bounds, tokens = bounds_of(lengths), sum(lengths)
    query, key, value = some(tokens, 3, HEADS, WIDTH).unbind(1)
    out = torch.empty(tokens, HEADS, WIDTH)

    LocalAttention(reach, device="cpu", dtype=torch.float32)(query, key, value, bounds, out)

    sequence = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    place = torch.arange(tokens)
    is_seen = (sequence[:, None] == sequence) & ((place[:, None] - place).abs() <= reach)
    scores = torch.einsum("qhw,khw->hqk", query, key) / WIDTH**0.5
    golden = torch.einsum("hqk,khw->qhw", scores.masked_fill(~is_seen, -torch.inf).softmax(-1), value)
    assert torch.allclose(out, golden, atol=1e-5)


def test_the_work_of_local_attention_grows_linearly_with_the_length(monkeypatch):
    """Counted as products of a query and a key."""
    work = []

    def count(query, key, value, mask):
        work[-1] += query.shape[-2] * key.shape[-2]
        return torch.zeros_like(query)

    monkeypatch.setattr(attention.functional, "scaled_dot_product_attention", count)
    local = LocalAttention(64, device="cpu", dtype=torch.float32)
    for length in (1024, 2048, 4096, 8192):
        work.append(0)
        parts = torch.zeros(length, 3, 1, 2).unbind(1)
        local(*parts, bounds_of([length]), torch.zeros(length, 1, 2))

    assert [round(more / less, 1) for less, more in pairwise(work)] == [2.0, 2.0, 2.0]
    assert work[-1] < 8192 * 200


def test_absorbed_keys_and_values_give_the_context_of_first_tokens(bounds):
    """Two ways to the same: see the algebra at ``AbsorbedAttention``."""
    hidden = HEADS * WIDTH
    weight, bias = some(3 * hidden, hidden), some(3 * hidden)
    x = some(61, hidden)
    packed = PackedSequences(torch.zeros(61), torch.zeros(61), None, bounds)
    query, key, value = weight.split(hidden)
    absorbed = AbsorbedAttention(
        query=FloatLinear(query, bias[:hidden]),
        key=key.view(HEADS, WIDTH, hidden),
        value=AbsorbedValue(value.view(HEADS, WIDTH, hidden).transpose(1, 2), bias[2 * hidden :]),
    )
    whole = WholeAttention(FloatLinear(weight, bias), per_sequence)

    ours, golden = (kind(x, HEADS, packed)[: len(LENGTHS)] for kind in (absorbed, whole))

    assert torch.allclose(ours, golden, atol=1e-4)
    assert functional.cosine_similarity(ours, golden).min() > 0.99999
