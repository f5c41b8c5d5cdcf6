"""Cohere's own SDK."""

import asyncio

import cohere
from cases import EMPTY, FULL, KEY, MODEL, Ask, Client, Raises, Ranking, Waits, run

EXPECTED = {
    EMPTY: Raises(cohere.BadRequestError),
    KEY: Raises(cohere.UnauthorizedError),
    MODEL: Raises(cohere.NotFoundError),
    FULL: Waits(),
}


def ranking(answer) -> Ranking:
    return [(result.index, result.relevance_score) for result in answer.results]


def v2(ask: Ask) -> Ranking:
    client = cohere.ClientV2(api_key=ask.key, base_url=ask.url)
    return ranking(client.rerank(model=ask.model, query=ask.query, documents=ask.documents, max_tokens_per_doc=4096))


def v2_at_once(ask: Ask) -> Ranking:
    client = cohere.ClientV2(api_key=ask.key, base_url=ask.url)
    once = {"max_retries": 0}
    return ranking(
        client.rerank(model=ask.model, query=ask.query, documents=ask.documents, top_n=10, request_options=once)
    )


def v2_async(ask: Ask) -> Ranking:
    async def rerank():
        async with cohere.AsyncClientV2(api_key=ask.key, base_url=ask.url) as client:
            return await client.rerank(model=ask.model, query=ask.query, documents=ask.documents)

    return ranking(asyncio.run(rerank()))


def with_their_documents(ask: Ask, answer) -> Ranking:
    assert [result.document.text for result in answer.results] == [ask.documents[r.index] for r in answer.results]
    return ranking(answer)


def v1(ask: Ask) -> Ranking:
    client = cohere.Client(api_key=ask.key, base_url=ask.url)
    documents = [{"text": text} for text in ask.documents]
    answer = client.rerank(
        model=ask.model, query=ask.query, documents=documents, rank_fields=["text"], return_documents=True
    )
    return with_their_documents(ask, answer)


def v1_async(ask: Ask) -> Ranking:
    async def rerank():
        async with cohere.AsyncClient(api_key=ask.key, base_url=ask.url) as client:
            return await client.rerank(model=ask.model, query=ask.query, documents=ask.documents, return_documents=True)

    return with_their_documents(ask, asyncio.run(rerank()))


run(
    [
        Client(name="Cohere v2", package="cohere", ask=v2, expected=EXPECTED),
        Client(
            name="Cohere v2, without retries",
            package="cohere",
            ask=v2_at_once,
            expected=EXPECTED | {FULL: Raises(cohere.TooManyRequestsError)},
        ),
        Client(name="Cohere v2, async", package="cohere", ask=v2_async, expected=EXPECTED),
        Client(name="Cohere v1", package="cohere", ask=v1, expected=EXPECTED),
        Client(name="Cohere v1, async", package="cohere", ask=v1_async, expected=EXPECTED),
    ]
)
