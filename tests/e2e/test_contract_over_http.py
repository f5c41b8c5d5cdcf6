"""A model behind a real server on a real port promises what it promises in process."""

from collections.abc import Iterator
from typing import Any

import pytest
from rerank_core.testing.contract import *  # noqa: F403
from rerank_integrations.client import HTTPScorer


@pytest.fixture(scope="module")
def scorer(tiny_server: Any) -> Iterator[HTTPScorer]:
    with HTTPScorer(tiny_server.url) as scorer:
        yield scorer
