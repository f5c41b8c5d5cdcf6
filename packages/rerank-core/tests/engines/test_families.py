"""Families that only the reference engine runs, with the token types and the logits of transformers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rerank_core
import torch
from rerank_core.engines import reference
from rerank_core.engines.padding import groups_of, padded
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


FAMILIES: dict[str, dict[str, Any]] = {
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64},
    "funnel": {"d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 64, "block_sizes": [1, 1]},
    "albert": {"embedding_size": 16},
    "rembert": {},
    "roformer": {},
    "mobilebert": {"embedding_size": 16, "intra_bottleneck_size": 16, "true_hidden_size": 16},
    "convbert": {},
    "fnet": {},
    "big_bird": {},
    "deberta": {},
    "mpnet": {},
    "bart": {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 64, "eos_token_id": 3,
                  "decoder_ffn_dim": 64, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "bos_token_id": 2,
                  "decoder_start_token_id": 3, "forced_eos_token_id": 3},
}  # fmt: skip


@pytest.fixture(scope="module", params=FAMILIES)
def directory(request, tiny, tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp(request.param), tiny, request.param)


def write(directory: Path, tiny: Callable[..., Path], model_type: str) -> Path:
    """A random checkpoint of a family, with BERT's tokenizer."""
    from transformers import CONFIG_MAPPING

    sizes = FAMILIES[model_type]
    usual = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    vocabulary = json.loads((tiny("bert") / "config.json").read_text())["vocab_size"]
    common = {"vocab_size": vocabulary, "num_labels": 1, "pad_token_id": 0}
    config = CONFIG_MAPPING[model_type](**common, **(sizes if "d_model" in sizes else usual | sizes))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AutoModelForSequenceClassification.from_config(config)
        for parameter in network.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
    network.save_pretrained(directory)
    shutil.copyfile(tiny("bert") / "tokenizer.json", directory / "tokenizer.json")
    edit_json(directory / "tokenizer_config.json", tokenizer_class="BertTokenizer", model_max_length=128)
    return directory


def test_a_family_is_given_the_token_types_that_transformers_gives_it(directory):
    golden = [row[0] for row in golden_rows(directory, "a panda", DOCUMENTS)]

    ours = rerank_core.load(str(directory), device="cpu").score("a panda", DOCUMENTS, ScoreOptions(raw=True)).values

    assert list(ours) == pytest.approx(golden, abs=1e-5)


# ---------------------------------------------------------------------------- as on a GPU


@pytest.fixture
def groups(monkeypatch) -> list[int]:
    """How many segments each forward pass has, where a device is taken to compute many at once."""
    found: list[int] = []

    def count(batch, group, padding):
        found.append(len(group))
        return padded(batch, group, padding)

    monkeypatch.setattr(reference, "_is_parallel", lambda device: True)
    monkeypatch.setattr(reference, "padded", count)
    return found


def test_padded_batches_change_no_score(directory, groups):
    """A network that gives others for them is given one segment at a time."""
    golden = rerank_core.load(str(directory), device="cpu", engine="reference")
    groups.clear()
    alone = [golden.score("a panda", [document], ScoreOptions(raw=True)).values[0] for document in DOCUMENTS]

    ours = golden.score("a panda", DOCUMENTS, ScoreOptions(raw=True)).values

    assert list(ours) == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(("family", "most"), [("albert", len(DOCUMENTS)), ("fnet", 1), ("mpnet", len(DOCUMENTS))])
def test_batches_are_padded_where_the_network_heeds_its_mask(tiny, tmp_path, groups, family, most):
    model = rerank_core.load(str(write(tmp_path, tiny, family)), device="cpu", engine="reference")
    groups.clear()

    model.score("a panda", DOCUMENTS)

    assert max(groups) == most


def test_the_pooling_of_a_padded_batch_reads_no_padding(tiny, groups):
    model = rerank_core.load(str(tiny("bert", "bi-encoder")), device="cpu", engine="reference")
    groups.clear()

    together = model.score("a panda", DOCUMENTS, ScoreOptions(raw=True)).values

    assert max(groups) > 1
    alone = [model.score("a panda", [document], ScoreOptions(raw=True)).values[0] for document in DOCUMENTS]
    assert list(together) == pytest.approx(alone, abs=1e-5)


def test_a_group_has_no_more_tokens_than_are_allowed_with_its_padding():
    groups = list(groups_of([5, 100, 3, 40, 40, 300], 120))

    assert groups == [[5], [1], [3, 4, 0], [2]]
