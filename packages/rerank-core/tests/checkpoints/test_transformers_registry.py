import pytest
from rerank_core.checkpoints.transformers_registry import (
    MODEL_TYPES,
    TOKENIZER_CLASSES,
    ask_model_type,
    ask_tokenizer_class,
    find_model_type,
)
from transformers.models.auto import modeling_auto as auto


@pytest.mark.parametrize("name", MODEL_TYPES)
def test_what_is_written_of_a_model_type_is_what_transformers_says(name):
    assert MODEL_TYPES[name] == ask_model_type(name)


@pytest.mark.parametrize("name", TOKENIZER_CLASSES)
def test_what_is_written_of_a_tokenizer_class_is_what_transformers_says(name):
    assert TOKENIZER_CLASSES[name] == ask_tokenizer_class(name)


@pytest.mark.parametrize("name", sorted(auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES))
def test_a_network_that_fills_in_masked_words_is_an_encoder(name):
    assert not find_model_type(name).is_generative


@pytest.mark.parametrize(
    "name",
    [
        "bloom",
        "codegen",
        "cohere",
        "ctrl",
        "exaone4",
        "falcon",
        "gemma3",
        "glm",
        "gpt2",
        "gpt_neox",
        "granite",
        "jamba",
        "llama",
        "llama4",
        "mamba",
        "mistral4",
        "mixtral",
        "ministral",
        "mpt",
        "nemotron",
        "olmo2",
        "opt",
        "persimmon",
        "phi",
        "phi3",
        "qwen3",
        "qwen3_moe",
        "smollm3",
        "stablelm",
        "starcoder2",
        "t5",
        "t5gemma",
        "modernbert-decoder",
    ],
)
def test_a_network_that_writes_text_is_generative_under_any_name(name):
    assert find_model_type(name).is_generative


def test_xlnet_reads_both_sides_though_transformers_lists_it_as_causal():
    assert "xlnet" in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    assert not find_model_type("xlnet").is_generative


def test_a_model_type_that_transformers_does_not_know_is_nothing():
    assert find_model_type("nobody-knows").tokenizer is None
