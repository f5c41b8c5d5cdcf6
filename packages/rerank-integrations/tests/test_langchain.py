from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker, DocumentCompressorPipeline
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.load import dumps
from langchain_core.vectorstores import InMemoryVectorStore, VectorStoreRetriever
from pydantic import ValidationError
from rerank_core.errors import InvalidRequest, Overloaded
from rerank_core.scorer import Scorer
from rerank_core.testing.doubles import FailingScorer, OverlapModel
from rerank_core.types import ScoreOptions
from rerank_integrations.client import HTTPScorer
from rerank_integrations.langchain import RerankCompressor, RerankCrossEncoder

QUERY = "where does the giant panda live"
TEXTS = {
    "trains": "Trains in Switzerland are known to be punctual.",
    "panda": "The giant panda does live in the mountains of central China.",
    "paris": "Paris is the capital of France, where people live.",
    "bamboo": "A panda eats bamboo, and little else.",
}
BEST_FIRST = ["panda", "paris", "bamboo", "trains"]


@pytest.fixture
def documents() -> list[Document]:
    return [
        Document(id=name, page_content=text, metadata={"source": f"{name}.txt", "tags": ["animals"]})
        for name, text in TEXTS.items()
    ]


@pytest.fixture
def retriever(documents: list[Document]) -> VectorStoreRetriever:
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    store.add_documents(documents)
    return store.as_retriever(search_kwargs={"k": len(documents)})


@pytest.fixture(params=["over HTTP", "in process"])
def scorer(request: pytest.FixtureRequest, url: str, overlap: OverlapModel) -> Iterator[Scorer]:
    with HTTPScorer(url) as http:
        yield http if request.param == "over HTTP" else overlap


async def test_it_orders_what_a_retriever_found(
    retriever: VectorStoreRetriever, scorer: Scorer, overlap: OverlapModel
) -> None:
    compressor = RerankCompressor(scorer=scorer)
    reranking = ContextualCompressionRetriever(base_compressor=compressor, base_retriever=retriever)

    found = reranking.invoke(QUERY)

    assert await reranking.ainvoke(QUERY) == found
    assert [document.id for document in found] == BEST_FIRST
    assert [document.metadata["relevance_score"] for document in found] == list(
        overlap.score(QUERY, [TEXTS[name] for name in BEST_FIRST]).values
    )


async def test_copies_come_back_and_the_documents_stay_as_they_were(documents: list[Document], scorer: Scorer) -> None:
    before = [document.model_copy(deep=True) for document in documents]
    compressor = RerankCompressor(scorer=scorer)

    for found in (
        compressor.compress_documents(documents, QUERY),
        await compressor.acompress_documents(documents, QUERY),
    ):
        assert documents == before
        for document in found:
            score = document.metadata.pop("relevance_score")
            assert 0 < score < 1
            assert document == before[list(TEXTS).index(str(document.id))]
    assert documents == before


async def test_the_best_may_be_kept_by_number_or_by_score(documents: list[Document], scorer: Scorer) -> None:
    two = RerankCompressor(scorer=scorer, top_n=2)
    above = RerankCompressor(scorer=scorer, threshold=0.9)
    raw = RerankCompressor(scorer=scorer, threshold=1.0, options=ScoreOptions(raw=True))

    assert [document.id for document in two.compress_documents(documents, QUERY)] == BEST_FIRST[:2]
    assert [document.id for document in await two.acompress_documents(documents, QUERY)] == BEST_FIRST[:2]
    assert [document.id for document in above.compress_documents(documents, QUERY)] == BEST_FIRST[:2]
    (best, *_) = raw.compress_documents(documents, QUERY)
    assert best.metadata["relevance_score"] > 1


async def test_no_documents_are_an_empty_answer_that_asks_nobody() -> None:
    compressor = RerankCompressor(scorer=FailingScorer(Overloaded("no")))

    assert compressor.compress_documents([], QUERY) == []
    assert await compressor.acompress_documents([], QUERY) == []


async def test_an_error_of_the_scorer_reaches_the_caller(documents: list[Document]) -> None:
    compressor = RerankCompressor(scorer=FailingScorer(Overloaded("no room", retry_after=2)))

    with pytest.raises(Overloaded, match="no room"):
        compressor.compress_documents(documents, QUERY)
    with pytest.raises(Overloaded, match="no room"):
        await compressor.acompress_documents(documents, QUERY)


def test_an_address_is_enough(url: str, documents: list[Document], seen: list[dict[str, Any]]) -> None:
    compressor = RerankCompressor.from_url(
        url, api_key="secret", timeout=30, top_n=1, threshold=0.1, options=ScoreOptions(max_document_tokens=50)
    )

    (best,) = compressor.compress_documents(documents, QUERY)

    assert best.id == "panda"
    assert seen[-1]["authorization"] == "Bearer secret"
    assert seen[-1]["body"]["max_tokens_per_doc"] == 50


def test_a_key_is_in_no_dump(url: str) -> None:
    compressor = RerankCompressor.from_url(url, api_key="secret", top_n=3)

    shown = [repr(compressor), str(compressor), compressor.model_dump_json(), repr(compressor.model_dump())]

    assert "secret" not in "".join([*shown, dumps(compressor)])
    assert compressor.model_dump() == {"top_n": 3, "threshold": None, "options": None}


async def test_a_model_in_this_process_works_as_well(checkpoint: Path, documents: list[Document]) -> None:
    compressor = RerankCompressor.from_model(str(checkpoint), top_n=3, device="cpu", max_length=64)

    found = compressor.compress_documents(documents, QUERY)

    assert len(found) == 3
    assert await compressor.acompress_documents(documents, QUERY) == found
    assert RerankCrossEncoder.from_model(str(checkpoint), max_length=64).score(
        [(QUERY, document.page_content) for document in found]
    ) == pytest.approx([document.metadata["relevance_score"] for document in found], abs=1e-6)


@pytest.mark.parametrize("fields", [{"top_n": 0}, {"topn": 3}, {"scorer": "http://localhost:8000"}])
def test_a_field_that_cannot_be_is_refused_at_once(fields: dict[str, Any], overlap: OverlapModel) -> None:
    with pytest.raises(ValidationError):
        RerankCompressor(**{"scorer": overlap, **fields})


def test_it_is_one_step_of_a_pipeline(documents: list[Document], overlap: OverlapModel) -> None:
    steps = [RerankCompressor(scorer=overlap, top_n=3), RerankCompressor(scorer=overlap, top_n=2)]

    found = DocumentCompressorPipeline(transformers=steps).compress_documents(documents, QUERY)

    assert [document.id for document in found] == BEST_FIRST[:2]


def test_a_cross_encoder_scores_pairs_in_their_order(scorer: Scorer, overlap: OverlapModel) -> None:
    pairs = [
        ("panda", "a panda"),
        ("capital of france", "Paris is the capital of France"),
        ("panda", "a train"),
        ("capital of france", "a panda"),
    ]
    expected = [overlap.score(query, [document]).values[0] for query, document in pairs]

    assert RerankCrossEncoder(scorer).score(pairs) == expected
    assert RerankCrossEncoder(scorer).score([]) == []


def test_a_cross_encoder_asks_once_for_each_query(url: str, seen: list[dict[str, Any]]) -> None:
    encoder = RerankCrossEncoder.from_url(url, api_key="secret", options=ScoreOptions(raw=True))

    encoder.score([("one", "a"), ("two", "b"), ("one", "c")])

    assert [asked["body"] for asked in seen if asked["body"]] == [
        {"query": "one", "raw_scores": True, "documents": ["a", "c"]},
        {"query": "two", "raw_scores": True, "documents": ["b"]},
    ]


def test_a_cross_encoder_works_where_langchain_takes_one(retriever: VectorStoreRetriever, scorer: Scorer) -> None:
    compressor = CrossEncoderReranker(model=RerankCrossEncoder(scorer), top_n=2)
    reranking = ContextualCompressionRetriever(base_compressor=compressor, base_retriever=retriever)

    assert [document.id for document in reranking.invoke(QUERY)] == BEST_FIRST[:2]


def test_an_error_of_the_server_reaches_the_caller_of_the_retriever(
    url: str, retriever: VectorStoreRetriever, script: deque[Any]
) -> None:
    compressor = RerankCompressor.from_url(url)
    reranking = ContextualCompressionRetriever(base_compressor=compressor, base_retriever=retriever)
    script.append(InvalidRequest("not like this"))

    with pytest.raises(InvalidRequest, match="not like this"):
        reranking.invoke(QUERY)
