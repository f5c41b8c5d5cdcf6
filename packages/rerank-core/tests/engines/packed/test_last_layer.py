"""The last layer of a network that reads first tokens only: it computes no more than these see, counted in products."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rerank_core
import torch
from rerank_core import ScoreOptions
from rerank_core.engines.base import Batch
from rerank_core.testing.checkpoints import write_tiny_checkpoint
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

TOKENS = 1024
_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def attention_work(query, key, value, *arguments: Any, out_shape: Any = None, **options: Any) -> int:
    """Of the one attention of a CPU that the counter does not know."""
    return sdpa_flop_count(query, key, value)


def work(directory: Path, tokens: int = TOKENS) -> int:
    """The multiplications and additions of one sequence."""
    model = rerank_core.load(str(directory), device="cpu", engine="packed", threads=1, max_length=tokens)
    sequences = [encoding.sequences[0] for encoding in model.encode("panda", ["bamboo " * tokens], ScoreOptions())]
    assert [len(sequence) for sequence in sequences] == [tokens]
    with FlopCounterMode(display=False, custom_mapping={_ATTENTION: attention_work}) as counter:
        # Not in a worker, of whose products the counter knows nothing.
        model._engine._network.rows(Batch.of(sequences), [0], [None])
    return counter.get_total_flops()


def family(name: str, **fields: Any) -> Callable[[Path, int], Path]:
    def write(directory: Path, layers: int) -> Path:
        sizes = {"num_hidden_layers": layers, "max_position_embeddings": TOKENS + 2}
        return write_tiny_checkpoint(directory, name, config=sizes | fields)

    return write


def rotary(kind: str) -> Callable[[Path, int], Path]:
    return lambda directory, layers: family("modernbert", layer_types=[kind] * layers)(directory, layers)


NETWORKS = {
    "absolute": family("bert"),
    "relative": family("bert-relative"),
    "rotary": rotary("full_attention"),
    "local": rotary("sliding_attention"),
    "disentangled": family("deberta-v2", position_buckets=32),
    "biased": family("mpnet"),
    "norms first": family("xlm-roberta-xl"),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_a_last_layer_does_a_small_part_of_the_work_of_a_layer(network, tmp_path):
    """Keys of all tokens at most, out of queries, keys, values, their products, and the feed-forward."""
    two, three = (work(NETWORKS[network](tmp_path / str(layers), layers)) for layers in (2, 3))
    last = work(NETWORKS[network](tmp_path / "1", 1))

    assert last < (three - two) / 15


def test_the_work_of_a_local_last_layer_does_not_grow_with_the_length(tmp_path):
    """A first token sees no further than its window."""
    local, whole = (NETWORKS[name](tmp_path / name, 1) for name in ("local", "rotary"))

    assert work(local, TOKENS) == work(local, TOKENS // 2)
    assert work(whole, TOKENS) > 1.3 * work(whole, TOKENS // 2)
