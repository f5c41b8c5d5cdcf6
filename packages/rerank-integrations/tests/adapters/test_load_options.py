"""Every adapter that loads a model takes each option of loading."""

from dataclasses import fields
from importlib import import_module
from typing import Any

import pytest
from rerank_core.load_options import LoadOptions
from rerank_core.testing.doubles import OverlapModel


@pytest.mark.parametrize(
    ("module", "adapter"),
    [("langchain", "RerankCompressor"), ("langchain", "RerankCrossEncoder"), ("llama_index", "RerankPostprocessor")],
)
def test_an_adapter_passes_each_option_on(module: str, adapter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option with the name of a field of the adapter would never reach the model."""
    asked: dict[str, Any] = {}

    def load(model: str, **options: Any) -> OverlapModel:
        asked.update(options)
        return OverlapModel(name=model)

    monkeypatch.setattr("rerank_core.loading.load", load)
    options = {option.name: option.default for option in fields(LoadOptions)}

    found = getattr(import_module(f"rerank_integrations.{module}"), adapter).from_model("a model", **options)

    assert asked == options
    assert found.scorer.info.name == "a model"
