"""A served language model computes a query once for all its documents, and no score shows it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import rerank_core
from rerank_core.testing.language_models import write_tiny_language_model
from rerank_core.types import Pair, ScoreOptions

RECIPE = "qwen3-reranker"
QUERIES = [f"What is a giant panda? {number}" for number in range(3)]
DOCUMENTS = [f"{number} The giant panda eats bamboo. " * (1 + number % 7) for number in range(60)]  # several batches


def test_requests_at_the_same_time_have_the_scores_of_each_pair_alone(
    serving: Callable[..., Any], tmp_path: Path
) -> None:
    directory = write_tiny_language_model(tmp_path / "qwen3")
    model = rerank_core.load(str(directory), recipe=RECIPE, threads=1)
    alone = {
        query: [model.score(query, [document], ScoreOptions(raw=True)).values[0] for document in DOCUMENTS]
        for query in QUERIES
    }

    with serving(directory, RERANK_RECIPE=RECIPE) as server:

        def post(path: str, **body: object) -> Any:
            return httpx.post(f"{server.url}{path}", json=body, timeout=60).raise_for_status().json()

        def scores_of(query: str) -> list[float]:
            answer = post("/v1/rerank", query=query, documents=DOCUMENTS, raw_scores=True)
            results = sorted(answer["results"], key=lambda result: int(result["index"]))
            return [result["relevance_score"] for result in results]

        with ThreadPoolExecutor(len(QUERIES)) as threads:
            together = dict(zip(QUERIES, threads.map(scores_of, QUERIES), strict=True))
        pairs = [Pair(query, document) for document in DOCUMENTS[:20] for query in QUERIES]
        mixed = post(
            "/rerank/batch", pairs=[{"query": query, "passage": text} for query, text in pairs], normalize=False
        )
        computed, read = (metric(server.url, f"rerank_{name}_total") for name in ("tokens", "input_tokens"))

    assert together == alone
    assert mixed["scores"] == [alone[query][DOCUMENTS.index(document)] for query, document in pairs]
    assert computed < 0.7 * read


def metric(url: str, name: str) -> float:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))
