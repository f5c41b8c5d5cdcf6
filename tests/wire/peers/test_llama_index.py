"""LlamaIndex, as of llama-index-core 0.14: tests of its postprocessors (cohere-rerank, nvidia-rerank, tei-rerank,
sentence-transformer-rerank), each under llama-index-integrations/postprocessor/*/tests."""

import pytest
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import Document, MetadataMode, NodeWithScore, QueryBundle, TextNode
from rerank_core.testing.doubles import OverlapModel
from rerank_integrations.llama_index import RerankPostprocessor

QUERY = "what use is testing"
TEXTS = ["nothing here", "testing is of use", "what is testing", "last"]


def nodes() -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=text), score=0.5) for text in TEXTS]


def test_it_is_a_node_postprocessor_of_theirs() -> None:
    assert BaseNodePostprocessor.__name__ in [base.__name__ for base in RerankPostprocessor.__mro__]


async def test_one_node_comes_back_with_a_float_and_its_text() -> None:
    postprocessor = RerankPostprocessor(scorer=OverlapModel())
    given = [NodeWithScore(node=Document(text=TEXTS[1]))]

    for found in (
        postprocessor.postprocess_nodes(given, query_str=QUERY),
        await postprocessor.apostprocess_nodes(given, query_str=QUERY),
    ):
        (node,) = found
        assert isinstance(node, NodeWithScore)
        assert isinstance(node.node, Document)
        assert type(node.score) is float
        assert node.node.text == TEXTS[1]


@pytest.mark.parametrize("top_n", [1, 3, 4, 8, None])
def test_so_many_of_the_best_by_descending_score(top_n: int | None) -> None:
    found = RerankPostprocessor(scorer=OverlapModel(), top_n=top_n).postprocess_nodes(nodes(), query_str=QUERY)

    scores = [node.score or 0.0 for node in found]
    assert len(found) == min(top_n or 4, 4)
    assert scores == sorted(scores, reverse=True)
    assert {node.node.get_content() for node in found[:2]} <= {TEXTS[1], TEXTS[2]}


def test_a_query_as_a_bundle_or_as_a_string() -> None:
    postprocessor = RerankPostprocessor(scorer=OverlapModel())

    by_string = postprocessor.postprocess_nodes(nodes(), query_str=QUERY)
    by_bundle = postprocessor.postprocess_nodes(nodes(), QueryBundle(query_str=QUERY))

    assert [node.score for node in by_string] == [node.score for node in by_bundle]


def test_no_nodes_are_no_nodes() -> None:
    assert RerankPostprocessor(scorer=OverlapModel()).postprocess_nodes([], query_str=QUERY) == []


def test_no_query_is_an_error() -> None:
    with pytest.raises(ValueError, match="query"):
        RerankPostprocessor(scorer=OverlapModel()).postprocess_nodes(nodes())


@pytest.mark.parametrize("top_n", [-10, 0])
def test_a_number_of_the_best_below_1_is_refused(top_n: int) -> None:
    with pytest.raises(ValueError, match="top_n"):
        RerankPostprocessor(scorer=OverlapModel(), top_n=top_n)


def test_the_retrievers_score_is_kept_where_asked_for() -> None:
    postprocessor = RerankPostprocessor(scorer=OverlapModel(), keep_retrieval_score=True)

    for node in postprocessor.postprocess_nodes(nodes(), query_str=QUERY):
        assert node.node.metadata["retrieval_score"] == 0.5


def test_each_score_belongs_to_its_own_node() -> None:
    """Scores that are zipped to nodes in another order were a fault of theirs once."""
    found = RerankPostprocessor(scorer=OverlapModel()).postprocess_nodes(nodes()[::-1], query_str=QUERY)

    for node in found:
        assert node.score == OverlapModel().score(QUERY, [node.node.get_content()]).values[0]


def test_metadata_are_read_as_an_embedding_would_unless_told_otherwise() -> None:
    given = [NodeWithScore(node=TextNode(text="last", metadata={"title": QUERY}))]

    (with_title,) = RerankPostprocessor(scorer=OverlapModel()).postprocess_nodes(given, query_str=QUERY)
    (text_only,) = RerankPostprocessor(scorer=OverlapModel(), metadata_mode=MetadataMode.NONE).postprocess_nodes(
        given, query_str=QUERY
    )

    assert (with_title.score or 0) > (text_only.score or 0)


def test_differs_the_nodes_that_came_stay_as_they_were() -> None:
    """Some of theirs write the score into the caller's nodes."""
    given = nodes()

    RerankPostprocessor(scorer=OverlapModel()).postprocess_nodes(given, query_str=QUERY)

    assert [node.score for node in given] == [0.5] * 4
