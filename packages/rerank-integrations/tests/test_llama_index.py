import pickle
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llama_index.core.instrumentation as instrument
import pytest
from llama_index.core import SummaryIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.llms.mock import MockLLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode
from pydantic import ValidationError
from rerank_core.errors import DeadlineExceeded, InputTooLong, InvalidRequest, Overloaded
from rerank_core.scorer import Scorer
from rerank_core.testing.doubles import FailingScorer, OverlapModel
from rerank_core.types import ScoreOptions
from rerank_integrations.client import HTTPScorer
from rerank_integrations.llama_index import RerankPostprocessor

QUERY = "where does the giant panda live"
TEXTS = {
    "trains": "Trains in Switzerland are known to be punctual.",
    "panda": "The giant panda does live in the mountains of central China.",
    "paris": "Paris is the capital of France, where people live.",
    "bamboo": "A panda eats bamboo, and little else.",
}
BEST_FIRST = ["panda", "paris", "bamboo", "trains"]


class Listener(BaseEventHandler):
    events: list[Any] = []  # noqa: RUF012 (a field of pydantic's)

    def handle(self, event: BaseEvent, **_: Any) -> None:
        if isinstance(event, ReRankStartEvent | ReRankEndEvent):
            self.events.append(event)


@pytest.fixture
def events() -> Iterator[list[Any]]:
    """The rerank events that LlamaIndex told its listeners."""
    listener = Listener()
    root = instrument.root_dispatcher
    root.add_event_handler(listener)
    yield listener.events
    root.event_handlers.remove(listener)


@pytest.fixture
def spans() -> Iterator[SimpleSpanHandler]:
    handler = SimpleSpanHandler()
    root = instrument.root_dispatcher
    root.add_span_handler(handler)
    yield handler
    root.span_handlers.remove(handler)


@pytest.fixture
def nodes() -> list[NodeWithScore]:
    return [
        NodeWithScore(node=TextNode(id_=name, text=text, metadata={"author": "anonymous"}), score=number / 10)
        for number, (name, text) in enumerate(TEXTS.items())
    ]


@pytest.fixture(params=["over HTTP", "in process"])
def scorer(request: pytest.FixtureRequest, url: str, overlap: OverlapModel) -> Iterator[Scorer]:
    with HTTPScorer(url) as http:
        yield http if request.param == "over HTTP" else overlap


def names(nodes: list[NodeWithScore]) -> list[str]:
    return [node.node_id for node in nodes]


async def test_it_orders_what_a_query_engine_reads(nodes: list[NodeWithScore], scorer: Scorer) -> None:
    retriever = SummaryIndex([node.node for node in nodes]).as_retriever()
    engine = RetrieverQueryEngine.from_args(
        retriever, llm=MockLLM(), node_postprocessors=[RerankPostprocessor(scorer=scorer, top_n=2)]
    )

    for response in (engine.query(QUERY), await engine.aquery(QUERY)):
        assert names(response.source_nodes) == BEST_FIRST[:2]
        read = str(response)
        assert 0 < read.index(TEXTS["panda"]) < read.index(TEXTS["paris"])
        assert TEXTS["trains"] not in read


async def test_new_nodes_come_back_and_the_others_stay_as_they_were(
    nodes: list[NodeWithScore], scorer: Scorer, overlap: OverlapModel
) -> None:
    before = [node.model_copy(deep=True) for node in nodes]
    postprocessor = RerankPostprocessor(scorer=scorer, metadata_mode=MetadataMode.NONE, keep_retrieval_score=True)

    found = postprocessor.postprocess_nodes(nodes, query_str=QUERY)

    assert await postprocessor.apostprocess_nodes(nodes, query_str=QUERY) == found
    assert nodes == before
    assert names(found) == BEST_FIRST
    assert [node.score for node in found] == list(overlap.score(QUERY, [TEXTS[name] for name in BEST_FIRST]).values)


def test_the_best_may_be_kept_by_number_or_by_score(nodes: list[NodeWithScore], scorer: Scorer) -> None:
    two = RerankPostprocessor(scorer=scorer, top_n=2)
    above = RerankPostprocessor(scorer=scorer, threshold=1.0, options=ScoreOptions(raw=True))

    assert names(two.postprocess_nodes(nodes, query_str=QUERY)) == BEST_FIRST[:2]
    assert names(above.postprocess_nodes(nodes, query_str=QUERY)) == BEST_FIRST[:2]


@pytest.mark.parametrize("overlap", [OverlapModel(takes_instruction=True)], ids=["takes instructions"])
async def test_an_instruction_is_given_with_every_query(
    nodes: list[NodeWithScore], scorer: Scorer, overlap: OverlapModel
) -> None:
    other = ScoreOptions(raw=True, instruction="another")
    postprocessor = RerankPostprocessor(
        scorer=scorer, options=other, instruction="about trains in Switzerland", top_n=1
    )

    (best,) = postprocessor.postprocess_nodes(nodes, query_str="punctual")

    assert best.node_id == "trains"
    assert await postprocessor.apostprocess_nodes(nodes, query_str="punctual") == [best]
    assert best.score is not None
    assert best.score > 1  # raw, as the other options have it


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (MetadataMode.EMBED, "author: anonymous\n\nA train."),
        (MetadataMode.LLM, "note: punctual\nauthor: anonymous\n\nA train."),
        (MetadataMode.NONE, "A train."),
    ],
)
def test_the_metadata_mode_says_what_is_read(
    url: str, seen: list[dict[str, Any]], mode: MetadataMode, text: str
) -> None:
    node = TextNode(
        text="A train.",
        metadata={"note": "punctual", "author": "anonymous"},
        excluded_embed_metadata_keys=["note"],
    )

    RerankPostprocessor.from_url(url, metadata_mode=mode).postprocess_nodes([NodeWithScore(node=node)], query_str="q")

    assert seen[-1]["body"]["documents"] == [text]


def test_the_retrieval_score_may_be_kept_where_no_model_reads_it(
    nodes: list[NodeWithScore], overlap: OverlapModel
) -> None:
    postprocessor = RerankPostprocessor(scorer=overlap, keep_retrieval_score=True)

    found = postprocessor.postprocess_nodes(nodes, query_str=QUERY)

    assert {node.node_id: node.metadata["retrieval_score"] for node in found} == {
        "trains": 0.0, "panda": 0.1, "paris": 0.2, "bamboo": 0.3
    }  # fmt: skip
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        assert "retrieval_score" not in found[0].get_content(mode)
    assert postprocessor.postprocess_nodes(found, query_str=QUERY)[0].score == found[0].score


async def test_start_and_end_are_told_in_pairs(
    nodes: list[NodeWithScore], overlap: OverlapModel, events: list[Any]
) -> None:
    postprocessor = RerankPostprocessor(scorer=overlap)

    found = postprocessor.postprocess_nodes(nodes, query_str=QUERY)
    await postprocessor.apostprocess_nodes(nodes, query_str=QUERY)

    assert [type(event) for event in events] == [ReRankStartEvent, ReRankEndEvent] * 2
    start, end, *_ = events
    assert (start.query, start.nodes, start.top_n, start.model_name) == (QUERY, nodes, len(nodes), "overlap")
    assert end.nodes == found


@pytest.mark.parametrize("given", ["a failing scorer", "no nodes"])
async def test_an_end_is_told_where_there_is_nothing_to_show(
    nodes: list[NodeWithScore], events: list[Any], given: str
) -> None:
    postprocessor = RerankPostprocessor(scorer=FailingScorer(Overloaded("no room")), top_n=3, model_name="mine")
    if given == "no nodes":
        assert postprocessor.postprocess_nodes([], query_str=QUERY) == []
        assert await postprocessor.apostprocess_nodes([], query_str=QUERY) == []
    else:
        with pytest.raises(Overloaded, match="no room"):
            postprocessor.postprocess_nodes(nodes, query_str=QUERY)
        with pytest.raises(Overloaded, match="no room"):
            await postprocessor.apostprocess_nodes(nodes, query_str=QUERY)

    assert [type(event) for event in events] == [ReRankStartEvent, ReRankEndEvent] * 2
    assert [event.nodes for event in events[1::2]] == [[], []]
    assert (events[0].top_n, events[0].model_name) == (3, "mine")


async def test_a_missing_query_is_refused_and_no_event_is_told(
    nodes: list[NodeWithScore], overlap: OverlapModel, events: list[Any]
) -> None:
    postprocessor = RerankPostprocessor(scorer=overlap)

    for given in (nodes, []):
        with pytest.raises(InvalidRequest, match="needs the query"):
            postprocessor.postprocess_nodes(given)
        with pytest.raises(InvalidRequest, match="needs the query"):
            await postprocessor.apostprocess_nodes(given)
    assert events == []


async def test_both_roads_have_one_span_each(
    nodes: list[NodeWithScore], overlap: OverlapModel, spans: SimpleSpanHandler
) -> None:
    postprocessor = RerankPostprocessor(scorer=overlap)

    postprocessor.postprocess_nodes(nodes, query_str=QUERY)
    await postprocessor.apostprocess_nodes(nodes, query_str=QUERY)

    assert [span.id_.partition("-")[0] for span in spans.completed_spans] == [
        "RerankPostprocessor._postprocess_nodes",
        "RerankPostprocessor._apostprocess_nodes",
    ]


async def test_callback_handlers_hear_of_it_too(nodes: list[NodeWithScore], overlap: OverlapModel) -> None:
    handler = LlamaDebugHandler(print_trace_on_end=False)
    postprocessor = RerankPostprocessor(scorer=overlap, top_n=2, callback_manager=CallbackManager([handler]))

    found = postprocessor.postprocess_nodes(nodes, QueryBundle(QUERY))
    await postprocessor.apostprocess_nodes(nodes, QueryBundle(QUERY))

    pairs = handler.get_event_pairs(CBEventType.RERANKING)
    assert len(pairs) == 2
    for start, end in pairs:
        assert start.payload == {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: "overlap",
            EventPayload.QUERY_STR: QUERY,
            EventPayload.TOP_K: 2,
        }
        assert end.payload == {EventPayload.NODES: found}


def test_it_survives_pickling_with_its_scorer(url: str, nodes: list[NodeWithScore]) -> None:
    postprocessor = RerankPostprocessor.from_url(url, top_n=2)
    found = postprocessor.postprocess_nodes(nodes, query_str=QUERY)

    again = pickle.loads(pickle.dumps(postprocessor))

    assert again.postprocess_nodes(nodes, query_str=QUERY) == found


async def test_a_model_in_this_process_works_as_well(checkpoint: Path, nodes: list[NodeWithScore]) -> None:
    postprocessor = RerankPostprocessor.from_model(str(checkpoint), top_n=3, device="cpu", max_length=64)

    found = postprocessor.postprocess_nodes(nodes, query_str=QUERY)

    assert len(found) == 3
    assert await postprocessor.apostprocess_nodes(nodes, query_str=QUERY) == found


@pytest.mark.parametrize("fields", [{"top_n": 0}, {"topn": 3}, {"scorer": "http://localhost:8000"}])
def test_a_field_that_cannot_be_is_refused_at_once(fields: dict[str, Any], overlap: OverlapModel) -> None:
    with pytest.raises(ValidationError):
        RerankPostprocessor(**{"scorer": overlap, **fields})


def test_it_is_what_llama_index_expects() -> None:
    assert issubclass(RerankPostprocessor, BaseNodePostprocessor)
    assert RerankPostprocessor.class_name() == "RerankPostprocessor"


async def test_a_search_goes_on_without_its_reranker(
    nodes: list[NodeWithScore], closed_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = [node.model_copy(deep=True) for node in nodes]
    postprocessor = RerankPostprocessor.from_url(
        closed_url, max_retries=0, timeout=5, top_n=3, threshold=0.9, on_error="passthrough"
    )

    for found in (
        postprocessor.postprocess_nodes(nodes, query_str=QUERY),
        await postprocessor.apostprocess_nodes(nodes, query_str=QUERY),
    ):
        assert names(found) == list(TEXTS)[:3]
        assert [node.score for node in found] == [node.score for node in before[:3]]
        for node, was in zip(found, before, strict=False):
            assert node.metadata == {**was.metadata, "rerank_error": "unavailable"}
            for mode in (MetadataMode.LLM, MetadataMode.EMBED):
                assert node.get_content(mode) == was.get_content(mode)
    assert nodes == before
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "rerank_integrations.llama_index")
    assert f"{closed_url} cannot be reached" in record.getMessage()


async def test_an_outage_is_logged_once_and_again_after_a_success(
    nodes: list[NodeWithScore], url: str, script: deque[Any], caplog: pytest.LogCaptureFixture
) -> None:
    postprocessor = RerankPostprocessor.from_url(url, max_retries=0, keep_retrieval_score=True, on_error="passthrough")
    for failures in (2, 1):
        script.extend([DeadlineExceeded("no time")] * failures)
        for _ in range(failures):
            (first, *_) = postprocessor.postprocess_nodes(nodes, query_str=QUERY)
            assert first.metadata == {
                "author": "anonymous", "retrieval_score": 0.0, "rerank_error": "deadline_exceeded"
            }  # fmt: skip

        (first, *_) = await postprocessor.apostprocess_nodes(nodes, query_str=QUERY)
        assert first.node_id == "panda"
        assert "rerank_error" not in first.metadata

    assert len(caplog.records) == 2
    assert not any(text in caplog.text for text in [*TEXTS.values(), QUERY])


async def test_a_request_that_cannot_be_is_an_error_all_the_same(nodes: list[NodeWithScore], scorer: Scorer) -> None:
    postprocessor = RerankPostprocessor(scorer=scorer, options=ScoreOptions(truncate=False), on_error="passthrough")
    nodes.append(NodeWithScore(node=TextNode(text="panda " * 100)))

    with pytest.raises(InputTooLong):
        postprocessor.postprocess_nodes(nodes, query_str=QUERY)
    with pytest.raises(InputTooLong):
        await postprocessor.apostprocess_nodes(nodes, query_str=QUERY)
    with pytest.raises(InvalidRequest, match="needs the query"):
        postprocessor.postprocess_nodes(nodes)


async def test_events_show_what_came_back_without_the_reranker(
    nodes: list[NodeWithScore], events: list[Any], spans: SimpleSpanHandler
) -> None:
    handler = LlamaDebugHandler(print_trace_on_end=False)
    postprocessor = RerankPostprocessor(
        scorer=FailingScorer(Overloaded("no room")), on_error="passthrough", callback_manager=CallbackManager([handler])
    )

    found = postprocessor.postprocess_nodes(nodes, query_str=QUERY)
    assert await postprocessor.apostprocess_nodes(nodes, query_str=QUERY) == found

    assert [type(event) for event in events] == [ReRankStartEvent, ReRankEndEvent] * 2
    assert [event.nodes for event in events[1::2]] == [found, found]
    for _, end in handler.get_event_pairs(CBEventType.RERANKING):
        assert end.payload == {EventPayload.NODES: found}
    assert (len(spans.completed_spans), len(spans.dropped_spans)) == (2, 0)


def test_one_of_several_servers_is_enough(nodes: list[NodeWithScore], url: str, closed_url: str) -> None:
    postprocessor = RerankPostprocessor.from_url([closed_url, url], api_key=lambda: "secret", max_retries=0)

    assert names(postprocessor.postprocess_nodes(nodes, query_str=QUERY)) == BEST_FIRST
    assert "secret" not in postprocessor.to_json() + repr(postprocessor)


@pytest.mark.parametrize("given", [iter, tuple, lambda found: (node for node in found)])
async def test_nodes_may_come_from_any_iterable(given: Any, nodes: list[NodeWithScore], overlap: OverlapModel) -> None:
    postprocessor = RerankPostprocessor(scorer=overlap)
    expected = names(postprocessor.postprocess_nodes(nodes, query_str=QUERY))

    assert names(postprocessor.postprocess_nodes(given(nodes), query_str=QUERY)) == expected
    assert names(await postprocessor.apostprocess_nodes(given(nodes), query_str=QUERY)) == expected
    assert postprocessor.postprocess_nodes(given([]), query_str=QUERY) == []


@pytest.mark.parametrize("given", ["text", None, ["text"], {"a": "b"}])
def test_what_are_no_nodes_is_refused_in_words(given: Any, overlap: OverlapModel) -> None:
    with pytest.raises(InvalidRequest, match=r"^node"):
        RerankPostprocessor(scorer=overlap).postprocess_nodes(given, query_str=QUERY)


@pytest.mark.parametrize(
    ("given", "way_out"), [("text", "node=TextNode(text=text)"), (TextNode(text="text"), "node=node")]
)
def test_what_is_no_node_with_score_is_named_with_the_way_out(given: Any, way_out: str, overlap: OverlapModel) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(f"use NodeWithScore({way_out})")):
        RerankPostprocessor(scorer=overlap).postprocess_nodes([given], query_str=QUERY)


def test_a_query_that_is_text_is_named_with_the_argument_for_it(
    nodes: list[NodeWithScore], overlap: OverlapModel
) -> None:
    with pytest.raises(InvalidRequest, match="pass a text as query_str="):
        RerankPostprocessor(scorer=overlap).postprocess_nodes(nodes, QUERY)


def test_options_of_the_client_reach_it() -> None:
    made = RerankPostprocessor.from_url(["http://a", "http://b"], timeout=2.0, max_retries=1, hedge_after=0.5)

    assert made.scorer._options == {"timeout": 2.0, "max_retries": 1, "hedge_after": 0.5}


async def test_the_best_sentences_are_in_the_metadata_of_what_comes_back(scorer: Scorer, overlap: OverlapModel) -> None:
    text = "Trains are fast. The giant panda does live in China. It rains."
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.1), NodeWithScore(node=TextNode(text="no"), score=0.2)]
    postprocessor = RerankPostprocessor(scorer=scorer, options=ScoreOptions(highlight="sentences"), top_n=1)

    (best,) = postprocessor.postprocess_nodes(nodes, query_str=QUERY)

    (again,) = await postprocessor.apostprocess_nodes(nodes, query_str=QUERY)
    sentences = best.node.metadata["relevance_sentences"]
    assert again.node.metadata["relevance_sentences"] == sentences
    found = [text[start:end] for start, end, _ in sentences]
    assert found[0] == "The giant panda does live in China."
    assert [score for *_, score in sentences] == list(overlap.score(QUERY, found))
    assert "relevance_sentences" in best.node.excluded_llm_metadata_keys


def test_sentences_are_those_of_the_nodes_own_text_whatever_metadata_was_read(scorer: Scorer) -> None:
    text = "It rains. The giant panda does live in China."
    node = TextNode(text=text, metadata={"title": "Where does the giant panda live? Here."})
    postprocessor = RerankPostprocessor(scorer=scorer, options=ScoreOptions(highlight="sentences"))

    (best,) = postprocessor.postprocess_nodes([NodeWithScore(node=node, score=0.1)], query_str=QUERY)

    sentences = best.node.metadata["relevance_sentences"]
    assert {text[start:end] for start, end, _ in sentences} <= {"It rains.", "The giant panda does live in China."}
    assert text[slice(*sentences[0][:2])] == "The giant panda does live in China."
