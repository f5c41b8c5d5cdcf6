"""Voyage's own SDK."""

import asyncio

import voyageai
from cases import EMPTY, FULL, KEY, MODEL, Ask, Client, Raises, Ranking, run
from voyageai import error

EXPECTED = {
    EMPTY: Raises(error.InvalidRequestError),
    KEY: Raises(error.AuthenticationError),
    MODEL: Raises(error.APIError),
    # It asks again only where max_retries is set, and then at a pace of its own: the pause is its caller's.
    FULL: Raises(error.RateLimitError, field=("`Retry-After` in its headers", lambda e: e.headers.get("retry-after"))),
}


def ranking(answer) -> Ranking:
    assert answer.total_tokens > 0
    return [(result.index, result.relevance_score) for result in answer.results]


def rerank(ask: Ask) -> Ranking:
    client = voyageai.Client(api_key=ask.key, base_url=f"{ask.url}/v1")
    return ranking(client.rerank(ask.query, ask.documents, ask.model))


def rerank_async(ask: Ask) -> Ranking:
    client = voyageai.AsyncClient(api_key=ask.key, base_url=f"{ask.url}/v1")
    return ranking(asyncio.run(client.rerank(ask.query, ask.documents, ask.model, top_k=len(ask.documents) or None)))


run(
    [
        Client(name="Voyage", package="voyageai", ask=rerank, expected=EXPECTED),
        Client(name="Voyage, async", package="voyageai", ask=rerank_async, expected=EXPECTED),
    ]
)
