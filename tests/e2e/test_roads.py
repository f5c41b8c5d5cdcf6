"""The same pair has the same score, to the last bit, whichever road it comes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import rerank_core
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode
from rerank_core.testing.contract import DOCUMENTS, LONG_DOCUMENT, QUERY
from rerank_integrations.client import HTTPScorer
from rerank_integrations.langchain import RerankCompressor, RerankCrossEncoder
from rerank_integrations.llama_index import RerankPostprocessor

TEXTS = [*DOCUMENTS, LONG_DOCUMENT, "", "大熊猫 lives in 中国 😀"]


def every_road(url: str, model: rerank_core.Scorer) -> dict[str, dict[int, float]]:
    """Each road's scores, by the document's position."""
    remote = HTTPScorer(url)
    pairs = [{"query": QUERY, "passage": text} for text in TEXTS if text]
    native = httpx.post(f"{url}/rerank/batch", json={"pairs": pairs, "normalize": True}, timeout=60).json()["scores"]
    natives = iter(native)
    roads = {
        "in process": dict(enumerate(model.score(QUERY, TEXTS).values)),
        "over HTTP": dict(enumerate(remote.score(QUERY, TEXTS).values)),
        "one by one over HTTP": {i: remote.score(QUERY, [text]).values[0] for i, text in enumerate(TEXTS)},
        "the documented API": {i: next(natives) for i, text in enumerate(TEXTS) if text},
        "cross-encoder": dict(enumerate(RerankCrossEncoder(remote).score([(QUERY, text) for text in TEXTS]))),
    }
    documents = [Document(text, metadata={"i": i}) for i, text in enumerate(TEXTS)]
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(i)), score=0.5) for i, text in enumerate(TEXTS)]
    for name, scorer in (("remote", remote), ("local", model)):
        ranked = RerankCompressor(scorer=scorer).compress_documents(documents, QUERY)
        roads[f"LangChain, {name}"] = {d.metadata["i"]: d.metadata["relevance_score"] for d in ranked}
        found = RerankPostprocessor(scorer=scorer).postprocess_nodes(nodes, query_str=QUERY)
        roads[f"LlamaIndex, {name}"] = {int(node.node.node_id): float(node.score or 0) for node in found}
    remote.close()
    return roads


def assert_all_equal(roads: dict[str, dict[int, float]]) -> None:
    expected = roads["in process"]
    for road, scores in roads.items():
        assert scores == {i: expected[i] for i in scores}, road
        assert len(scores) >= len(TEXTS) - 1


def test_every_road_gives_the_same_scores(tiny_server: Any, tiny: Path) -> None:
    assert_all_equal(every_road(tiny_server.url, rerank_core.load(str(tiny))))


def test_every_road_gives_the_scores_of_a_trained_model(serving: Callable[..., Any], minilm: Path) -> None:
    with serving(minilm) as server:
        assert_all_equal(every_road(server.url, rerank_core.load(str(minilm))))


@pytest.mark.parametrize("top_n", [1, 3])
async def test_the_asynchronous_roads_agree(tiny_server: Any, tiny: Path, top_n: int) -> None:
    model = rerank_core.load(str(tiny))
    expected = [document.score for document in rerank_core.rerank(model, QUERY, DOCUMENTS, top_n=top_n)]
    documents = [Document(text) for text in DOCUMENTS]
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in DOCUMENTS]

    async with HTTPScorer(tiny_server.url) as remote:
        for scorer in (remote, model):
            compressor = RerankCompressor(scorer=scorer, top_n=top_n)
            ranked = await compressor.acompress_documents(documents, QUERY)
            assert [document.metadata["relevance_score"] for document in ranked] == expected
            postprocessor = RerankPostprocessor(scorer=scorer, top_n=top_n)
            found = await postprocessor.apostprocess_nodes(nodes, query_str=QUERY)
            assert [node.score for node in found] == expected
