"""A language model takes an instruction by every road, and has the same scores on each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import rerank_core
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode
from rerank_core.testing.contract import DOCUMENTS, QUERY
from rerank_core.testing.language_models import write_tiny_language_model
from rerank_core.types import ScoreOptions
from rerank_integrations.client import HTTPScorer
from rerank_integrations.langchain import RerankCompressor, RerankCrossEncoder
from rerank_integrations.llama_index import RerankPostprocessor

RECIPE = "qwen3-reranker"
OWN, ASKED = "Find pages of an encyclopedia.", "Find timetables, and nothing else."


def by_position(answer: httpx.Response) -> list[float]:
    """The scores of an answer, in the order of the documents."""
    body = answer.raise_for_status().json()
    if "scores" in body:
        return list(body["scores"])
    found = {row["index"]: row.get("relevance_score", row.get("score")) for row in body.get("results") or body["data"]}
    return [found[index] for index in range(len(DOCUMENTS))]


def over_http(url: str, **instruction: Any) -> dict[str, list[float]]:
    """The scores of the server's own paths and of vLLM's."""
    common = {"query": QUERY, "documents": DOCUMENTS, **instruction}
    pairs = [{"query": QUERY, "passage": document} for document in DOCUMENTS]
    return {
        path: by_position(httpx.post(f"{url}{path}", json=body, timeout=60))
        for path, body in {
            "/v1/rerank": common,
            "/vllm/rerank": common,
            "/v1/score": {"queries": QUERY, "documents": DOCUMENTS, **instruction},
            "/rerank/batch": {"pairs": pairs, "normalize": True, **instruction},
        }.items()
    }


def test_every_road_gives_the_scores_of_an_instruction(serving: Callable[..., Any], tmp_path: Path) -> None:
    directory = write_tiny_language_model(tmp_path / "qwen3")
    model = rerank_core.load(str(directory), recipe=RECIPE, instruction=OWN)
    own = list(model.score(QUERY, DOCUMENTS).values)
    asked = list(model.score(QUERY, DOCUMENTS, ScoreOptions(instruction=ASKED)).values)
    documents = [Document(text, metadata={"i": i}) for i, text in enumerate(DOCUMENTS)]
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(i)), score=0.5) for i, text in enumerate(DOCUMENTS)]

    settings = {"RERANK_RECIPE": RECIPE, "RERANK_INSTRUCTION": OWN, "RERANK_CACHE_MB": "1"}
    with serving(directory, **settings) as server, HTTPScorer(server.url) as remote:
        info = httpx.get(f"{server.url}/info").json()
        assert (info["takes_instruction"], info["instruction"], info["recipe"]) == (True, OWN, RECIPE)
        assert OWN in info["example_prompt"]

        for instruction, wanted in ((None, own), (ASKED, asked), (OWN, own)):
            options = ScoreOptions(instruction=instruction)
            assert list(remote.score(QUERY, DOCUMENTS, options).values) == wanted
            named = {} if instruction is None else {"instruct": instruction}
            found = over_http(server.url, **named)
            assert found == dict.fromkeys(found, wanted)
            for scorer in (model, remote):
                ranked = RerankCompressor(scorer=scorer, instruction=instruction).compress_documents(documents, QUERY)
                assert {one.metadata["i"]: one.metadata["relevance_score"] for one in ranked} == dict(enumerate(wanted))
                postprocessor = RerankPostprocessor(scorer=scorer, instruction=instruction)
                best = postprocessor.postprocess_nodes(nodes, query_str=QUERY)
                assert {int(one.node.node_id): one.score for one in best} == dict(enumerate(wanted))
                encoder = RerankCrossEncoder(scorer, instruction=instruction)
                assert encoder.score([(QUERY, text) for text in DOCUMENTS]) == wanted

        endless = {"query": QUERY, "documents": DOCUMENTS, "instruction": "find " * 115}
        refused = httpx.post(f"{server.url}/v1/rerank", json=endless)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "instruction")

    assert len({*own, *asked}) == 2 * len(DOCUMENTS)


def test_an_encoder_that_is_told_an_instruction_is_not_loaded(tiny: Path) -> None:
    with pytest.raises(rerank_core.InvalidRequest, match="takes no instruction"):
        rerank_core.load(str(tiny), instruction=OWN)
