"""What a request may have read at once: the same over HTTP, in vLLM's words too, as in process."""

from pathlib import Path
from typing import Any

import httpx
import pytest
import rerank_core
from rerank_core import InvalidRequest, ScoreOptions
from rerank_core.testing.contract import DOCUMENTS, LONG_DOCUMENT, QUERY
from rerank_integrations.client import HTTPScorer

TEXTS = [*DOCUMENTS, LONG_DOCUMENT, ""]


@pytest.mark.parametrize("length", [8, 30, 100])
@pytest.mark.parametrize("chunk", [False, True])
def test_every_road_cuts_a_pair_to_the_same_tokens(tiny_server: Any, tiny: Path, length: int, chunk: bool) -> None:
    options = ScoreOptions(max_length=length, long_documents="chunk" if chunk else None)
    expected = rerank_core.load(str(tiny)).score(QUERY, TEXTS, options=options)
    body = {"truncate_prompt_tokens": length, "long_documents": options.long_documents}

    with HTTPScorer(tiny_server.url) as remote:
        assert remote.score(QUERY, TEXTS, options=options).values == expected.values
    ranked = httpx.post(f"{tiny_server.url}/vllm/rerank", json=body | {"query": QUERY, "documents": TEXTS}).json()
    scored = httpx.post(f"{tiny_server.url}/vllm/score", json=body | {"text_1": QUERY, "text_2": TEXTS}).json()

    assert {result["index"]: result["relevance_score"] for result in ranked["results"]} == dict(
        enumerate(expected.values)
    )
    assert [item["score"] for item in scored["data"]] == list(expected.values)
    for usage in (ranked["usage"], scored["usage"]):
        assert (usage["prompt_tokens"], usage["truncated"]) == (expected.usage.tokens, expected.usage.truncated)


@pytest.mark.parametrize("length", [3, 100_000])
def test_a_length_that_cannot_be_is_the_same_error_on_every_road(tiny_server: Any, tiny: Path, length: int) -> None:
    options = ScoreOptions(max_length=length)
    with pytest.raises(InvalidRequest, match=f"{length} tokens are asked for at once") as caught:
        rerank_core.load(str(tiny)).score(QUERY, TEXTS, options=options)

    with HTTPScorer(tiny_server.url) as remote, pytest.raises(InvalidRequest) as over_http:
        remote.score(QUERY, TEXTS, options=options)
    answer = httpx.post(
        f"{tiny_server.url}/vllm/rerank", json={"query": QUERY, "documents": TEXTS, "truncate_prompt_tokens": length}
    )

    assert str(caught.value) in str(over_http.value)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, str(caught.value))
