"""BERT's relative positions, which transformers 5 no longer computes: against the papers' formulas in plain torch.

"Self-Attention with Relative Position Representations" (Shaw et al. 2018, ``relative_key``) and "Improve Transformer
Models with Better Relative Position Embeddings" (Huang et al. 2020, ``relative_key_query``: method 4).
"""

import json
import random
from array import array
from pathlib import Path
from typing import Any

import pytest
import rerank_core
import torch
from rerank_core import CheckpointError, ScoreOptions
from rerank_core.testing.checkpoints import WORDS, edit_json, write_tiny_checkpoint
from rerank_core.types import TokenSequence
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

QUERY = "where does the giant panda live"
LENGTHS = [0, 1, 2, 7, 30, 60, 100, 118, 119, 300]
DOCUMENTS = [" ".join(random.Random(words).choices(WORDS, k=words)) for words in LENGTHS]

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert: keys": ("bert", {"position_embedding_type": "relative_key"}),
    "bert: keys and queries": (
        "bert",
        {
            "position_embedding_type": "relative_key_query",
            "num_hidden_layers": 3,
            "hidden_size": 36,
            "num_attention_heads": 6,
        },
    ),
    "bert: one layer": ("bert", {"position_embedding_type": "relative_key_query", "num_hidden_layers": 1}),
    "roberta": ("roberta", {"position_embedding_type": "relative_key_query"}),
    "electra": ("electra", {"position_embedding_type": "relative_key"}),
    "xlm-roberta-xl": ("xlm-roberta-xl", {"position_embedding_type": "relative_key_query", "hidden_size": 40}),
}


@pytest.fixture(scope="module", params=CASES)
def directory(request, tmp_path_factory) -> Path:
    """A checkpoint with a table of distances in each layer; that of absolute positions is there, and not read."""
    family, fields = CASES[request.param]
    return write_tiny_checkpoint(tmp_path_factory.mktemp("relative"), family, config=fields)


def golden_logit(directory: Path, token_ids: list[int], type_ids: list[int]) -> float:
    """The network in plain torch, position by position: no function is shared with ours."""
    config = json.loads((directory / "config.json").read_text())
    family = config["model_type"]
    prefix = {"bert": "bert.", "electra": "electra."}.get(family, "roberta.")
    weights = load_file(directory / "model.safetensors")
    heads, count = config["num_attention_heads"], len(token_ids)
    width = config["hidden_size"] // heads
    norm_first = family == "xlm-roberta-xl"

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(
            x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], config["layer_norm_eps"]
        )

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    embeddings = prefix + "embeddings."
    x = weights[embeddings + "word_embeddings.weight"][token_ids]
    x = x + weights[embeddings + "token_type_embeddings.weight"][type_ids]
    x = x if norm_first else norm(x, embeddings + "LayerNorm")
    if family == "electra":
        x = linear(x, prefix + "embeddings_project")
    for layer in (f"{prefix}encoder.layer.{number}." for number in range(config["num_hidden_layers"])):
        read = norm(x, layer + "attention.self_attn_layer_norm") if norm_first else x
        query, key, value = (
            linear(read, f"{layer}attention.self.{part}").view(count, heads, width)
            for part in ("query", "key", "value")
        )
        table = weights[layer + "attention.self.distance_embedding.weight"]
        scores = torch.einsum("ihw,jhw->hij", query, key)
        for i in range(count):
            vectors = table[[i - j + config["max_position_embeddings"] - 1 for j in range(count)]]
            scores[:, i] += torch.einsum("hw,jw->hj", query[i], vectors)
            if config["position_embedding_type"] == "relative_key_query":
                scores[:, i] += torch.einsum("jhw,jw->hj", key, vectors)
        context = torch.einsum("hij,jhw->ihw", (scores / width**0.5).softmax(-1), value).reshape(x.shape)
        x = x + linear(context, layer + "attention.output.dense")
        x = x if norm_first else norm(x, layer + "attention.output.LayerNorm")
        read = norm(x, layer + "LayerNorm") if norm_first else x
        x = x + linear(functional.gelu(linear(read, layer + "intermediate.dense")), layer + "output.dense")
        x = x if norm_first else norm(x, layer + "output.LayerNorm")
    first = (norm(x, prefix + "encoder.LayerNorm") if norm_first else x)[0]
    if family == "bert":
        return linear(torch.tanh(linear(first, "bert.pooler.dense")), "classifier").item()
    activate = functional.gelu if family == "electra" else torch.tanh
    return linear(activate(linear(first, "classifier.dense")), "classifier.out_proj").item()


def ids_of(sequence: TokenSequence) -> tuple[list[int], list[int]]:
    """The ids of tokens and of types, which are 0 where a family has none."""
    return array("i", sequence.token_ids).tolist(), array("i", sequence.type_ids).tolist() or [0] * len(sequence)


def test_logits_are_those_of_the_papers(directory):
    model = rerank_core.load(str(directory), device="cpu")
    sequences = [encoding.sequences[0] for encoding in model.encode(QUERY, DOCUMENTS, ScoreOptions())]
    golden = [golden_logit(directory, *ids_of(sequence)) for sequence in sequences]

    ours = model.score(QUERY, DOCUMENTS, ScoreOptions(raw=True)).values

    assert model.info.engine == "packed"
    assert max(map(len, sequences)) == model.info.max_length == 128
    assert ours == pytest.approx(golden, abs=1e-5, rel=1e-5)
    assert len(set(ours)) >= len(DOCUMENTS) - 1, "a network that always says the same proves nothing"


def test_company_order_and_threads_change_no_bit(directory):
    before, seen = torch.get_num_threads(), set()
    try:
        for threads in (1, 2):
            model = rerank_core.load(str(directory), device="cpu", threads=threads)
            together = model.score(QUERY, DOCUMENTS, ScoreOptions(raw=True)).values
            backwards = model.score(QUERY, DOCUMENTS[::-1], ScoreOptions(raw=True)).values
            alone = tuple(model.score(QUERY, [document], ScoreOptions(raw=True)).values[0] for document in DOCUMENTS)
            seen |= {together, backwards[::-1], alone}
    finally:
        torch.set_num_threads(before)

    assert len(seen) == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"position_embedding_type": "absolute"}, "parameters that it does not know: .*distance_embedding"),
        ({"position_embedding_type": "relative"}, "absolute, relative_key, relative_key_query positions"),
        ({"max_position_embeddings": 64}, r"distance_embedding.weight has the shape \(255, 8\), not \(127, 8\)"),
    ],
)
def test_a_table_of_distances_and_the_configuration_have_to_agree(tmp_path, fields, reason):
    write_tiny_checkpoint(tmp_path, "bert", config={"position_embedding_type": "relative_key"})
    edit_json(tmp_path / "config.json", **fields)

    with pytest.raises(CheckpointError, match=reason):
        rerank_core.load(str(tmp_path), device="cpu", engine="packed")
