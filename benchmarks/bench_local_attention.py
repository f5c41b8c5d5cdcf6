"""Measure what local attention costs over the length of a text, against a mask over everything.

A random network of ModernBERT-base's shape, in this process, with one thread; seconds are process CPU time. First one
layer's attention: in blocks, as the packed engine computes it, and with a mask over all pairs of tokens. Then the whole
network on one pair: the packed engine, and plain transformers (with such masks). See README.md beside this.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import torch
from machine import describe
from markdown_tables import table
from pairs import Vocabulary
from rerank_core import ScoreOptions, load
from rerank_core.engines.packed.ops.attention import Bounds, LocalAttention
from rerank_core.testing.checkpoints import write_tiny_checkpoint
from results import settings_of, write_results
from torch import Tensor
from torch.nn import functional

LENGTHS = (512, 1024, 2048, 4096, 8192)
WINDOW = 128
SHAPE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 1152, "local_attention": WINDOW}


def seconds(compute: Callable[[], object], rounds: int) -> float:
    """CPU seconds of one call, the median of the rounds, after one that is not counted."""
    taken = []
    compute()
    for _ in range(rounds):
        start = time.process_time()
        compute()
        taken.append(time.process_time() - start)
    return median(taken)


def masked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Local attention of one sequence with a mask over everything."""
    query, key, value = (part[None].transpose(1, 2) for part in (query, key, value))
    return functional.scaled_dot_product_attention(query, key, value, mask)


def attention_rows(lengths: Sequence[int], rounds: int) -> list[tuple[int, float, float]]:
    """Tokens, and the seconds of one layer's attention in blocks and with a mask."""
    heads, found = SHAPE["num_attention_heads"], []
    local = LocalAttention(WINDOW // 2, device="cpu", dtype=torch.float32)
    for length in lengths:
        query, key, value = torch.randn(length, 3, heads, SHAPE["hidden_size"] // heads).unbind(1)
        bounds, out = Bounds([0, length], torch.tensor([0, length], dtype=torch.int32)), torch.empty_like(query)
        place = torch.arange(length)
        mask = (place[:, None] - place).abs() <= WINDOW // 2
        in_blocks = seconds(partial(local, query, key, value, bounds, out), rounds)
        found.append((length, in_blocks, seconds(partial(masked, query, key, value, mask), rounds)))
    return found


def network_rows(checkpoint: Path, lengths: Sequence[int], rounds: int) -> list[tuple[int, float, float]]:
    """Tokens, and the seconds of one pair on the packed engine and on plain transformers."""
    ours, theirs = (
        load(str(checkpoint), engine=engine, device="cpu", threads=1, max_length=max(lengths))
        for engine in ("packed", "reference")
    )
    vocabulary, found = Vocabulary(checkpoint), []
    for length in lengths:
        pair = vocabulary.equal(length, 1)
        golden = theirs.score(pair.query, pair.documents, ScoreOptions(raw=True)).values[0]
        (score,) = ours.score(pair.query, pair.documents, ScoreOptions(raw=True)).values
        if abs(score - golden) > 1e-3 * max(1.0, abs(golden)):  # a random network magnifies what is rounded
            raise SystemExit(f"{length} tokens: {score} is not {golden}")
        taken = [seconds(partial(model.score, pair.query, pair.documents), rounds) for model in (ours, theirs)]
        found.append((length, taken[0], taken[1]))
    return found


def text(title: str, names: tuple[str, str], rows: Sequence[tuple[int, float, float]]) -> str:
    """A table of one measure."""
    columns = ["tokens", *(f"{name}, CPU s" for name in names), f"{names[0]}: ms a token", f"{names[0]} is faster"]
    cells = [
        [str(tokens), f"{ours:.4f}", f"{theirs:.4f}", f"{ours / tokens * 1000:.3f}", f"{theirs / ours:.2f} x"]
        for tokens, ours, theirs in rows
    ]
    return f"### {title}\n\n{table(columns, cells)}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="default: a random one, of ModernBERT-base's shape")
    parser.add_argument("--layers", type=int, default=22, help="of the random checkpoint (default: %(default)s)")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="tokens (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write all figures here too")
    arguments = parser.parse_args()

    shape = SHAPE | {"num_hidden_layers": arguments.layers, "global_attn_every_n_layers": 3}
    shape["max_position_embeddings"] = max(arguments.lengths)
    torch.set_num_threads(1)
    attention = attention_rows(arguments.lengths, arguments.rounds)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = arguments.checkpoint or write_tiny_checkpoint(Path(folder), "modernbert", config=shape)
        network = network_rows(checkpoint, arguments.lengths, arguments.rounds)

    machine = describe()
    print(f"{machine.processor}, torch {machine.versions['torch']}, one thread, {arguments.rounds} rounds\n")
    print(text("one layer's local attention", ("in blocks", "with a mask"), attention))
    print(text("the whole network", ("packed", "transformers"), network))
    if arguments.json:
        write_results(arguments.json, machine, settings_of(arguments), attention=attention, network=network)
    return 0


if __name__ == "__main__":
    sys.exit(main())
