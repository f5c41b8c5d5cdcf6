"""The best sentences of documents, over HTTP: their cost is counted, and only what is returned is computed."""

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest
from rerank_core.models.highlighting import SentencePair, sentence_pairs
from rerank_core.testing.doubles import OverlapModel
from rerank_core.testing.listwise import listwise_model
from rerank_core.text.sentences import MOST
from rerank_core.types import ModelInfo, Pair, ScoreOptions, Scores
from rerank_server.inference import service as service_module
from rerank_server.inference.admission import PromptTokens, estimated_sentence_tokens, prompt_tokens
from rerank_server.inference.service import Service
from rerank_server.observability.request_record import RequestRecord

QUERY = "where do giant pandas live"
LONG = "The train leaves at noon. Giant pandas live in China! It rains. Snow falls. "
DOCUMENTS = [LONG, "nothing", "giant trains. Small cars."]


async def rerank(client: Any, **fields: Any) -> Any:
    answered = await client.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS, **fields})
    return answered.json()


@pytest.mark.parametrize("settings", [{}, {"cache_mb": 10}])
async def test_sentences_are_those_of_a_model_in_process(shared, settings) -> None:
    client, model = await shared(**settings)
    expected = model.score(QUERY, DOCUMENTS, ScoreOptions(highlight="sentences"))

    for _ in range(2):  # the second time from the cache, where there is one
        answer = await rerank(client, highlight="sentences")
        found = {result["index"]: result for result in answer["results"]}
        assert [found[index]["relevance_score"] for index in range(3)] == list(expected)
        assert [[tuple(sentence.values()) for sentence in found[index]["sentences"]] for index in range(3)] == [
            list(map(tuple, sentences or ())) for sentences in expected.sentences or ()
        ]
        assert answer["usage"]["total_tokens"] == expected.usage.tokens


async def test_only_documents_that_are_returned_are_highlighted(client, model: OverlapModel) -> None:
    answer = await rerank(client, highlight="sentences", top_n=1)
    few = sum(model.forwards)
    model.forget()
    everything = await rerank(client, highlight="sentences", highlight_top=3, top_n=1)

    assert answer["results"] == everything["results"]
    assert few < sum(model.forwards)


@pytest.mark.parametrize("scale", [{}, {"raw_scores": True}])
async def test_documents_below_the_threshold_are_not_highlighted(client, model: OverlapModel, scale) -> None:
    fields = {"documents": [LONG, "Nothing here. Nothing there.", DOCUMENTS[2]], "highlight": "sentences", **scale}
    everything = await rerank(client, **fields)
    least, all_computed = everything["results"][1]["relevance_score"], sum(model.forwards)
    model.forget()
    answer = await rerank(client, threshold=least, **fields)

    assert answer["results"] == everything["results"][:2]
    assert sum(model.forwards) == all_computed - 2, "the last document has two sentences"
    marked = await rerank(client, highlight_threshold=least, **fields)
    assert ["sentences" in result for result in marked["results"]] == [True, True, False]


async def test_a_model_of_whole_lists_answers_400_with_the_way_out(serve, until_ready) -> None:
    async with serve(lambda _: listwise_model()) as client:
        await until_ready(client)
        answered = await client.post(
            "/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS, "highlight": "sentences"}
        )

    assert answered.status_code == 400
    assert "leave highlight out" in answered.json()["message"]


@pytest.mark.parametrize("path", ["/xinference/v1/rerank", "/infinity/rerank", "/vllm/rerank"])
async def test_an_api_that_has_no_field_for_sentences_says_where_there_is_one(client, path) -> None:
    answered = await client.post(
        path, json={"model": "m", "query": QUERY, "documents": DOCUMENTS, "highlight": "sentences"}
    )

    assert answered.status_code in (400, 422)
    assert "use it at /v1/rerank" in answered.text


async def test_a_request_whose_sentences_are_too_many_is_refused_before_any_work(serve, until_ready) -> None:
    model = OverlapModel()
    async with serve(lambda _: model, max_queue_tokens=200, max_documents=2, max_length=64) as client:
        await until_ready(client, model)
        plain = await client.post("/v1/rerank", json={"query": QUERY, "documents": [LONG * 2] * 2})
        model.forget()
        refused = await client.post(
            "/v1/rerank", json={"query": QUERY, "documents": [LONG * 2] * 2, "highlight": "sentences"}
        )

    assert plain.status_code == 200
    assert refused.json()["code"] == "too_many_documents"
    assert model.forwards == []


def test_the_estimate_grows_with_the_documents_that_are_highlighted() -> None:
    info = ModelInfo(name="m", engine="e", device="cpu", dtype="float32", max_length=512)
    pairs = [Pair("query " * 10, "word " * 200)] * 4

    def estimate(**options: Any) -> int:
        return estimated_sentence_tokens(pairs, info, ScoreOptions(**options))

    whole = estimate(highlight="sentences")
    assert estimate() == 0
    assert estimate(highlight="sentences", highlight_top=1) * 4 == whole > 4 * 300
    assert estimate(highlight="sentences", highlight_top=9) == whole
    assert estimate(highlight="sentences", max_document_tokens=50) < whole


QUERY_18 = "query " * 10  # 18 tokens
DOCUMENT_300 = "word " * 200  # 300 tokens, which are 13 sentences
SENTENCES = ScoreOptions(highlight="sentences")
PLAIN = ModelInfo(name="m", engine="e", device="cpu", dtype="float32", max_length=5000)
INSTRUCTED = replace(PLAIN, takes_instruction=True, instruction="i" * 100)  # 30 tokens


@pytest.mark.parametrize(
    ("info", "options", "document", "prompt", "tokens"),
    [
        (PLAIN, SENTENCES, DOCUMENT_300, PromptTokens(), 300 + 13 * (4 + 18)),
        (INSTRUCTED, SENTENCES, DOCUMENT_300, PromptTokens(), 300 + 13 * (4 + 18 + 30)),
        (INSTRUCTED, replace(SENTENCES, instruction="i" * 10), DOCUMENT_300, PromptTokens(), 300 + 13 * (4 + 18 + 3)),
        (PLAIN, SENTENCES, "word " * 2000, PromptTokens(), 3000 + MOST * (4 + 18)),
        (PLAIN, SENTENCES, DOCUMENT_300, PromptTokens(9, 70, has_query=True), 300 + 13 * 9),
        (PLAIN, SENTENCES, DOCUMENT_300, PromptTokens(9, 70, has_query=False), 300 + 13 * (9 + 18)),
    ],
    ids=["plain", "the model's instruction", "the request's", "many sentences", "query shared", "query not shared"],
)
def test_each_sentence_is_estimated_with_what_is_read_beside_it(info, options, document, prompt, tokens) -> None:
    assert estimated_sentence_tokens([Pair(QUERY_18, document)], info, options, prompt) == tokens


class Permitted(OverlapModel):
    """Computes as many batches as it has permits."""

    def __init__(self) -> None:
        super().__init__()
        self.permits = threading.Semaphore(1)  # one to warm up

    def forward(self, sequences: Any, shared: Any = ()) -> Any:
        self.permits.acquire()
        return super().forward(sequences, shared)


def score(service: Service, pairs: list[Pair], options: ScoreOptions) -> asyncio.Task[Scores]:
    record = RequestRecord(request_id="1", method="POST", route="/v1/rerank")
    return asyncio.create_task(service.score_pairs(pairs, options, seconds=60, record=record))


async def test_tokens_in_the_server_become_exact_for_documents_and_then_for_sentences() -> None:
    model, pairs = Permitted(), [Pair(QUERY, document) for document in DOCUMENTS]
    exact = OverlapModel().score(QUERY, DOCUMENTS).usage.tokens
    estimate = estimated_sentence_tokens(pairs, model.info, SENTENCES, prompt_tokens(model))
    service = Service(model, max_pairs=10)
    await service.warm_up()

    request = score(service, pairs, SENTENCES)
    held = []
    for _ in range(2):
        began = service.scheduler.progress.number
        while service.scheduler.progress.number == began:  # noqa: ASYNC110 (a thread has no event)
            await asyncio.sleep(0)
        held.append(service.admission.tokens)
        model.permits.release()
    scores = await request
    service.close()

    assert held == [exact + estimate, scores.usage.tokens]
    assert service.admission.tokens == 0


async def test_sentences_are_found_in_steps_of_64_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []

    def noting(scores: Scores, pairs: list[Pair], documents: list[int]) -> list[SentencePair]:
        steps.append(len(documents))
        return sentence_pairs(scores, pairs, documents)

    monkeypatch.setattr(service_module, "sentence_pairs", noting)
    service = Service(OverlapModel(), max_pairs=200)
    scores = await score(service, [Pair(QUERY, f"pandas {number}.") for number in range(130)], SENTENCES)
    service.close()

    assert steps == [64, 64, 2]
    assert [len(found or ()) for found in scores.sentences or ()] == [1] * 130
