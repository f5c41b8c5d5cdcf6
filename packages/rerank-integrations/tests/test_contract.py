# ruff: noqa: F403
"""The client keeps what every scorer promises, over a real socket."""

from collections.abc import Iterator

import pytest
from rerank_core.testing.contract import *
from rerank_core.testing.doubles import OverlapModel
from rerank_integrations.client import HTTPScorer


@pytest.fixture(params=[False, True], ids=["no instructions", "instructions"])
def overlap(request: pytest.FixtureRequest) -> OverlapModel:
    return OverlapModel(takes_instruction=request.param)


@pytest.fixture(params=[1000, 2], ids=["whole", "in parts"])
def scorer(url: str, info: dict[str, object], request: pytest.FixtureRequest) -> Iterator[HTTPScorer]:
    info["max_client_batch_size"] = request.param
    with HTTPScorer(url) as scorer:
        yield scorer
