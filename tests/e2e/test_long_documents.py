"""Long documents scored whole: over HTTP, in LangChain and in LlamaIndex as in process, with the part that won."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import rerank_core
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode
from rerank_core import ScoreOptions
from rerank_core.testing.contract import DOCUMENTS, LONG_DOCUMENT, QUERY
from rerank_integrations.client import HTTPScorer
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.llama_index import RerankPostprocessor


def test_every_road_scores_a_long_document_whole_and_names_its_part(serving: Callable[..., Any], tiny: Path) -> None:
    options = ScoreOptions(long_documents="chunk", overlap_tokens=16)
    texts = [f"{LONG_DOCUMENT} {number}" for number in range(3)] + [DOCUMENTS[0]]
    model = rerank_core.load(str(tiny), max_length=64, calibration=(2.0, 0.5))
    expected = model.score(QUERY, texts, options=options)
    spans = expected.spans or ()
    documents = [Document(text, metadata={"i": i}) for i, text in enumerate(texts)]
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(i)), score=0.5) for i, text in enumerate(texts)]

    with serving(tiny, RERANK_MAX_LENGTH="64", RERANK_CALIBRATION="2,0.5") as server, HTTPScorer(server.url) as remote:
        assert remote.score(QUERY, texts, options=options) == expected
        for scorer in (remote, model):
            ranked = RerankCompressor(scorer=scorer, options=options).compress_documents(documents, QUERY)
            assert {d.metadata["i"]: d.metadata["relevance_span"] for d in ranked} == dict(
                enumerate(list(span or ()) for span in spans)
            )
            found = RerankPostprocessor(scorer=scorer, options=options).postprocess_nodes(nodes, query_str=QUERY)
            assert {int(n.node.node_id): n.node.metadata["relevance_span"] for n in found} == dict(
                enumerate(list(span or ()) for span in spans)
            )
        about = httpx.get(server.url).json()["model"]

    assert any(span != (0, len(text)) for span, text in zip(spans, texts, strict=True))
    assert about["calibration"] == {"a": 2.0, "b": 0.5}
    assert expected.values != rerank_core.load(str(tiny), max_length=64).score(QUERY, texts, options=options).values


def test_a_server_may_score_long_documents_whole_unasked(serving: Callable[..., Any], tiny: Path) -> None:
    whole = rerank_core.load(str(tiny), max_length=64, long_documents="chunk")
    with (
        serving(tiny, RERANK_MAX_LENGTH="64", RERANK_LONG_DOCUMENTS="chunk") as server,
        HTTPScorer(server.url) as remote,
    ):
        found = remote.score(QUERY, [LONG_DOCUMENT])
        native = httpx.post(f"{server.url}/rerank", json={"query": QUERY, "passage": LONG_DOCUMENT, "normalize": True})
        cut = remote.score(QUERY, [LONG_DOCUMENT], options=ScoreOptions(long_documents="truncate"))

    assert found == whole.score(QUERY, [LONG_DOCUMENT])
    assert native.json()["score"] == found.values[0]
    assert cut.usage.truncated == 1
    assert found.usage.truncated == 0
