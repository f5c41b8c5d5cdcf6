"""Families that only the reference engine runs, with the token types and the logits of transformers."""

import json
import shutil
from pathlib import Path

import pytest
import rerank_core
import torch
from rerank_core.testing.checkpoints import edit_json
from rerank_core.types import ScoreOptions
from transformers import AutoModelForSequenceClassification, AutoTokenizer

DOCUMENTS = ["bamboo", "a giant panda lives in china", "Paris is the capital of france", "", "panda " * 300]


def golden_rows(directory: Path, query: str, documents: list[str]) -> list[list[float]]:
    """What transformers says, a pair at a time."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    network = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    rows = []
    for document in documents:
        inputs = tokenizer([query], [document], truncation=True, max_length=128, return_tensors="pt")
        with torch.inference_mode():
            rows.append(network(**inputs).logits[0].tolist())
    return rows


@pytest.mark.parametrize(
    ("model_type", "sizes"),
    [
        ("xlnet", {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}),
        ("funnel", {"d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 64, "block_sizes": [1, 1]}),
        ("albert", {"embedding_size": 16}),
        ("rembert", {}),
        ("roformer", {}),
        ("mobilebert", {"embedding_size": 16, "intra_bottleneck_size": 16, "true_hidden_size": 16}),
        ("convbert", {}),
        ("fnet", {}),
        ("big_bird", {}),
        ("deberta", {}),
        ("mpnet", {}),
        ("bart", {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 64, "eos_token_id": 3,
                  "decoder_ffn_dim": 64, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "bos_token_id": 2,
                  "decoder_start_token_id": 3, "forced_eos_token_id": 3}),
    ],
)  # fmt: skip
def test_a_family_is_given_the_token_types_that_transformers_gives_it(tiny, tmp_path, model_type, sizes):
    from transformers import CONFIG_MAPPING

    usual = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    vocabulary = json.loads((tiny("bert") / "config.json").read_text())["vocab_size"]
    common = {"vocab_size": vocabulary, "num_labels": 1, "pad_token_id": 0}
    config = CONFIG_MAPPING[model_type](**common, **(sizes if "d_model" in sizes else usual | sizes))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AutoModelForSequenceClassification.from_config(config)
        for parameter in network.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
    network.save_pretrained(tmp_path)
    shutil.copyfile(tiny("bert") / "tokenizer.json", tmp_path / "tokenizer.json")
    edit_json(tmp_path / "tokenizer_config.json", tokenizer_class="BertTokenizer", model_max_length=128)

    golden = [row[0] for row in golden_rows(tmp_path, "a panda", DOCUMENTS)]

    ours = rerank_core.load(str(tmp_path), device="cpu").score("a panda", DOCUMENTS, ScoreOptions(raw=True)).values

    assert list(ours) == pytest.approx(golden, abs=1e-5)
