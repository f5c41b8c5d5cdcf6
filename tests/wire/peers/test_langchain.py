"""LangChain, as of langchain-core 1.8 and langchain-classic 1.0: integration_tests/retrievers (document compressors,
test_contextual_compression.py, test_cohere_reranker.py), and what langchain-tests asks of retrievers."""

from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker, DocumentCompressorPipeline
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.retrievers import BaseRetriever
from rerank_core.testing.doubles import OverlapModel
from rerank_integrations.langchain import RerankCompressor, RerankCrossEncoder

QUERY = "who is Ketanji Brown Jackson"
TEXTS = ["the weather is fine", "Ketanji Brown Jackson is a judge", "who is there", "a judge"]
DOCUMENTS = [Document(page_content=text, metadata={"source": str(index)}) for index, text in enumerate(TEXTS)]


class Fixed(BaseRetriever):
    """A retriever that finds the same documents for every query."""

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return DOCUMENTS


@pytest.fixture
def compressor() -> RerankCompressor:
    return RerankCompressor(scorer=OverlapModel())


def test_it_is_a_compressor_and_a_cross_encoder_of_theirs(compressor: RerankCompressor) -> None:
    assert isinstance(compressor, BaseDocumentCompressor)
    assert isinstance(RerankCrossEncoder(OverlapModel()), BaseCrossEncoder)


@pytest.mark.parametrize("top_n", [1, 2, 4, 9, None])
async def test_a_compression_retriever_returns_so_many_of_the_best(top_n: int | None) -> None:
    retriever = ContextualCompressionRetriever(
        base_compressor=RerankCompressor(scorer=OverlapModel(), top_n=top_n), base_retriever=Fixed()
    )

    found = retriever.invoke(QUERY)

    assert all(isinstance(document, Document) for document in found)
    assert len(found) == min(top_n or 4, 4)
    assert found[0].page_content == TEXTS[1]
    assert await retriever.ainvoke(QUERY) == found


def test_a_score_is_in_the_metadata_and_what_was_there_stays(compressor: RerankCompressor) -> None:
    for document in compressor.compress_documents(DOCUMENTS, QUERY):
        assert type(document.metadata["relevance_score"]) is float
        assert TEXTS[int(document.metadata["source"])] == document.page_content
    assert all("relevance_score" not in document.metadata for document in DOCUMENTS)


async def test_no_documents_are_no_documents(compressor: RerankCompressor) -> None:
    assert list(compressor.compress_documents([], QUERY)) == []
    assert list(await compressor.acompress_documents([], QUERY)) == []


def test_it_stands_in_a_pipeline(compressor: RerankCompressor) -> None:
    pipeline = DocumentCompressorPipeline(transformers=[compressor, RerankCompressor(scorer=OverlapModel(), top_n=1)])

    (best,) = pipeline.compress_documents(DOCUMENTS, QUERY)

    assert best.page_content == TEXTS[1]


@pytest.mark.parametrize("top_n", [1, 3])
def test_their_own_reranker_takes_the_cross_encoder(top_n: int) -> None:
    reranker = CrossEncoderReranker(model=RerankCrossEncoder(OverlapModel()), top_n=top_n)

    found = reranker.compress_documents(DOCUMENTS, QUERY)

    assert [document.page_content for document in found] == [TEXTS[1], TEXTS[2], TEXTS[0]][:top_n]


@pytest.mark.parametrize("pairs", [[(QUERY, TEXTS[0])], [(QUERY, text) for text in TEXTS], [(TEXTS[0], TEXTS[1])], []])
def test_the_cross_encoder_gives_a_float_a_pair(pairs: Any) -> None:
    scores = RerankCrossEncoder(OverlapModel()).score(pairs)

    assert len(scores) == len(pairs)
    assert all(type(score) is float for score in scores)


def test_differs_a_number_of_the_best_below_1_is_refused() -> None:
    """Some of theirs return nothing for it; nobody asks for that on purpose."""
    with pytest.raises(ValueError, match="top_n"):
        RerankCompressor(scorer=OverlapModel(), top_n=0)
