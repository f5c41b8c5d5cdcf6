"""What sequences of a batch share is computed once, and nothing is computed that nobody reads."""

import json
from collections import Counter
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from rerank_core.checkpoints.checkpoint import Checkpoint, is_bidirectional
from rerank_core.checkpoints.heads import TokenLogits
from rerank_core.engines.base import Batch
from rerank_core.engines.packed import dtypes
from rerank_core.engines.packed import engine as packed
from rerank_core.engines.packed.engine import PackedEngine
from rerank_core.engines.packed.network import LEAST_PREFIX, DecoderNetwork
from rerank_core.engines.packed.ops.linear import FloatLinear
from rerank_core.engines.target import Target
from rerank_core.testing.language_models import write_tiny_language_model
from rerank_core.types import TokenSequence

LAYERS = 3


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    return write_tiny_language_model(tmp_path_factory.mktemp("qwen3"), config={"num_hidden_layers": LAYERS})


def load(directory: Path, threads: int = 1) -> PackedEngine:
    config: dict[str, Any] = json.loads((directory / "config.json").read_text())
    head: Any = TokenLogits(true_id=5, false_id=9)
    is_causal = not is_bidirectional(config, config["architectures"])
    checkpoint = Checkpoint(
        name="x", revision=None, root=directory, directory=directory, config=config, head=head, is_causal=is_causal
    )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return PackedEngine.plan(checkpoint, Target("cpu", "float32")).load(
            Batch.of([TokenSequence.of(range(50))]), trust_remote_code=False
        )
    finally:
        torch.set_num_threads(before)


def documents(count: int, *, prefix: int, rest: int, query: int = 0) -> list[TokenSequence]:
    """Sequences of one query: they begin with the same tokens, and no two are equal."""
    shared = [(query + place) % 300 for place in range(prefix)]
    return [
        TokenSequence.of(shared + [(3 * number + place) % 300 for place in range(rest)], prefix=prefix)
        for number in range(count)
    ]


class Counting(FloatLinear):
    """Counts the rows of all products, by the number of their outputs."""

    rows: ClassVar[Counter[int]]

    def __call__(self, x, out=None):
        self.rows[len(self.weight)] += len(x)
        return super().__call__(x, out)


@pytest.fixture
def counted(directory, monkeypatch) -> Counter[int]:
    Counting.rows = Counter()
    monkeypatch.setattr(dtypes, "numbers", lambda device, dtype: (torch.float32, Counting))
    return Counting.rows


KEYS, QUERIES, INTERMEDIATE = 32, 64, 128  # outputs: keys and values have as many, and so have gate and up


@pytest.mark.parametrize("threads", [1, 2])
def test_a_prefix_is_computed_once_and_of_a_last_layer_what_is_read(directory, counted, threads):
    engine = load(directory, threads)
    batch = Batch.of([*documents(10, prefix=64, rest=32), *documents(10, prefix=128, rest=32, query=1)])
    Counting.rows.clear()

    engine.forward(batch)

    behind, prefixes, read = 20 * 32, 64 + 128, 32 * threads  # no product has fewer than 32 rows
    assert Counting.rows[KEYS] == 2 * LAYERS * (behind + prefixes)
    assert Counting.rows[INTERMEDIATE] == 2 * ((LAYERS - 1) * (behind + prefixes) + read)
    assert Counting.rows[QUERIES] == (LAYERS - 1) * (behind + prefixes) + read


def test_the_cost_counts_a_shared_prefix_once(directory):
    engine = load(directory)
    ones, others = documents(3, prefix=40, rest=9), documents(2, prefix=30, rest=7, query=5)

    assert engine.cost([*ones, *others]) == 40 + 3 * 9 + 30 + 2 * 7
    assert engine.cost([ones[0], ones[0]]) - engine.cost([ones[0]]) == 9


@pytest.mark.parametrize("prefix", [1, LEAST_PREFIX - 1])
def test_a_prefix_of_few_tokens_is_not_worth_a_pass(directory, counted, prefix):
    engine, sequences = load(directory), documents(4, prefix=prefix, rest=32 - prefix)
    Counting.rows.clear()

    engine.forward(Batch.of(sequences))

    assert Counting.rows[KEYS] == 2 * LAYERS * 4 * 32
    assert engine.cost(sequences) == 4 * 32


def test_sequences_share_a_prefix_of_equal_tokens_only(directory):
    """Some that claim a prefix of the same length, whose last token differs."""
    engine = load(directory)
    same = documents(2, prefix=40, rest=9)
    ids = torch.frombuffer(bytearray(same[1].token_ids), dtype=torch.int32).tolist()
    other = TokenSequence.of([*ids[:39], 299, *ids[40:]], prefix=40)
    alone = [engine.forward(Batch.of([each])).tolist()[0] for each in (*same, other)]

    assert engine.forward(Batch.of([*same, other])).tolist() == alone
    assert alone[1] != alone[2]


def test_a_sequence_that_is_all_prefix_is_computed_as_a_whole(directory):
    engine = load(directory)
    (whole,) = documents(1, prefix=20, rest=20)
    all_prefix = TokenSequence(whole.token_ids, prefix=40)

    golden = engine.forward(Batch.of([TokenSequence(whole.token_ids)])).tolist()
    assert engine.forward(Batch.of([all_prefix])).tolist() == golden
    assert engine.forward(Batch.of([all_prefix, whole])).tolist()[1] == pytest.approx(golden[0], rel=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_each_worker_has_the_sequences_of_a_prefix_side_by_side(directory, monkeypatch, threads):
    """However they stand in the batch, and of whatever lengths they are: so a prefix is laid before them once."""
    engine = load(directory, threads)
    queries = [
        [
            document
            for rest in (9, 30, 4, 17, 12)
            for document in documents(1, prefix=40 + query, rest=rest, query=query)
        ]
        for query in range(4)
    ]
    order, rows = [], DecoderNetwork.rows

    def noted(network, batch, sequences, prefixes):
        order.append([len(prefix) for prefix in prefixes])
        return rows(network, batch, sequences, prefixes)

    monkeypatch.setattr(DecoderNetwork, "rows", noted)
    engine.forward(Batch.of([document for together in zip(*queries, strict=True) for document in together]))

    assert sorted(length for part in order for length in part) == [40] * 5 + [41] * 5 + [42] * 5 + [43] * 5
    assert len(order) == threads
    for part in order:
        assert len(list(groupby(part))) == len(set(part))


def test_keys_and_values_of_a_prefix_hold_their_own_memory_only(directory):
    engine = load(directory)
    network, batch = engine._network, Batch.of(documents(2, prefix=40, rest=9))

    found, _ = network.keys_values([*set(network.prefixes(batch)), b"\1\0\0\0" * 90])

    parts = [part for layer in found.layers for part in layer]
    assert len(found) == 40
    assert found.nbytes == LAYERS * 2 * 40 * KEYS * 4
    assert found.nbytes == sum(part.untyped_storage().nbytes() for part in parts)


# ---------------------------------------------------------------------------- what a GPU runs, on a CPU


def one_kernel(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, window_size, enable_gqa):
    """In place of torch's ``varlen_attn``, which has no kernel for a CPU: places count from the ends of both."""
    out = torch.empty_like(query)
    assert enable_gqa == (query.shape[1] != key.shape[1])
    bounds = zip(pairwise(cu_seq_q.tolist()), pairwise(cu_seq_k.tolist()), strict=True)
    for (first, end), (start, stop) in bounds:
        assert end - first <= max_q
        assert stop - start <= max_k
        parts = (query[first:end], key[start:stop], value[start:stop])
        place = torch.arange(stop - start - (end - first), stop - start)[:, None]
        ahead = torch.arange(stop - start) - place
        left, right = (stop if reach < 0 else reach for reach in window_size)
        attended = torch.nn.functional.scaled_dot_product_attention(
            *(part.transpose(0, 1)[None] for part in parts), (ahead >= -left) & (ahead <= right), enable_gqa=True
        )
        out[first:end] = attended[0].transpose(0, 1)
    return out


def one_kernel_of_torch_2_11(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, window_size):
    """It shares no key heads."""
    return one_kernel(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, window_size=window_size, enable_gqa=False)


@pytest.mark.parametrize(("numbers", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.3)])
@pytest.mark.parametrize("kernel", [one_kernel, one_kernel_of_torch_2_11])
@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("qwen3", {}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}),
        ("gemma", {}),
        ("llama", {"num_key_value_heads": 4, "is_causal": False}),
    ],
)
def test_the_road_of_cuda_computes_the_same(family, fields, kernel, numbers, tolerance, tmp_path, monkeypatch):
    """All that is different there, but for the device: one kernel for all sequences, and every part in 16 bits."""
    write_tiny_language_model(tmp_path, family, config=fields)
    sequences = [
        *documents(3, prefix=40, rest=30),
        *documents(2, prefix=0, rest=70, query=1),
        *documents(2, prefix=20, rest=1, query=2),
    ]
    golden = load(tmp_path).forward(Batch.of(sequences))
    monkeypatch.setattr(dtypes, "numbers", lambda device, dtype: (numbers, FloatLinear))
    monkeypatch.setattr(dtypes, "has_one_kernel", lambda device, dtype: True)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)

    ours = load(tmp_path).forward(Batch.of(sequences))

    assert ours == pytest.approx(golden, abs=tolerance, rel=tolerance)
    assert (numbers == torch.float32) or (ours != golden).all()


def test_keys_and_values_laid_end_to_end_on_a_device_have_a_bound(directory, monkeypatch):
    """They have a long prefix again before each of many short documents, which the cost of the batch counts once."""
    joined = []

    def noted(query, key, *others, window_size, enable_gqa):
        joined.append(len(key))
        return one_kernel(query, key, *others, window_size=window_size, enable_gqa=enable_gqa)

    sequences = documents(40, prefix=200, rest=10)
    golden = load(directory).forward(Batch.of(sequences))
    monkeypatch.setattr(dtypes, "has_one_kernel", lambda device, dtype: True)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", noted)
    engine = load(directory)
    engine.device = "cuda:0"  # for its steps: the network stays here
    monkeypatch.setattr(PackedEngine, "batch_tokens", property(lambda engine: engine.cost(sequences)))
    monkeypatch.setattr(packed, "_JOINED_BATCHES", 2)
    joined.clear()

    ours = engine.forward(Batch.of(sequences))

    assert ours == pytest.approx(golden, abs=1e-5, rel=1e-5)
    assert max(joined) <= 2 * engine.batch_tokens < sum(map(len, sequences))
