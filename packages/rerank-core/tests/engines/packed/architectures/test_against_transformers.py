"""The packed engine against plain transformers, one pair at a time: each family in several configurations.

Over lengths around the edges of windows and blocks, and around the limit.
"""

import inspect
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import rerank_core
import torch
from rerank_core import ScoreOptions
from rerank_core.models.local import LocalModel
from rerank_core.testing.checkpoints import WORDS, write_tiny_checkpoint
from transformers import AutoModelForSequenceClassification, AutoTokenizer

QUERY = "where does the giant panda live"
_SPECIAL = 3  # tokens around a pair
LIMIT = 200

MODERNBERT: dict[str, dict[str, Any]] = {
    # As published checkpoints are: the first layer of three is global, the rest local, and no biases.
    "cls": {"num_hidden_layers": 4, "global_attn_every_n_layers": 3, "local_attention": 16},
    "mean with biases": {
        "num_hidden_layers": 5,
        "global_attn_every_n_layers": 2,
        "local_attention": 20,
        "hidden_size": 36,
        "num_attention_heads": 6,
        "intermediate_size": 50,
        "classifier_pooling": "mean",
        "classifier_activation": "silu",
        "hidden_activation": "gelu_pytorch_tanh",
        **dict.fromkeys(("norm_bias", "attention_bias", "mlp_bias", "classifier_bias"), True),
    },
    # An odd window, thetas of another ratio, and a last layer that is local and computes first tokens only.
    "the last layer is local": {
        "num_hidden_layers": 3,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "local_attention": 7,
        "hidden_size": 40,
        "intermediate_size": 24,
        "norm_eps": 1e-3,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 20.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
        },
    },
    # Longer than a block, and wider than one.
    "a window of 140": {"num_hidden_layers": 3, "global_attn_every_n_layers": 3, "local_attention": 140},
}

DEBERTA: dict[str, dict[str, Any]] = {
    # As version 3 is: distances share rows, projections are those of the content, the table is normalised.
    "shared projections": {
        "position_buckets": 16,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "pos_att_type": "p2c|c2p",
    },
    "one row a distance, with absolute positions and types": {
        "hidden_size": 36,
        "pos_att_type": ["c2p"],
        "max_relative_positions": 30,
        "position_biased_input": True,
        "type_vocab_size": 2,
        "pooler_hidden_act": "tanh",
        "layer_norm_eps": 1e-3,
    },
    "position to content alone": {
        "num_hidden_layers": 3,
        "hidden_size": 40,
        "num_attention_heads": 8,
        "pos_att_type": ["p2c"],
        "position_buckets": 10,
        "max_relative_positions": 60,
    },
    # As the two largest of version 2 are.
    "with a convolution": {
        "conv_kernel_size": 3,
        "conv_act": "gelu",
        "attention_head_size": 8,
        "position_buckets": 16,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "pos_att_type": "p2c|c2p",
    },
    "with a wide convolution": {"conv_kernel_size": 11, "hidden_size": 36, "num_hidden_layers": 3},
}

POSITIONS = {"max_position_embeddings": LIMIT + 2}  # of families whose positions begin behind the padding

MPNET: dict[str, dict[str, Any]] = {
    "mpnet": POSITIONS | {"num_hidden_layers": 3, "hidden_size": 36},
}

XLM_ROBERTA_XL: dict[str, dict[str, Any]] = {
    "as published": {},
    "one layer": {"num_hidden_layers": 1, "hidden_size": 36, "num_attention_heads": 6, "layer_norm_eps": 1e-3},
    "with types": {"num_hidden_layers": 4, "hidden_size": 40, "type_vocab_size": 2, "hidden_act": "silu"},
}

CASES = [
    *(("modernbert", name, fields) for name, fields in MODERNBERT.items()),
    *(("deberta-v2", name, fields) for name, fields in DEBERTA.items()),
    *(("mpnet", name, fields) for name, fields in MPNET.items()),
    *(("xlm-roberta-xl", name, POSITIONS | fields) for name, fields in XLM_ROBERTA_XL.items()),
]


def some_text(words: int, seed: int = 0) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def document_of(tokens: int) -> str:
    """A document with which the pair has so many tokens: each word is one."""
    return some_text(tokens - _SPECIAL - len(QUERY.split()), tokens)


LENGTHS = [9, 10, 11, 12, 16, 17, 18, 21, 63, 64, 65, 80, 127, 128, 129, 135, 198, 199, 200, 201, 260]
DOCUMENTS = [document_of(tokens) for tokens in LENGTHS]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}: {case[1]}")
def directory(request, tmp_path_factory) -> Path:
    family, _, fields = request.param
    fields = {"max_position_embeddings": LIMIT} | fields
    return write_tiny_checkpoint(tmp_path_factory.mktemp(family), family, config=fields)


@pytest.fixture(scope="module")
def model(directory) -> LocalModel:
    return rerank_core.load(str(directory), device="cpu", engine="packed")


@cache
def golden_logits(directory: Path) -> list[float]:
    """What plain transformers says of each pair alone."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    network = AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32).eval()
    reads = inspect.signature(network.forward).parameters
    logits, lengths = [], []
    for document in DOCUMENTS:
        inputs = tokenizer([QUERY], [document], truncation=True, max_length=LIMIT, return_tensors="pt")
        lengths.append(inputs["input_ids"].shape[1])
        with torch.inference_mode():
            output = network(**{name: tensor for name, tensor in inputs.items() if name in reads})
        logits.append(output.logits[0, 0].item())
    assert len(set(lengths)) >= 15
    assert max(lengths) == LIMIT
    return logits


def test_logits_are_those_of_plain_transformers(model, directory):
    golden = golden_logits(directory)

    ours = model.score(QUERY, DOCUMENTS, ScoreOptions(raw=True)).values

    assert model.info.max_length == LIMIT
    assert len(set(golden)) == len(LENGTHS), "a network that always says the same proves nothing"
    far = [(n, x - y) for n, x, y in zip(LENGTHS, ours, golden, strict=True) if abs(x - y) > 1e-5 * max(1, abs(y))]
    assert far == []


def test_company_order_and_threads_change_no_bit(directory):
    before, seen = torch.get_num_threads(), set()
    shuffled = random.Random(1).sample(range(len(DOCUMENTS)), len(DOCUMENTS))
    try:
        for threads in (1, 2):
            model = rerank_core.load(str(directory), device="cpu", engine="packed", threads=threads)
            together = model.score(QUERY, DOCUMENTS, ScoreOptions(raw=True)).values
            mixed = model.score(QUERY, [DOCUMENTS[index] for index in shuffled], ScoreOptions(raw=True)).values
            alone = tuple(model.score(QUERY, [document], ScoreOptions(raw=True)).values[0] for document in DOCUMENTS)
            seen |= {together, alone, tuple(mixed[shuffled.index(index)] for index in range(len(DOCUMENTS)))}
    finally:
        torch.set_num_threads(before)

    assert len(seen) == 1
