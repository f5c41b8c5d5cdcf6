"""torch's attention kernel for all sequences at once, on doubles with the arguments of several versions of torch."""

import logging
from inspect import signature
from itertools import pairwise

import pytest
import torch
from rerank_core.engines.packed.ops import varlen
from rerank_core.engines.packed.ops.attention import Bounds, per_sequence
from rerank_core.engines.packed.ops.varlen import EVERYWHERE, VarlenAttention, find_kernel

HEADS, WIDTH = 4, 8
CAUSAL = (-1, 0)


def attend(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, window_size=EVERYWHERE):
    """Compute what ``varlen_attn`` promises; on a CPU it has no kernel of its own."""
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert query.stride(-1) == 1
    assert query.shape[1] % key.shape[1] == 0
    assert max_q == int(cu_seq_q.diff().max())
    assert max_k == int(cu_seq_k.diff().max())
    out = torch.empty_like(query)
    bounds = zip(pairwise(cu_seq_q.tolist()), pairwise(cu_seq_k.tolist()), strict=True)
    for (first, end), (start, stop) in bounds:
        place = torch.arange(stop - start - (end - first), stop - start)[:, None]
        ahead = torch.arange(stop - start) - place
        left, right = (stop if reach < 0 else reach for reach in window_size)
        parts = (part.transpose(0, 1)[None] for part in (query[first:end], key[start:stop], value[start:stop]))
        attended = torch.nn.functional.scaled_dot_product_attention(
            *parts, (ahead >= -left) & (ahead <= right), enable_gqa=True
        )
        out[first:end] = attended[0].transpose(0, 1)
    return out


def without_windows(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False, return_aux=None):
    return attend(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k)


def torch_2_11(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, return_aux=None, scale=None, window_size=EVERYWHERE
):
    assert query.shape[1] == key.shape[1]
    return attend(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, window_size)


def torch_2_13(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, window_size=EVERYWHERE, enable_gqa=False, num_splits=None
):
    assert enable_gqa or query.shape[1] == key.shape[1]
    return attend(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, window_size)


def refusing_splits(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, num_splits=None, **options):
    if num_splits is not None:
        raise RuntimeError("num_splits requires FA3")
    return torch_2_13(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, **options)


refusing_splits.__signature__ = signature(torch_2_13)


def turing(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, window_size=EVERYWHERE):
    raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.\nException raised from ...")


@pytest.fixture
def use(monkeypatch):
    return lambda kernel: monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)


def find(window=EVERYWHERE, *, key_heads=HEADS, head_width=WIDTH):
    return find_kernel("cpu", torch.float32, heads=HEADS, key_heads=key_heads, head_width=head_width, window=window)


def some(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape) + shape[0]))


def bounds_of(lengths: list[int]) -> Bounds:
    places = [0, *torch.tensor(lengths).cumsum(0).tolist()]
    return Bounds(places, torch.tensor(places, dtype=torch.int32))


@pytest.mark.parametrize("kernel", [without_windows, torch_2_11, refusing_splits, torch_2_13])
def test_the_kernel_is_asked_for_the_same_as_the_loop(use, kernel):
    use(kernel)
    bounds = bounds_of([3, 1, 40, 17])
    query, key, value = some(70, 3, HEADS, WIDTH).unbind(1)
    loop, ours = torch.zeros(2, 70, HEADS, WIDTH)

    per_sequence(query, key, value, bounds, loop)
    VarlenAttention(find())(query, key, value, bounds, ours)

    assert torch.allclose(loop[:61], ours[:61], atol=1e-6)


@pytest.mark.parametrize("window", [CAUSAL, (5, 0), (7, 7)])
@pytest.mark.parametrize("key_heads", [1, 2, HEADS])
@pytest.mark.parametrize("kernel", [torch_2_11, refusing_splits, torch_2_13])
def test_fewer_key_heads_and_windows_give_the_same_with_every_version(use, kernel, key_heads, window):
    """An older torch shares no key heads: they are repeated for it."""
    use(kernel)
    queries, keys = bounds_of([2, 9]), bounds_of([4, 9])
    query, key, value = some(11, HEADS, WIDTH), some(13, key_heads, WIDTH), some(13, key_heads, WIDTH)

    ours = find(window, key_heads=key_heads)(query, key, value, queries, keys)

    golden = attend(query, key, value, queries.offsets, keys.offsets, 9, 9, window)
    assert torch.allclose(ours, golden, atol=1e-6)


def test_a_torch_without_windows_has_no_kernel_for_them(use):
    use(without_windows)

    assert find(EVERYWHERE) is not None
    assert find(CAUSAL) is None


@pytest.mark.parametrize("head_width", [12, 26, 264])
def test_heads_of_other_widths_have_no_kernel(use, head_width):
    """It reads 16 bytes at a time, and at most 256 numbers."""
    use(torch_2_13)

    assert find(head_width=head_width) is None


@pytest.mark.parametrize(
    ("kernel", "splits"),
    [(torch_2_13, {"num_splits": 1}), (refusing_splits, {}), (torch_2_11, {}), (without_windows, {})],
)
def test_keys_are_not_split_where_that_can_be_asked_for(use, kernel, splits):
    """Or a score's last bits would depend on the longest sequence of its batch."""
    use(kernel)

    options = find().attend.keywords

    assert {name: options[name] for name in options if name == "num_splits"} == splits


def test_a_device_without_the_kernel_computes_a_sequence_at_a_time_and_the_log_says_why(use, caplog):
    use(turing)

    assert find() is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "a sequence at a time, which is slower: FlashAttention only supports Ampere GPUs or newer." in caplog.text
    assert "Exception raised" not in caplog.text


@pytest.mark.parametrize("failure", [torch.OutOfMemoryError("out of memory"), RuntimeError("CUDA error: unknown")])
def test_a_failure_of_the_device_is_raised_and_not_taken_for_a_missing_kernel(use, failure):
    def failing(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k):
        raise failure

    use(failing)

    with pytest.raises(RuntimeError, match=str(failure)):
        find()


@pytest.mark.parametrize(
    ("window", "wanted"),
    [
        (EVERYWHERE, {"custom_mask_type": 0}),
        (CAUSAL, {"custom_mask_type": 2}),
        ((5, 0), {"custom_mask_type": 2, "window_size": 6}),
    ],
)
def test_where_it_refuses_the_memory_efficient_kernel_is_asked_for_the_same(use, monkeypatch, window, wanted):
    """As in float32, or on a GPU before Ampere; key heads are repeated for it."""
    use(turing)

    def efficient(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, custom_mask_type, window_size=None):
        assert query.shape[1] == key.shape[1]
        options = {"custom_mask_type": custom_mask_type, "window_size": window_size}
        assert {name: option for name, option in options.items() if option is not None} == wanted
        return attend(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, window)

    monkeypatch.setattr(varlen, "memory_efficient", efficient)
    bounds = bounds_of([3, 9])
    query, key, value = some(12, HEADS, WIDTH), some(12, 2, WIDTH), some(12, 2, WIDTH)

    ours = find(window, key_heads=2)(query, key, value, bounds, bounds)

    assert torch.equal(ours, attend(query, key, value, bounds.offsets, bounds.offsets, 9, 9, window))


def test_the_memory_efficient_kernel_is_not_asked_for_a_window_that_ends_ahead(use, monkeypatch, caplog):
    use(turing)
    monkeypatch.setattr(varlen, "memory_efficient", lambda *_, **__: pytest.fail("it has no such window"))

    assert find((7, 7)) is None
    assert "only supports Ampere GPUs or newer" in caplog.text
