import pytest
from rerank_core.testing.language_models import write_tiny_language_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

FAMILIES = ["qwen2", "qwen3", "llama", "mistral", "gemma"]


def test_the_same_seed_is_the_same_language_model(tmp_path):
    one, same, other = (
        (write_tiny_language_model(tmp_path / name, seed=seed) / "model.safetensors").read_bytes()
        for name, seed in [("one", 0), ("same", 0), ("other", 1)]
    )

    assert one == same != other


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_loads_a_tiny_language_model_and_its_tokenizer(family, tmp_path):
    directory = write_tiny_language_model(tmp_path / "causal", family)
    other = write_tiny_language_model(tmp_path / "own-head", family, head="sequence-classification")
    tokenizer = AutoTokenizer.from_pretrained(directory)

    network = AutoModelForCausalLM.from_pretrained(directory)
    text = "<Query>: What is a\n\n giant 2 + 2 naïve?"

    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)).lstrip() == text
    assert [len(tokenizer.encode(word, add_special_tokens=False)) for word in ("yes", "no", "Yes", "No")] == [1] * 4
    assert network(**tokenizer(text, return_tensors="pt")).logits.std() > 0.5
    assert AutoModelForSequenceClassification.from_pretrained(other).num_labels == 1
