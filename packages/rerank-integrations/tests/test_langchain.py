import asyncio
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker, DocumentCompressorPipeline
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langchain_core.vectorstores import InMemoryVectorStore, VectorStoreRetriever
from pydantic import ValidationError
from rerank_core.errors import DeadlineExceeded, InputTooLong, InvalidRequest, Overloaded
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


@pytest.mark.parametrize("overlap", [OverlapModel(takes_instruction=True)], ids=["takes instructions"])
async def test_an_instruction_is_given_with_every_query(
    documents: list[Document], scorer: Scorer, overlap: OverlapModel
) -> None:
    other = ScoreOptions(raw=True, instruction="another")
    compressor = RerankCompressor(scorer=scorer, options=other, instruction="about trains in Switzerland", top_n=1)

    (best,) = compressor.compress_documents(documents, "punctual")

    assert best.id == "trains"
    assert await compressor.acompress_documents(documents, "punctual") == [best]
    assert best.metadata["relevance_score"] > 1  # raw, as the other options have it
    (plain,) = RerankCompressor(scorer=scorer, top_n=1).compress_documents(documents, "punctual")
    assert plain.metadata["relevance_score"] < 1


async def test_an_instruction_to_a_model_that_takes_none_is_an_error_all_the_same(
    documents: list[Document], scorer: Scorer
) -> None:
    compressor = RerankCompressor(scorer=scorer, instruction="be kind", on_error="passthrough")

    with pytest.raises(InvalidRequest, match="takes no instruction"):
        compressor.compress_documents(documents, QUERY)
    with pytest.raises(InvalidRequest, match="takes no instruction"):
        await compressor.acompress_documents(documents, QUERY)


def test_an_address_is_enough(url: str, documents: list[Document], seen: list[dict[str, Any]]) -> None:
    compressor = RerankCompressor.from_url(
        url, api_key="secret", timeout=30, top_n=1, threshold=0.1, options=ScoreOptions(max_document_tokens=50),
        instruction="",
    )  # fmt: skip

    (best,) = compressor.compress_documents(documents, QUERY)

    assert best.id == "panda"
    assert seen[-1]["authorization"] == "Bearer secret"
    assert (seen[-1]["body"]["max_tokens_per_doc"], seen[-1]["body"]["instruction"]) == (50, "")


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
    options = ScoreOptions(raw=True)
    encoder = RerankCrossEncoder.from_url(url, api_key="secret", options=options, instruction="")

    encoder.score([("one", "a"), ("two", "b"), ("one", "c")])

    assert [asked["body"] for asked in seen if asked["body"]] == [
        {"query": "one", "raw_scores": True, "instruction": "", "documents": ["a", "c"]},
        {"query": "two", "raw_scores": True, "instruction": "", "documents": ["b"]},
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


async def test_a_search_goes_on_without_its_reranker(
    documents: list[Document], closed_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = [document.model_copy(deep=True) for document in documents]
    compressor = RerankCompressor.from_url(
        closed_url, max_retries=0, timeout=5, top_n=3, threshold=0.9, on_error="passthrough"
    )

    for found in (
        compressor.compress_documents(documents, QUERY),
        await compressor.acompress_documents(documents, QUERY),
    ):
        assert [document.id for document in found] == list(TEXTS)[:3]
        for document, was in zip(found, before, strict=False):
            assert document.metadata == {**was.metadata, "rerank_error": "unavailable"}
            assert document.page_content == was.page_content
    assert documents == before
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "rerank_integrations.langchain")
    assert f"{closed_url} cannot be reached" in record.getMessage()


async def test_an_outage_is_logged_once_and_again_after_a_success(
    documents: list[Document], url: str, script: deque[Any], caplog: pytest.LogCaptureFixture
) -> None:
    compressor = RerankCompressor.from_url(url, max_retries=0, on_error="passthrough")
    for failures in (2, 1):
        script.extend([DeadlineExceeded("no time")] * failures)
        for _ in range(failures):
            (first, *_) = compressor.compress_documents(documents, QUERY)
            assert (first.id, first.metadata["rerank_error"]) == ("trains", "deadline_exceeded")

        (first, *_) = await compressor.acompress_documents(documents, QUERY)
        assert first.id == "panda"
        assert "rerank_error" not in first.metadata

    assert len(caplog.records) == 2
    assert not any(text in caplog.text for text in [*TEXTS.values(), QUERY])


@pytest.mark.parametrize("answer", [(401, {}, b""), (404, {}, b"not found"), (500, {}, b"")], ids=lambda it: str(it[0]))
async def test_a_search_goes_on_also_where_key_or_address_are_wrong(
    documents: list[Document], url: str, script: deque[Any], answer: Any
) -> None:
    compressor = RerankCompressor.from_url(url, on_error="passthrough")
    script.extend([answer] * 2)

    found = compressor.compress_documents(documents, QUERY)

    assert [document.id for document in found] == list(TEXTS)
    assert await compressor.acompress_documents(documents, QUERY) == found


async def test_a_request_that_cannot_be_is_an_error_all_the_same(documents: list[Document], scorer: Scorer) -> None:
    compressor = RerankCompressor(scorer=scorer, options=ScoreOptions(truncate=False), on_error="passthrough")
    documents.append(Document("panda " * 100))

    with pytest.raises(InputTooLong):
        compressor.compress_documents(documents, QUERY)
    with pytest.raises(InputTooLong):
        await compressor.acompress_documents(documents, QUERY)


async def test_reranking_is_a_run_of_its_own(retriever: VectorStoreRetriever, scorer: Scorer) -> None:
    compressor = RerankCompressor(scorer=scorer, top_n=2)
    reranking = ContextualCompressionRetriever(base_compressor=compressor, base_retriever=retriever)
    collector = RunCollectorCallbackHandler()

    found = reranking.invoke(QUERY, config={"callbacks": [collector]})
    assert await reranking.ainvoke(QUERY, config={"callbacks": [collector]}) == found

    for run in collector.traced_runs:
        search, rerank = run.child_runs
        assert (rerank.name, rerank.run_type, rerank.error) == ("RerankCompressor", "chain", None)
        assert rerank.parent_run_id == run.id
        assert rerank.inputs == {"query": QUERY, "documents": search.outputs["documents"]}
        assert rerank.outputs == {"documents": found}
    assert len(collector.traced_runs) == 2


async def test_a_failed_reranking_is_a_failed_run(documents: list[Document]) -> None:
    collector = RunCollectorCallbackHandler()
    failing = FailingScorer(Overloaded("no room"))
    compressor = RerankCompressor(scorer=failing)

    with pytest.raises(Overloaded):
        compressor.compress_documents(documents, QUERY, callbacks=[collector])
    with pytest.raises(Overloaded):
        await compressor.acompress_documents(documents, QUERY, callbacks=[collector])
    assert ["no room" in str(run.error) for run in collector.traced_runs] == [True, True]

    collector.traced_runs.clear()
    passing = RerankCompressor(scorer=failing, on_error="passthrough")
    found = passing.compress_documents(documents, QUERY, callbacks=[collector])
    assert await passing.acompress_documents(documents, QUERY, callbacks=[collector]) == found
    assert [(run.error, run.outputs) for run in collector.traced_runs] == [(None, {"documents": found})] * 2


async def test_handlers_hear_of_beginning_and_end(documents: list[Document], overlap: OverlapModel) -> None:
    heard: list[Any] = []

    class Handler(BaseCallbackHandler):
        def on_chain_start(self, serialized: Any, inputs: Any, **more: Any) -> None:
            heard.append(("start", inputs["query"], len(inputs["documents"]), more["name"]))

        def on_chain_end(self, outputs: Any, **_: Any) -> None:
            heard.append(("end", [document.id for document in outputs["documents"]]))

    class AsyncHandler(AsyncCallbackHandler):
        async def on_chain_start(self, *arguments: Any, **more: Any) -> None:
            Handler.on_chain_start(None, *arguments, **more)

        async def on_chain_end(self, *arguments: Any, **more: Any) -> None:
            Handler.on_chain_end(None, *arguments, **more)

    compressor = RerankCompressor(scorer=overlap, top_n=1)
    compressor.compress_documents(documents, QUERY, callbacks=[Handler()])
    await compressor.acompress_documents(documents, QUERY, callbacks=[AsyncHandler()])
    compressor.compress_documents([], QUERY, callbacks=[Handler()])

    assert heard == [("start", QUERY, 4, "RerankCompressor"), ("end", ["panda"])] * 2


async def test_a_run_that_is_cancelled_ends_too(documents: list[Document], url: str, overlap: OverlapModel) -> None:
    collector = RunCollectorCallbackHandler()
    compressor = RerankCompressor.from_url(url)
    overlap.gate.clear()
    asked = asyncio.create_task(compressor.acompress_documents(documents, QUERY, callbacks=[collector]))
    await asyncio.to_thread(overlap.started.wait, 30)

    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    overlap.gate.set()

    (run,) = collector.traced_runs
    assert run.end_time is not None
    assert "CancelledError" in str(run.error)


def test_one_of_several_servers_is_enough(documents: list[Document], url: str, closed_url: str) -> None:
    urls = [closed_url, url]
    compressor = RerankCompressor.from_url(urls, api_key=lambda: "secret", max_retries=0)

    assert [document.id for document in compressor.compress_documents(documents, QUERY)] == BEST_FIRST
    assert len(RerankCrossEncoder.from_url(urls, api_key=lambda: "secret", max_retries=0).score([(QUERY, "a")])) == 1


@pytest.mark.parametrize("word", ["ignore", "", None])
def test_what_to_do_about_errors_is_one_of_two_words(overlap: OverlapModel, word: Any) -> None:
    with pytest.raises(ValidationError):
        RerankCompressor(scorer=overlap, on_error=word)


@pytest.mark.parametrize(
    "given", [iter, tuple, lambda found: filter(None, found), lambda found: dict(enumerate(found)).values(), deque]
)
async def test_documents_may_come_from_any_iterable(given: Any, documents: list[Document], scorer: Scorer) -> None:
    compressor = RerankCompressor(scorer=scorer)

    assert [found.id for found in compressor.compress_documents(given(documents), QUERY)] == BEST_FIRST
    assert [found.id for found in await compressor.acompress_documents(given(documents), QUERY)] == BEST_FIRST
    assert compressor.compress_documents(given([]), QUERY) == []


@pytest.mark.parametrize("given", ["text", None, ["text"], [None], {"a": "b"}, Document("one")])
def test_what_are_no_documents_is_refused_in_words(given: Any, scorer: Scorer) -> None:
    with pytest.raises(InvalidRequest, match=r"^document"):
        RerankCompressor(scorer=scorer).compress_documents(given, QUERY)


def test_a_text_in_place_of_a_document_is_named_with_the_way_out(scorer: Scorer) -> None:
    with pytest.raises(InvalidRequest, match=r"document 1 is str.*: use Document\(page_content=text\)"):
        RerankCompressor(scorer=scorer).compress_documents([Document("one"), "two"], QUERY)


@pytest.mark.parametrize("given", [list, tuple, iter, lambda pairs: [list(pair) for pair in pairs], deque])
def test_a_cross_encoder_takes_pairs_in_any_form(given: Any, scorer: Scorer) -> None:
    pairs = [(QUERY, text) for text in TEXTS.values()]
    encoder = RerankCrossEncoder(scorer)

    assert encoder.score(given(pairs)) == list(scorer.score(QUERY, list(TEXTS.values())).values)
    assert encoder.score(given([])) == []


@pytest.mark.parametrize("pair", ["ab", ("one", "two", "three"), None, {"a": "b"}, (1, "two"), ("one", None)])
def test_a_cross_encoder_refuses_what_is_no_pair(pair: Any, scorer: Scorer) -> None:
    with pytest.raises(InvalidRequest):
        RerankCrossEncoder(scorer).score([(QUERY, "fine"), pair])


def test_options_of_the_client_reach_it() -> None:
    for adapter in (RerankCompressor, RerankCrossEncoder):
        made = adapter.from_url(["http://a", "http://b"], timeout=2.0, max_retries=1, hedge_after=0.5)
        assert made.scorer._options == {"timeout": 2.0, "max_retries": 1, "hedge_after": 0.5}


async def test_the_best_sentences_are_in_the_metadata_of_what_comes_back(
    documents: list[Document], scorer: Scorer, overlap: OverlapModel
) -> None:
    document = Document("Trains are fast. The giant panda does live in China. It rains.")
    compressor = RerankCompressor(scorer=scorer, options=ScoreOptions(highlight="sentences"), top_n=1)

    (best,) = compressor.compress_documents([*documents[2:], document], QUERY)

    assert await compressor.acompress_documents([*documents[2:], document], QUERY) == [best]
    found = [best.page_content[start:end] for start, end, _ in best.metadata["relevance_sentences"]]
    assert found[0] == "The giant panda does live in China."
    assert [score for *_, score in best.metadata["relevance_sentences"]] == list(overlap.score(QUERY, found))


def test_a_cross_encoder_shows_its_scorer(overlap: OverlapModel) -> None:
    assert repr(RerankCrossEncoder(overlap)) == f"RerankCrossEncoder({overlap!r})"
