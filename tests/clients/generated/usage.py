"""What a user of openapi-python-client writes. It is checked by mypy, and run with the address of a server."""

# ruff: noqa: T201

import sys

from rerank_client import AuthenticatedClient
from rerank_client.api.scoring import rerank, score_pair
from rerank_client.api.server import get_health
from rerank_client.models import DocumentObject, Health, PairRequest, PairResponse, RerankRequest, RerankResponse

with AuthenticatedClient(base_url=sys.argv[1], token="a key, where the server requires one") as client:
    health = get_health.sync(client=client)
    assert isinstance(health, Health)
    print(health.status)

    pair = PairRequest(query="what is a panda?", passage="The giant panda is a bear of China.")
    scored = score_pair.sync(client=client, body=pair)
    assert isinstance(scored, PairResponse)
    print(scored.score)

    request = RerankRequest(
        query="what is a panda?",
        documents=["Paris is a city.", DocumentObject(text="The giant panda is a bear of China.")],
        return_documents=True,
    )
    ranked = rerank.sync(client=client, body=request)
    assert isinstance(ranked, RerankResponse)
    for result in ranked.results:
        document = result.document
        print(result.index, result.relevance_score, document.text if isinstance(document, DocumentObject) else document)
