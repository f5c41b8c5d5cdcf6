"""rerank in LlamaIndex."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from rerank_core.errors import InvalidRequest, MissingExtra, RerankError
from rerank_core.inputs import as_list
from rerank_core.ranking import rank
from rerank_core.scorer import Scorer
from rerank_core.types import ModelInfo, RankedDocument, ScoreOptions, Scores, Sentence, Span

from rerank_integrations.adapters.fail_open import MARK, FailOpen, OnError
from rerank_integrations.adapters.local import ascore, local_scorer
from rerank_integrations.adapters.options import with_instruction
from rerank_integrations.adapters.remote import Timeout, remote_scorer

try:
    from llama_index.core.callbacks import CBEventType, EventPayload
    from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # not in its __all__
    from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
    from pydantic import ConfigDict, Field, PrivateAttr, model_validator

    from rerank_integrations.adapters.own_text import own_span
    from rerank_integrations.adapters.pickling import reduced
    from rerank_integrations.adapters.saved import SavedScorer, with_scorer
except ModuleNotFoundError as missing:
    if missing.name not in ("llama_index", "llama_index.core"):
        raise
    raise MissingExtra.needs("LlamaIndex is not installed", "rerank-integrations[llama-index]") from missing

_RETRIEVAL_SCORE = "retrieval_score"
_RELEVANCE_SPAN = "relevance_span"
_RELEVANCE_SENTENCES = "relevance_sentences"

_log = logging.getLogger(__name__)
_dispatcher = get_dispatcher(__name__)


class RerankPostprocessor(BaseNodePostprocessor):
    """Orders retrieved nodes by how well they answer the query, best first.

    - ``scorer``: anything that scores; ``from_url`` and ``from_model`` make the usual ones. A dump holds the settings
      that make it again, without a key: that comes from ``RERANK_API_KEY``.
    - ``top_n``: keep so many of the best; None keeps all.
    - ``threshold``: keep what scores at least as much, on the scale of the scores.
    - ``options``: what else may change a score, such as ``ScoreOptions(raw=True)``.
    - ``instruction``: what queries ask for, in words, for a model that takes one; it wins over that of ``options``.
    - ``metadata_mode``: which of a node's metadata are read with its text.
    - ``keep_retrieval_score``: keep the retriever's score in ``metadata["retrieval_score"]``, which neither an LLM
      nor an embedding gets to see.
    - ``model_name``: what events call the model; by default the name it has here, or the kind of scorer.
    - ``on_error``: ``"raise"``, or ``"passthrough"`` for a search that must not die with its reranker: then the first
      ``top_n`` nodes come back in the retriever's own order and with its scores, whatever ``threshold`` is, with the
      error's code in ``metadata["rerank_error"]``, which neither an LLM nor an embedding gets to see. It is logged as
      a warning once, and once more when it happens after a success. A request that the caller must change, such as a
      text that is too long and may not be cut, is an error all the same; a key that is not taken and an address that
      leads elsewhere are not. After a failure that would cost the next search as much time, the scorer is not asked for
      some seconds; then one search tries it.

    With ``ScoreOptions(long_documents="chunk")`` the part of a long node that won is in
    ``metadata["relevance_span"]``: ``[start, end]``, characters of the node's own text, whatever metadata was read
    before it; ``[0, 0]`` where only metadata won. With ``ScoreOptions(highlight="sentences")`` its
    best sentences, best first, are in ``metadata["relevance_sentences"]``: ``[start, end, score]``, of the same text;
    those of metadata alone are left out.

    The nodes that come back are new. Raises ``InvalidRequest`` without a query; other errors are those of
    ``Scorer.score``.
    """

    # An error must not show the settings of a scorer, which may hold a key.
    model_config = ConfigDict(extra="forbid", protected_namespaces=(), hide_input_in_errors=True)

    scorer: SavedScorer
    top_n: int | None = Field(default=None, ge=1)
    threshold: float | None = None
    options: ScoreOptions | None = None
    instruction: str | None = None
    metadata_mode: MetadataMode = MetadataMode.EMBED
    keep_retrieval_score: bool = False
    model_name: str | None = None
    on_error: OnError = "raise"
    _fail_open: FailOpen = PrivateAttr(default_factory=FailOpen)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, fields: Any) -> Any:
        return with_scorer(cls, fields)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled with its scorer, and without the callbacks, which belong to one process."""
        return reduced(self, without=["callback_manager"])

    @classmethod
    def class_name(cls) -> str:
        """Return the name in dumps."""
        return "RerankPostprocessor"

    @classmethod
    def from_url(
        cls,
        url: str | Sequence[str],
        *,
        api_key: str | Callable[[], str] | None = None,
        timeout: Timeout = "auto",
        max_retries: int = 3,
        hedge_after: float | None = None,
        top_n: int | None = None,
        threshold: float | None = None,
        options: ScoreOptions | None = None,
        instruction: str | None = None,
        metadata_mode: MetadataMode = MetadataMode.EMBED,
        keep_retrieval_score: bool = False,
        model_name: str | None = None,
        on_error: OnError = "raise",
    ) -> Self:
        """Ask the rerank-server at ``url``, or one of several: see ``HTTPScorer``.

        ``timeout`` is 300 seconds by default, and 5 where ``on_error`` is ``passthrough``.
        """
        return cls(
            scorer=remote_scorer(
                url,
                api_key=api_key,
                timeout=timeout,
                max_retries=max_retries,
                hedge_after=hedge_after,
                on_error=on_error,
            ),
            top_n=top_n,
            threshold=threshold,
            options=options,
            instruction=instruction,
            metadata_mode=metadata_mode,
            keep_retrieval_score=keep_retrieval_score,
            model_name=model_name,
            on_error=on_error,
        )

    @classmethod
    def from_model(
        cls,
        model: str,
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        options: ScoreOptions | None = None,
        metadata_mode: MetadataMode = MetadataMode.EMBED,
        keep_retrieval_score: bool = False,
        model_name: str | None = None,
        on_error: OnError = "raise",
        **load_options: Any,
    ) -> Self:
        """Load a model into this process: see ``rerank_core.load``, which takes the other options."""
        return cls(
            scorer=local_scorer(model, **load_options),
            top_n=top_n,
            threshold=threshold,
            options=options,
            metadata_mode=metadata_mode,
            keep_retrieval_score=keep_retrieval_score,
            model_name=model_name,
            on_error=on_error,
        )

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query, nodes = _query(query_bundle), _list(nodes)
        with self._reported(query, nodes) as best:
            if nodes:
                best.extend(self._rerank(query, nodes))
        return best

    @_dispatcher.span
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query, nodes = _query(query_bundle), _list(nodes)
        with self._reported(query, nodes) as best:
            if nodes:
                best.extend(await self._arerank(query, nodes))
        return best

    def _rerank(self, query: str, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
        texts = self._texts(nodes)
        try:
            with self._fail_open.attempt(self.on_error):
                scores = self.scorer.score(query, texts, options=self._options)
        except RerankError as error:
            return self._unranked(nodes, error)
        return self._best(nodes, scores)

    async def _arerank(self, query: str, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
        texts = self._texts(nodes)
        try:
            with self._fail_open.attempt(self.on_error):
                scores = await ascore(self.scorer, query, texts, self._options)
        except RerankError as error:
            return self._unranked(nodes, error)
        return self._best(nodes, scores)

    @property
    def _options(self) -> ScoreOptions | None:
        """The options with the instruction; what is not returned need not be highlighted."""
        options = with_instruction(self.options, self.instruction)
        return options and options.highlighting(self.top_n, self.threshold)

    def _texts(self, nodes: list[NodeWithScore]) -> list[str]:
        return [node.get_content(metadata_mode=self.metadata_mode) for node in nodes]

    def _best(self, nodes: list[NodeWithScore], scores: Scores) -> list[NodeWithScore]:
        ranked = rank(scores, top_n=self.top_n, threshold=self.threshold)
        return [NodeWithScore(node=self._found(nodes[best.index], best), score=best.score) for best in ranked]

    def _unranked(self, nodes: list[NodeWithScore], error: RerankError) -> list[NodeWithScore]:
        self._fail_open.accept(error, self.on_error, _log)
        return [
            NodeWithScore(node=_noted(self._kept(retrieved), MARK, error.code), score=retrieved.score)
            for retrieved in nodes[: self.top_n]
        ]

    def _found(self, retrieved: NodeWithScore, best: RankedDocument) -> BaseNode:
        kept = self._kept(retrieved)
        span = best.span and own_span(retrieved.node, self.metadata_mode, best.span)
        if span is not None:
            kept = _noted(kept, _RELEVANCE_SPAN, list(span))
        if best.sentences is not None:
            kept = _noted(kept, _RELEVANCE_SENTENCES, self._own_sentences(retrieved.node, best.sentences))
        return kept

    def _own_sentences(self, node: BaseNode, sentences: Sequence[Sentence]) -> list[list[float]]:
        """Return sentences in the characters of the node's own text, without those of its metadata alone."""
        own = [(own_span(node, self.metadata_mode, Span(start, end)), score) for start, end, score in sentences]
        return [[*span, score] for span, score in own if span is not None and span.start < span.end]

    def _kept(self, retrieved: NodeWithScore) -> BaseNode:
        if not self.keep_retrieval_score:
            return retrieved.node
        return _noted(retrieved.node, _RETRIEVAL_SCORE, retrieved.score)

    @contextmanager
    def _reported(self, query: str, nodes: list[NodeWithScore]) -> Iterator[list[NodeWithScore]]:
        """Report to callbacks that reranking begins, and that it ended with the nodes put into the list.

        The end is reported after a failure too, with no nodes.
        """
        found: list[NodeWithScore] = []
        name = self.model_name or _name(self.scorer)
        top_n = self.top_n or len(nodes)
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: top_n,
        }
        _dispatcher.event(ReRankStartEvent(query=query, nodes=nodes, top_n=top_n, model_name=name))
        try:
            with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
                yield found
                event.on_end(payload={EventPayload.NODES: found})
        finally:
            _dispatcher.event(ReRankEndEvent(nodes=found))


def _noted(node: BaseNode, name: str, value: object) -> BaseNode:
    """Copy a node with one more entry in its metadata, which no model reads."""
    return node.model_copy(
        update={
            "metadata": {**node.metadata, name: value},
            "excluded_embed_metadata_keys": [*node.excluded_embed_metadata_keys, name],
            "excluded_llm_metadata_keys": [*node.excluded_llm_metadata_keys, name],
        }
    )


def _list(nodes: Iterable[NodeWithScore]) -> list[NodeWithScore]:
    found = as_list(nodes, "nodes", "NodeWithScore")
    for index, node in enumerate(found):
        if not isinstance(node, NodeWithScore):
            inner = "node" if isinstance(node, BaseNode) else "TextNode(text=text)"
            way_out = f"NodeWithScore(node={inner})"
            raise InvalidRequest(
                f"node {index} is {type(node).__name__}, not a LlamaIndex NodeWithScore: use {way_out}"
            )
    return found


def _query(query_bundle: QueryBundle | None) -> str:
    if query_bundle is None:
        raise InvalidRequest("reranking needs the query: pass query_bundle or query_str")
    if not isinstance(query_bundle, QueryBundle):
        raise InvalidRequest(f"query_bundle is {type(query_bundle).__name__}: pass a text as query_str=")
    return query_bundle.query_str


def _name(scorer: Scorer) -> str:
    info = getattr(scorer, "info", None)
    return info.name if isinstance(info, ModelInfo) else type(scorer).__name__
