"""The contract, held by every scorer of the core."""

import pytest
from rerank_core.scorer import Scorer
from rerank_core.testing.contract import *  # noqa: F403
from rerank_core.testing.doubles import OverlapModel


@pytest.fixture(
    params=[
        "overlap",
        "overlap with instructions",
        "bert",
        "xlm-roberta",
        "modernbert",
        "deberta-v2",
        "bert-relative",
        "bi-encoder",
        "lite",
    ]
)
def scorer(request, tiny_model) -> Scorer:
    match request.param:
        case "overlap":
            return OverlapModel()
        case "overlap with instructions":
            return OverlapModel(takes_instruction=True)
        case "bi-encoder":
            return tiny_model("bert", "bi-encoder")
        case "lite":
            return request.getfixturevalue("lite")
        case family:
            return tiny_model(family)
