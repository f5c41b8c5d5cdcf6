"""The API client of `rerankers`, with four of its providers. It looks at no status."""

from cases import EMPTY, FULL, KEY, MODEL, Ask, Client, Raises, Ranking, Ranks, run
from rerankers.models.api_rankers import APIRanker

SILENT = Raises(KeyError, silent=True)
BARE_LIST = Raises(TypeError, silent=True)


def provider(name: str, path: str):
    def ask(ask: Ask) -> Ranking:
        ranker = APIRanker(ask.model, ask.key, name, url=ask.url + path)
        ranked = ranker.rank(ask.query, ask.documents, doc_ids=list(range(len(ask.documents))))
        return [(result.document.doc_id, result.score) for result in ranked.results]

    return ask


def client(name: str, path: str, expected) -> Client:
    return Client(name=f"rerankers, {name}", package="rerankers", ask=provider(name, path), expected=expected)


NO_DOCUMENTS = {EMPTY: Raises(IndexError, silent=True)}  # before it asks
EXPECTED = NO_DOCUMENTS | dict.fromkeys((KEY, MODEL, FULL), SILENT)
TEI = NO_DOCUMENTS | {KEY: BARE_LIST, MODEL: Ranks(), FULL: BARE_LIST}

run(
    [
        client("cohere", "/v1/rerank", EXPECTED),
        client("jina", "/v1/rerank", EXPECTED),
        client("voyage", "/v1/rerank", EXPECTED),
        client("text-embeddings-inference", "/rerank", TEI),
    ]
)
