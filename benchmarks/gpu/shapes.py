"""Random checkpoints of known shapes, made on the device, and texts of so many tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pairs import PairSet, Vocabulary
from rerank_core.testing.checkpoints import edit_json, write_tiny_checkpoint
from transformers import AutoConfig, AutoModelForSequenceClassification

Network: Any = AutoModelForSequenceClassification  # whose functions have no types


@dataclass(frozen=True, slots=True)
class Shape:
    """A cross-encoder's family and sizes; ``rows``: of the table of tokens, of which a tiny tokenizer uses few."""

    name: str
    family: str
    rows: int
    config: Mapping[str, Any]


_DEFAULT = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "max_position_embeddings": 8194,
    "type_vocab_size": 1,
}
_MINILM = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
}
_MINIATURE = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 130,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large everything is: ``FULL`` for a GPU, ``MINIATURE`` to see on a CPU that it runs.

    ``short`` and ``long``: tokens of a pair; ``passage``: those of a small request's. ``documents``: of a request.
    ``alone``: documents that are scored alone as well. ``batch``: tokens. ``matrix``: rows of the products that say
    what the card can do. ``ranked``: documents of which the order is compared.
    """

    default: Shape
    minilm: Shape
    decoder_layers: int
    decoder_config: Mapping[str, Any]
    max_length: int
    short: int
    long: int
    passage: int
    documents: int
    ranked: int
    alone: int
    small_requests: Sequence[int]
    batch: int
    budgets: Sequence[int]
    matrix: int
    repeats: int
    clients: int


FULL = Size(
    default=Shape("default model", "xlm-roberta", 250_002, _DEFAULT),
    minilm=Shape("MiniLM", "bert", 30_522, _MINILM),
    decoder_layers=28,
    decoder_config={},
    max_length=512,
    short=128,
    long=512,
    passage=64,
    documents=400,
    ranked=200,
    alone=32,
    small_requests=(1, 5, 20, 100),
    batch=16_384,
    budgets=(4096, 8192, 16_384, 32_768, 65_536),
    matrix=8192,
    repeats=5,
    clients=64,
)
MINIATURE = Size(
    default=Shape("default model", "xlm-roberta", 400, {**_MINIATURE, "type_vocab_size": 1}),
    minilm=Shape("MiniLM", "bert", 400, {**_MINIATURE, "hidden_size": 32, "intermediate_size": 64}),
    decoder_layers=2,
    decoder_config={"vocab_size": 2010, "hidden_size": 64, "intermediate_size": 96},
    max_length=128,
    short=24,
    long=40,
    passage=24,
    documents=6,
    ranked=6,
    alone=2,
    small_requests=(1, 3),
    batch=128,
    budgets=(64, 128),
    matrix=64,
    repeats=1,
    clients=4,
)


def write_shape(directory: Path, shape: Shape, device: str) -> Path:
    """Write a random checkpoint, with a tiny tokenizer, where there is none yet.

    The products' weights have the size that keeps the variance of what they read, so that scores differ from document
    to document, and rounding shows no more than in a trained network.
    """
    if (directory / "ready").exists():
        return directory
    write_tiny_checkpoint(directory, shape.family)
    tiny = json.loads((directory / "config.json").read_text())
    config = AutoConfig.for_model(
        shape.family, vocab_size=shape.rows, num_labels=1, pad_token_id=tiny["pad_token_id"], **shape.config
    )
    torch.manual_seed(0)
    with torch.device(device):
        network = Network.from_config(config).eval()
        for name, parameter in network.named_parameters():
            if parameter.dim() == 2 and "embeddings" not in name:
                torch.nn.init.normal_(parameter, 0.0, parameter.shape[1] ** -0.5)
            elif name.endswith("bias"):
                torch.nn.init.normal_(parameter, 0.0, 0.05)
    network.save_pretrained(directory)
    edit_json(directory / "tokenizer_config.json", model_max_length=shape.config["max_position_embeddings"] - 2)
    (directory / "ready").touch()
    return directory


def text_sets(directory: Path, size: Size) -> dict[str, PairSet]:
    """Make one query with documents of the short, the long, and mixed lengths."""
    vocabulary, count = Vocabulary(directory), size.documents
    return {
        "short": vocabulary.equal(size.short, count),
        "long": vocabulary.equal(size.long, max(1, count // 4)),
        "mixed": vocabulary.mixed(count, size.long),
    }


def small_requests(directory: Path, size: Size) -> dict[int, PairSet]:
    """Make requests of a few short passages."""
    vocabulary = Vocabulary(directory, seed=1)
    return {count: vocabulary.equal(size.passage, count) for count in size.small_requests}


def write_decoder(directory: Path, size: Size, device: str) -> Path:
    """Write a random Qwen3-Reranker of 0.6 billion parameters in bfloat16, where there is none yet."""
    from bench_language_models import SHAPE, write_checkpoint

    if not (directory / "ready").exists():
        with torch.device(device):
            write_checkpoint(directory, layers=size.decoder_layers, shape=SHAPE | dict(size.decoder_config))
        (directory / "ready").touch()
    return directory


def decoder_documents(directory: Path, tokens: int, count: int) -> list[str]:
    """Make documents of so many tokens."""
    from bench_language_models import document

    return [document(directory, tokens, seed) for seed in range(count)]
