"""Xinference's own client."""

from cases import EMPTY, FULL, KEY, MODEL, Ask, Client, Raises, Ranking, run
from xinference_client import RESTfulClient
from xinference_client.client.restful.restful_client import RESTfulRerankModelHandle


def ranking(answer) -> Ranking:
    return [(result["index"], result["relevance_score"]) for result in answer["results"]]


def by_handle(ask: Ask) -> Ranking:
    handle = RESTfulRerankModelHandle(ask.model, ask.url, {"Authorization": f"Bearer {ask.key}"})
    return ranking(handle.rerank(ask.documents, ask.query))


def by_name(ask: Ask) -> Ranking:
    return ranking(
        RESTfulClient(ask.url, api_key=ask.key)
        .get_model(ask.model)
        .rerank(ask.documents, ask.query, return_documents=True)
    )


EXPECTED = dict.fromkeys((EMPTY, KEY, MODEL, FULL), Raises(RuntimeError))

run(
    [
        Client(name="Xinference client, handle", package="xinference-client", ask=by_handle, expected=EXPECTED),
        Client(
            name="Xinference client, get_model",
            package="xinference-client",
            ask=by_name,
            expected=EXPECTED,
        ),
    ]
)
