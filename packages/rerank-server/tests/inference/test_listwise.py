"""A model whose scores depend on the whole list, served."""

from typing import Any

import pytest
from rerank_core.testing.listwise import listwise_model
from rerank_core.types import ScoreOptions

QUERY = "giant panda"
DOCUMENTS = ["a giant panda", *(f"a panda {number}" for number in range(99)), "a train"]


async def scores_of(client: Any, documents: list[str]) -> list[float]:
    answered = await client.post("/v1/rerank", json={"query": QUERY, "documents": documents, "raw_scores": True})
    results = answered.json()["results"]
    return [result["relevance_score"] for result in sorted(results, key=lambda result: result["index"])]


@pytest.mark.parametrize("settings", [{}, {"cache_mb": 10}])
async def test_a_list_is_scored_as_a_whole_and_nothing_of_it_is_kept(serve, until_ready, settings, caplog) -> None:
    model = listwise_model()

    async with serve(lambda _: model, **settings) as client:
        await until_ready(client)
        assert (await client.get("/info")).json()["independent"] is False
        for documents in (DOCUMENTS, DOCUMENTS[:1], DOCUMENTS[::-1]):
            wanted = model.score(QUERY, documents, ScoreOptions(raw=True)).values
            assert await scores_of(client, documents) == list(wanted)

    assert ("RERANK_CACHE_MB has no effect" in caplog.text) == bool(settings)


async def test_pairs_of_one_query_are_one_list_wherever_they_stand(serve, until_ready) -> None:
    model = listwise_model()
    pairs = [(QUERY, "a giant panda"), ("train", "a train"), (QUERY, "a panda")]

    async with serve(lambda _: model) as client:
        await until_ready(client)
        body = {"pairs": [{"query": query, "passage": passage} for query, passage in pairs], "normalize": False}
        answered = await client.post("/rerank/batch", json=body)

    wanted = model.score_pairs(pairs, ScoreOptions(raw=True)).values
    assert answered.json()["scores"] == pytest.approx(wanted)
