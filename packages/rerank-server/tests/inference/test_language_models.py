"""A language model in the server: its prompt does not change how requests share the tokenizer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import rerank_core
from rerank_core.models.local import LocalModel
from rerank_core.testing.language_models import write_tiny_language_model
from rerank_core.types import Encoding, Pair, ScoreOptions, Scores
from rerank_server.inference.service import Service
from rerank_server.observability.request_record import RequestRecord

RAW = ScoreOptions(raw=True)
CUT = {"truncate": RAW, "windows": ScoreOptions(raw=True, long_documents="chunk", max_chunks=2)}
LONG = [f"{number} {'bear cub bamboo ' * 6000}" for number in range(12)]  # 96,000 characters each


class Watched:
    """A task that notes each call of its tokenizer. The first with a long text waits until the gate is open."""

    def __init__(self, task: Any) -> None:
        self._task = task
        self.gate, self.begun = threading.Event(), threading.Event()
        self.calls: list[tuple[str, int]] = []  # query, characters of the documents

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def before(self, name: str) -> int:
        """Count the calls for large requests before that of another one."""
        queries = [query for query, _ in self.calls]
        return sum(query.startswith("large") for query in queries[: queries.index(name)])

    def encode(self, query: str, documents: Sequence[str], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        self.calls.append((query, sum(map(len, documents))))
        if query.startswith("large"):
            self.begun.set()
            self.gate.wait()
        encodings: list[Encoding] = self._task.encode(query, documents, options, first)
        return encodings


@pytest.fixture(scope="module", params=["qwen3-reranker", "ctxl-rerank-v2"], ids=["query first", "document first"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    directory = write_tiny_language_model(tmp_path_factory.mktemp("models") / "qwen3")
    return rerank_core.load(str(directory), recipe=request.param, device="cpu", max_length=256)


@pytest.fixture
def task(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> Watched:
    watched = Watched(model._task)
    monkeypatch.setattr(model, "_task", watched)
    return watched


@pytest.fixture
async def score(model: LocalModel, task: Watched) -> Iterator[Callable[..., asyncio.Task[Scores]]]:
    service = Service(model, max_pairs=10_000)

    def start(query: str, documents: Sequence[str], options: ScoreOptions = RAW) -> asyncio.Task[Scores]:
        record = RequestRecord(request_id="1", method="POST", route="/v1/rerank")
        pairs = [Pair(query, document) for document in documents]
        return asyncio.create_task(service.score_pairs(pairs, options, seconds=60, record=record))

    yield start
    task.gate.set()
    service.close()


@pytest.mark.parametrize("options", CUT.values(), ids=CUT)
async def test_a_small_request_waits_for_two_long_documents_of_large_ones_and_not_for_all(score, task, options) -> None:
    large = [score(f"large {number}", LONG, options) for number in range(3)]
    await asyncio.to_thread(task.begun.wait)
    small = score("small", ["a bear"])
    await asyncio.sleep(0)  # it asks for its tokens now
    task.gate.set()
    answer = await small
    before = task.before("small")
    await asyncio.gather(*large)

    assert before <= 2
    assert max(characters for _, characters in task.calls) <= max(map(len, LONG)), "a long document is a batch alone"
    assert len(answer) == 1


async def test_a_long_query_is_tokenised_with_few_documents_at_once(score, task) -> None:
    """A prompt may have its query beside each document: then the query is read once with each of them."""
    query = "large " + "bear " * 8000
    large = score(query, ["a bear"] * 50)
    await asyncio.to_thread(task.begun.wait)
    small = score("small", ["a bear"])
    await asyncio.sleep(0)
    task.gate.set()
    await small
    before = task.before("small")
    scores = await large

    assert before <= 2
    assert len(task.calls) > 10
    assert len(set(scores.values)) == 1
