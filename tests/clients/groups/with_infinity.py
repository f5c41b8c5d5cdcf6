"""The generated client of Infinity."""

import asyncio

from cases import EMPTY, FULL, KEY, MODEL, Ask, Client, Raises, Ranking, Returns, run
from infinity_client import AuthenticatedClient
from infinity_client.api.default import rerank
from infinity_client.errors import UnexpectedStatus
from infinity_client.models import RerankInput


def client(ask: Ask, *, strict: bool = True) -> AuthenticatedClient:
    return AuthenticatedClient(base_url=ask.url, token=ask.key, raise_on_unexpected_status=strict)


def body(ask: Ask) -> RerankInput:
    return RerankInput(query=ask.query, documents=ask.documents, model=ask.model)


def ranking(answer) -> Ranking | None:
    return answer and [(result.index, result.relevance_score) for result in answer.results]


def sync(ask: Ask) -> Ranking | None:
    return ranking(rerank.sync(client=client(ask), body=body(ask)))


def as_it_comes(ask: Ask) -> Ranking | None:
    return ranking(rerank.sync(client=client(ask, strict=False), body=body(ask)))


def asynchronous(ask: Ask) -> Ranking | None:
    return ranking(asyncio.run(rerank.asyncio(client=client(ask), body=body(ask))))


EXPECTED = dict.fromkeys((EMPTY, KEY, MODEL, FULL), Raises(UnexpectedStatus))
NONE = dict.fromkeys((EMPTY, KEY, MODEL, FULL), Returns(None))

run(
    [
        Client(name="Infinity client", package="infinity-client", ask=sync, expected=EXPECTED),
        Client(name="Infinity client, async", package="infinity-client", ask=asynchronous, expected=EXPECTED),
        Client(name="Infinity client, as it comes", package="infinity-client", ask=as_it_comes, expected=NONE),
    ]
)
