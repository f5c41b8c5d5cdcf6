"""Scores that have all become 1.0 keep the order of their logits, on every road."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode
from rerank_core.ranking import rerank
from rerank_core.scorer import Scorer
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import Calibration, Pair, ScoreOptions, Scores
from rerank_integrations.batch.job import Job
from rerank_integrations.batch.run import score_files
from rerank_integrations.client import HTTPScorer
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.llama_index import RerankPostprocessor

QUERY = "one two three four five"
TEXTS = ["one two", "one two three four", "one", "one two three four five", "one two three"]
BEST_FIRST = [3, 1, 4, 0, 2]


@pytest.fixture
def overlap() -> OverlapModel:
    return OverlapModel(calibration=Calibration(1000.0, 0.0))


@pytest.fixture(params=["over HTTP", "in parts", "in process"])
def scorer(request: pytest.FixtureRequest, url: str, overlap: OverlapModel, info: dict[str, Any]) -> Iterator[Scorer]:
    if request.param == "in parts":
        info["max_client_batch_size"] = 2
    with HTTPScorer(url) as http:
        yield overlap if request.param == "in process" else http


def test_they_are_saturated(overlap: OverlapModel) -> None:
    assert set(overlap.score(QUERY, TEXTS).values) == {1.0}


async def test_scores_over_http_are_those_in_process(overlap: OverlapModel, scorer: Any) -> None:
    for options in (ScoreOptions(), ScoreOptions(raw=True)):
        expected = overlap.score(QUERY, TEXTS, options=options)
        assert expected.raw_values is not None
        assert scorer.score(QUERY, TEXTS, options=options) == expected
        assert await scorer.ascore(QUERY, TEXTS, options=options) == expected


def test_a_ranking_is_by_logit(scorer: Scorer) -> None:
    assert [one.index for one in rerank(scorer, QUERY, TEXTS)] == BEST_FIRST


async def test_adapters_return_the_best_first(scorer: Scorer) -> None:
    documents = [Document(text) for text in TEXTS]
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    compressor = RerankCompressor(scorer=scorer, top_n=3)
    postprocessor = RerankPostprocessor(scorer=scorer, top_n=3)
    expected = [TEXTS[index] for index in BEST_FIRST[:3]]

    assert [one.page_content for one in compressor.compress_documents(documents, QUERY)] == expected
    assert [one.page_content for one in await compressor.acompress_documents(documents, QUERY)] == expected
    assert [one.text for one in postprocessor.postprocess_nodes(nodes, query_str=QUERY)] == expected
    assert [one.text for one in await postprocessor.apostprocess_nodes(nodes, query_str=QUERY)] == expected


class Pairs:
    """Scores pairs together, as a model in this process does."""

    def __init__(self, model: OverlapModel) -> None:
        self._model = model

    def score(self, query: str, documents: Any, **options: Any) -> Scores:
        return self._model.score(query, documents, **options)

    def score_pairs(self, pairs: list[Pair], options: ScoreOptions | None = None) -> Scores:
        (query,) = {pair.query for pair in pairs}
        return self._model.score(query, [pair.document for pair in pairs], options=options)


@pytest.mark.parametrize("together", [False, True])
def test_the_rows_of_a_file_come_best_first(scorer: Any, overlap: OverlapModel, tmp_path: Path, together: bool) -> None:
    source = tmp_path / "a.jsonl"
    rows = [{"id": index, "query": QUERY, "document": text} for index, text in enumerate(TEXTS)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))

    score_files(source, tmp_path / "out", Pairs(overlap) if together else scorer, Job(rerank=True, top_n=4))

    found = [json.loads(line) for line in (tmp_path / "out" / "a.jsonl").read_text().splitlines()]
    assert [row["id"] for row in found] == BEST_FIRST[:4]
    assert [row["score"] for row in found] == [1.0] * 4
    assert [row["rank"] for row in found] == [1, 2, 3, 4]


def test_a_server_that_gives_no_logits_still_ranks(url: str, script: Any) -> None:
    """One of before, or another: then the scores are all there is."""
    results = [{"index": index, "relevance_score": score} for index, score in enumerate([0.1, 0.9])]
    answer = {"model": "m", "usage": {"total_tokens": 1, "truncated": 0}, "results": results}
    script.append((200, {}, json.dumps(answer).encode()))

    with HTTPScorer(url) as scorer:
        assert [one.index for one in rerank(scorer, QUERY, TEXTS[:2])] == [1, 0]
