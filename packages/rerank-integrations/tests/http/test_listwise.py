"""A server whose model scores a list as a whole."""

from typing import Any

import pytest
from rerank_core.errors import InvalidRequest
from rerank_core.models.local import LocalModel
from rerank_core.scorer import is_independent
from rerank_integrations.client import HTTPScorer

QUERY, DOCUMENTS = "giant panda", ["a giant panda", "a panda", "a train"]


@pytest.fixture
def overlap() -> LocalModel:
    """The model of the server, in place of the usual one."""
    pytest.importorskip("numpy", reason="the extra 'local' is not installed")
    from rerank_core.testing.listwise import listwise_model

    return listwise_model()


@pytest.fixture
def info(info: dict[str, Any]) -> dict[str, Any]:
    return info | {"independent": False}


def test_a_list_is_one_request_with_the_scores_of_the_model(
    url: str, overlap: LocalModel, info: dict[str, Any], seen: list[dict[str, Any]]
) -> None:
    info["max_client_batch_size"] = len(DOCUMENTS)

    with HTTPScorer(url) as scorer:
        assert scorer.score(QUERY, DOCUMENTS) == overlap.score(QUERY, DOCUMENTS)
        assert not is_independent(scorer)
    assert [asked["path"] for asked in seen] == ["/info", "/v1/rerank"]


@pytest.mark.parametrize("limit", [{"max_client_batch_size": 2}, {"max_body_bytes": 95}])
def test_a_list_that_is_too_large_for_a_request_is_refused_and_not_divided(
    url: str, info: dict[str, Any], seen: list[dict[str, Any]], limit: dict[str, Any]
) -> None:
    info.update(limit)

    with HTTPScorer(url) as scorer, pytest.raises(InvalidRequest, match="scores a list as a whole, and 3 documents"):
        scorer.score(QUERY, DOCUMENTS)
    assert [asked["path"] for asked in seen] == ["/info"]


def test_a_server_that_does_not_say_is_independent(url: str, info: dict[str, Any]) -> None:
    del info["independent"]

    with HTTPScorer(url) as scorer:
        assert is_independent(scorer)
