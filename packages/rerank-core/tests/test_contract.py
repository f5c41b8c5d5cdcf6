"""The contract, held by every scorer of the core."""

import pytest
from rerank_core.scorer import Scorer
from rerank_core.testing.contract import *  # noqa: F403
from rerank_core.testing.doubles import OverlapModel

ENCODERS = ["bert", "xlm-roberta", "modernbert", "deberta-v2", "bert-relative"]
LANGUAGE_MODELS = [
    "qwen3-reranker",
    "qwen3-reranker-seq-cls",
    "mxbai-rerank-v2",
    "ctxl-rerank-v2",
    "bge-reranker-v2-gemma",
    "nemotron-rerank",
    "chain",
]


@pytest.fixture(
    params=["overlap", "overlap with instructions", *ENCODERS, "bi-encoder", "lite", *LANGUAGE_MODELS],
)
def scorer(request, tiny_model, tiny_language_model) -> Scorer:
    match request.param:
        case "overlap":
            return OverlapModel()
        case "overlap with instructions":
            return OverlapModel(takes_instruction=True)
        case "bi-encoder":
            return tiny_model("bert", "bi-encoder")
        case "lite":
            return request.getfixturevalue("lite")
        case family if family in ENCODERS:
            return tiny_model(family)
        case kind:
            return tiny_language_model(kind)
