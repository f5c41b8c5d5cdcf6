"""Language models that are scored neither by an answer nor by a row of their own are refused, whatever is asked for.

A layerwise model has a head for each layer, a listwise one compares the marked tokens of all documents. Read as a
reranker of pairs, both would give numbers, and the numbers would mean nothing.
"""

from pathlib import Path
from typing import Any

import pytest
import rerank_core
import torch
from rerank_core import CheckpointError
from rerank_core.testing.checkpoints import edit_json
from rerank_core.testing.language_models import write_tiny_language_model
from safetensors.torch import load_file, save_file

LAYERWISE = {
    "architectures": ["LayerWiseMiniCPMForCausalLM"],
    "auto_map": {"AutoModelForCausalLM": "modeling_minicpm_reranker.LayerWiseMiniCPMForCausalLM"},
    "model_type": "minicpm",
    "start_layer": 8,
    "head_multi": True,
    "head_type": "simple",
}
LIGHTWEIGHT = {
    "architectures": ["CostWiseGemmaForCausalLM"],
    "auto_map": {"AutoModelForCausalLM": "gemma_model.CostWiseGemmaForCausalLM"},
    "model_type": "cost_wise_gemma",
    "start_layer": 8,
    "layer_wise": True,
}
LISTWISE = {
    "architectures": ["JinaForRanking"],
    "auto_map": {"AutoModel": "modeling.JinaForRanking"},
    "model_type": "qwen3",
}
MULTIMODAL = {
    "architectures": ["JinaVLForRanking"],
    "auto_map": {"AutoModel": "modeling.JinaVLForRanking"},
    "model_type": "qwen2_vl",
}
RECIPES = {"llama": "ctxl-rerank-v2", "gemma": "bge-reranker-v2-gemma", "qwen3": "qwen3-reranker", "qwen2": "zerank"}


@pytest.mark.parametrize("recipe", [None, "its family's"])
@pytest.mark.parametrize("engine", ["auto", "packed", "reference"])
@pytest.mark.parametrize(
    ("family", "fields"),
    [("llama", LAYERWISE), ("gemma", LIGHTWEIGHT), ("qwen3", LISTWISE), ("qwen2", MULTIMODAL)],
    ids=["layerwise", "lightweight", "listwise", "multimodal"],
)
def test_a_model_of_another_kind_is_refused_with_any_recipe(
    tmp_path: Path, family: str, fields: dict[str, Any], engine: Any, recipe: str | None
) -> None:
    directory = write_tiny_language_model(tmp_path, family)
    edit_json(directory / "config.json", **fields)
    if fields is LISTWISE:
        weights = load_file(directory / "model.safetensors")
        projector = {"projector.0.weight": torch.zeros(32, 64), "projector.2.weight": torch.zeros(32, 32)}
        save_file(weights | projector, directory / "model.safetensors", {"format": "pt"})

    with pytest.raises(CheckpointError) as caught:
        rerank_core.load(str(directory), device="cpu", engine=engine, recipe=recipe and RECIPES[family])

    assert str(directory) in str(caught.value)
    assert "not supported" in str(caught.value)
    assert "name a recipe" not in str(caught.value)


@pytest.mark.parametrize("recipe", [None, "qwen3-reranker", "none"])
@pytest.mark.parametrize("engine", ["auto", "packed", "reference"])
@pytest.mark.parametrize(
    ("architecture", "reason"),
    [
        ("JinaForRanking", "a listwise model, whose scores depend on all documents of a request, is not supported"),
        ("Qwen3ForTokenClassification", "no class of language models that is known"),
        ("MyForCausalLM", "no class of language models that is known"),
        ("MyForSequenceClassification", "no class of language models that is known"),
    ],
)
def test_a_class_that_is_not_known_is_refused_where_its_layers_are_and_a_recipe_is_named(
    tmp_path: Path, architecture: str, reason: str, engine: Any, recipe: str | None
) -> None:
    directory = write_tiny_language_model(tmp_path, "qwen3", card="# Qwen3-Reranker-0.6B\n")
    edit_json(directory / "config.json", architectures=[architecture])

    with pytest.raises(CheckpointError) as caught:
        rerank_core.load(str(directory), device="cpu", engine=engine, recipe=recipe)

    assert f"config.json says {architecture}" in str(caught.value)
    assert reason in str(caught.value)
