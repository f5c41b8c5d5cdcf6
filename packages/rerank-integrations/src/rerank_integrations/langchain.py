"""rerank in LangChain."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any, Self

from rerank_core.errors import InvalidRequest, MissingExtra, RerankError
from rerank_core.inputs import as_list
from rerank_core.pairs import score_pairs
from rerank_core.ranking import rank
from rerank_core.scorer import Scorer
from rerank_core.types import RankedDocument, ScoreOptions, Scores

from rerank_integrations.adapters.fail_open import MARK, FailOpen, OnError
from rerank_integrations.adapters.local import ascore, local_scorer
from rerank_integrations.adapters.options import with_instruction
from rerank_integrations.adapters.remote import Timeout, remote_scorer
from rerank_integrations.http.api_key import VARIABLE
from rerank_integrations.http.scorer import HTTPScorer

try:
    # LangChain imports these, and LangSmith, with the first call: that would hold its event loop for some 0.3 seconds.
    import langchain_core.tracers.context
    import langchain_core.tracers.stdout  # noqa: F401
    from langchain_core.callbacks import AsyncCallbackManager, CallbackManager, Callbacks
    from langchain_core.cross_encoders import BaseCrossEncoder
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.load.serializable import Serializable
    from pydantic import ConfigDict, Field, PrivateAttr, model_validator

    from rerank_integrations.adapters.pickling import reduced
    from rerank_integrations.adapters.saved import SavedScorer, settings_of, with_scorer
except ModuleNotFoundError as missing:
    if missing.name != "langchain_core":
        raise
    raise MissingExtra.needs("LangChain is not installed", "rerank-integrations[langchain]") from missing

_log = logging.getLogger(__name__)


class RerankCompressor(BaseDocumentCompressor, Serializable):
    """Orders retrieved documents by how well they answer the query, best first.

    - ``scorer``: anything that scores; ``from_url`` and ``from_model`` make the usual ones. A dump holds the settings
      that make it again, without a key: that comes from ``RERANK_API_KEY``.
    - ``top_n``: keep so many of the best; None keeps all.
    - ``threshold``: keep what scores at least as much, on the scale of the scores.
    - ``options``: what else may change a score, such as ``ScoreOptions(raw=True)``.
    - ``instruction``: what queries ask for, in words, for a model that takes one; it wins over that of ``options``.
    - ``on_error``: ``"raise"``, or ``"passthrough"`` for a search that must not die with its reranker: then the first
      ``top_n`` documents come back in the retriever's own order, whatever ``threshold`` is, with the error's code in
      ``metadata["rerank_error"]`` and no score. It is logged as a warning once, and once more when it happens after a
      success. A request that the caller must change, such as a text that is too long and may not be cut, is an error
      all the same; a key that is not taken and an address that leads elsewhere are not. After a failure that would cost
      the next search as much time, the scorer is not asked for some seconds; then one search tries it.

    The documents that come back are copies with the score in ``metadata["relevance_score"]``, and with
    ``ScoreOptions(long_documents="chunk")`` the characters of a document that won in ``metadata["relevance_span"]``, as
    ``[start, end]``. With ``ScoreOptions(highlight="sentences")`` its best sentences, best first, are in
    ``metadata["relevance_sentences"]``, as ``[start, end, score]``. Errors are those of ``Scorer.score``.
    Callbacks see a run of their own, with query and documents going in and documents coming out.
    """

    # An error must not show the settings of a scorer, which may hold a key.
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", hide_input_in_errors=True)

    scorer: SavedScorer
    top_n: int | None = Field(default=None, ge=1)
    threshold: float | None = None
    options: ScoreOptions | None = None
    instruction: str | None = None
    on_error: OnError = "raise"
    _fail_open: FailOpen = PrivateAttr(default_factory=FailOpen)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, fields: Any) -> Any:
        return with_scorer(cls, fields)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled with its scorer."""
        return reduced(self)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """See ``Serializable``: ``dumpd`` and ``load`` work."""
        return True

    @property
    def lc_secrets(self) -> dict[str, str]:
        """See ``Serializable``: a key that was given is named in a dump, and not shown."""
        return {"api_key": VARIABLE}

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """See ``Serializable``: the fields of which a dump holds something else."""
        attributes: dict[str, Any] = {"scorer": settings_of(self.scorer) or self.scorer}
        if self.options is not None:
            default = ScoreOptions()
            given = asdict(self.options).items()
            attributes["options"] = {name: value for name, value in given if value != getattr(default, name)}
        if isinstance(self.scorer, HTTPScorer) and self.scorer.has_key:
            attributes["api_key"] = VARIABLE  # in a dump it is the name of the secret
        return attributes

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
        on_error: OnError = "raise",
    ) -> Self:
        """Ask the rerank-server at ``url``, or one of several: see ``HTTPScorer``.

        ``timeout`` is 300 seconds by default, and 5 where ``on_error`` is ``passthrough``.
        """
        scorer = remote_scorer(
            url,
            api_key=api_key,
            timeout=timeout,
            max_retries=max_retries,
            hedge_after=hedge_after,
            on_error=on_error,
        )
        return cls(
            scorer=scorer,
            top_n=top_n,
            threshold=threshold,
            options=options,
            instruction=instruction,
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
        on_error: OnError = "raise",
        **load_options: Any,
    ) -> Self:
        """Load a model into this process: see ``rerank_core.load``, which takes the other options."""
        scorer = local_scorer(model, **load_options)
        return cls(scorer=scorer, top_n=top_n, threshold=threshold, options=options, on_error=on_error)

    def compress_documents(
        self, documents: Iterable[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Return the best documents, best first. Any iterable of documents is read once."""
        documents = _list(documents)
        if not documents:
            return []
        manager = CallbackManager.configure(callbacks)
        run = manager.on_chain_start(None, _inputs(query, documents), name=type(self).__name__)
        try:
            found = self._compress(documents, query)
        except BaseException as error:
            run.on_chain_error(error)
            raise
        run.on_chain_end({"documents": found})
        return found

    async def acompress_documents(
        self, documents: Iterable[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Return what ``compress_documents`` does, without holding the event loop."""
        documents = _list(documents)
        if not documents:
            return []
        manager = AsyncCallbackManager.configure(callbacks)
        run = await manager.on_chain_start(None, _inputs(query, documents), name=type(self).__name__)
        try:
            found = await self._acompress(documents, query)
        except BaseException as error:
            await run.on_chain_error(error)
            raise
        await run.on_chain_end({"documents": found})
        return found

    @property
    def _options(self) -> ScoreOptions | None:
        """The options with the instruction; what is not returned need not be highlighted."""
        options = with_instruction(self.options, self.instruction)
        return options and options.highlighting(self.top_n, self.threshold)

    def _compress(self, documents: Sequence[Document], query: str) -> list[Document]:
        try:
            with self._fail_open.attempt(self.on_error):
                scores = self.scorer.score(query, _texts(documents), options=self._options)
        except RerankError as error:
            return self._unranked(documents, error)
        return self._best(documents, scores)

    async def _acompress(self, documents: Sequence[Document], query: str) -> list[Document]:
        try:
            with self._fail_open.attempt(self.on_error):
                scores = await ascore(self.scorer, query, _texts(documents), self._options)
        except RerankError as error:
            return self._unranked(documents, error)
        return self._best(documents, scores)

    def _best(self, documents: Sequence[Document], scores: Scores) -> list[Document]:
        ranked = rank(scores, top_n=self.top_n, threshold=self.threshold)
        return [_found(documents[best.index], best) for best in ranked]

    def _unranked(self, documents: Sequence[Document], error: RerankError) -> list[Document]:
        self._fail_open.accept(error, self.on_error, _log)
        return [_marked(document, MARK, error.code) for document in documents[: self.top_n]]


class RerankCrossEncoder(BaseCrossEncoder):
    """Scores pairs of texts, for code that takes LangChain's cross-encoders.

    ``scorer``, ``options`` and ``instruction`` as for ``RerankCompressor``. Some callers, ``CrossEncoderReranker``
    among them, drop the scores: ``RerankCompressor`` keeps them.
    """

    def __init__(self, scorer: Scorer, *, options: ScoreOptions | None = None, instruction: str | None = None) -> None:
        self.scorer = scorer
        self.options = with_instruction(options, instruction)

    def __repr__(self) -> str:
        return f"RerankCrossEncoder({self.scorer!r})"

    @classmethod
    def from_url(
        cls,
        url: str | Sequence[str],
        *,
        api_key: str | Callable[[], str] | None = None,
        timeout: Timeout = "auto",
        max_retries: int = 3,
        hedge_after: float | None = None,
        options: ScoreOptions | None = None,
        instruction: str | None = None,
    ) -> Self:
        """Ask the rerank-server at ``url``, or one of several: see ``HTTPScorer``."""
        scorer = remote_scorer(url, api_key=api_key, timeout=timeout, max_retries=max_retries, hedge_after=hedge_after)
        return cls(scorer, options=options, instruction=instruction)

    @classmethod
    def from_model(cls, model: str, *, options: ScoreOptions | None = None, **load_options: Any) -> Self:
        """Load a model into this process: see ``rerank_core.load``, which takes the other options."""
        return cls(local_scorer(model, **load_options), options=options)

    def score(self, text_pairs: Iterable[Sequence[str]]) -> list[float]:
        """Return one score per (query, document), in their order. Pairs of one query are scored together.

        A pair may be a tuple, a list, or anything else that has two items. Raises ``InvalidRequest`` for what is none.
        """
        return list(score_pairs(self.scorer, text_pairs, self.options).values)


def _found(document: Document, best: RankedDocument) -> Document:
    scored = _marked(document, "relevance_score", best.score)
    if best.span is not None:
        scored = _marked(scored, "relevance_span", list(best.span))
    if best.sentences is not None:
        scored = _marked(scored, "relevance_sentences", [list(sentence) for sentence in best.sentences])
    return scored


def _list(documents: Iterable[Document]) -> list[Document]:
    found = as_list(documents, "documents", "documents")
    for index, document in enumerate(found):
        if not isinstance(document, Document):
            way_out = (
                "Document(page_content=text)" if isinstance(document, str) else "langchain_core.documents.Document"
            )
            raise InvalidRequest(
                f"document {index} is {type(document).__name__}, not a LangChain Document: use {way_out}"
            )
    return found


def _texts(documents: Sequence[Document]) -> list[str]:
    return [document.page_content for document in documents]


def _inputs(query: str, documents: Sequence[Document]) -> dict[str, Any]:
    return {"query": query, "documents": list(documents)}


def _marked(document: Document, name: str, value: object) -> Document:
    """Copy a document with metadata added: the retriever's own stays as it was, and rebuilding it would lose its id."""
    return document.model_copy(update={"metadata": {**document.metadata, name: value}})
