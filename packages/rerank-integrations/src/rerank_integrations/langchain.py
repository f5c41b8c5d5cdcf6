"""rerank in LangChain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from rerank_core.errors import MissingExtra
from rerank_core.ranking import rank
from rerank_core.scorer import Scorer
from rerank_core.types import ScoreOptions, Scores

from rerank_integrations.client import HTTPScorer
from rerank_integrations.local import ascore, local_scorer

try:
    from langchain_core.callbacks import Callbacks
    from langchain_core.cross_encoders import BaseCrossEncoder
    from langchain_core.documents import BaseDocumentCompressor, Document
    from pydantic import ConfigDict, Field
except ModuleNotFoundError as missing:
    if missing.name != "langchain_core":
        raise
    raise MissingExtra("LangChain is not installed: pip install 'rerank-integrations[langchain]'") from missing


class RerankCompressor(BaseDocumentCompressor):
    """Orders retrieved documents by how well they answer the query, best first.

    - ``scorer``: anything that scores; ``from_url`` and ``from_model`` make the usual ones. Never part of a dump.
    - ``top_n``: keep so many of the best; None keeps all.
    - ``threshold``: keep what scores at least as much, on the scale of the scores.
    - ``options``: what else may change a score, such as ``ScoreOptions(raw=True)``.

    The documents that come back are copies with the score in ``metadata["relevance_score"]``. Errors are those of
    ``Scorer.score``.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    scorer: Scorer = Field(exclude=True)
    top_n: int | None = Field(default=None, ge=1)
    threshold: float | None = None
    options: ScoreOptions | None = None

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float | None = 300.0,
        top_n: int | None = None,
        threshold: float | None = None,
        options: ScoreOptions | None = None,
    ) -> Self:
        """Ask the rerank-server at ``url``: see ``HTTPScorer``."""
        scorer = HTTPScorer(url, api_key=api_key, timeout=timeout)
        return cls(scorer=scorer, top_n=top_n, threshold=threshold, options=options)

    @classmethod
    def from_model(
        cls,
        model: str,
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        options: ScoreOptions | None = None,
        **load_options: Any,
    ) -> Self:
        """Load a model into this process: see ``rerank_core.load``, which takes the other options."""
        scorer = local_scorer(model, **load_options)
        return cls(scorer=scorer, top_n=top_n, threshold=threshold, options=options)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """The best documents, best first."""
        if not documents:
            return []
        return self._best(documents, self.scorer.score(query, _texts(documents), options=self.options))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """As ``compress_documents``, without holding the event loop."""
        if not documents:
            return []
        return self._best(documents, await ascore(self.scorer, query, _texts(documents), self.options))

    def _best(self, documents: Sequence[Document], scores: Scores) -> list[Document]:
        ranked = rank(scores, top_n=self.top_n, threshold=self.threshold)
        return [_scored(documents[best.index], best.score) for best in ranked]


class RerankCrossEncoder(BaseCrossEncoder):
    """Scores pairs of texts, for code that takes LangChain's cross-encoders.

    ``scorer`` and ``options`` as for ``RerankCompressor``. Some callers, ``CrossEncoderReranker`` among them, drop
    the scores: ``RerankCompressor`` keeps them.
    """

    def __init__(self, scorer: Scorer, *, options: ScoreOptions | None = None) -> None:
        self.scorer = scorer
        self.options = options

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float | None = 300.0,
        options: ScoreOptions | None = None,
    ) -> Self:
        """Ask the rerank-server at ``url``: see ``HTTPScorer``."""
        return cls(HTTPScorer(url, api_key=api_key, timeout=timeout), options=options)

    @classmethod
    def from_model(cls, model: str, *, options: ScoreOptions | None = None, **load_options: Any) -> Self:
        """Load a model into this process: see ``rerank_core.load``, which takes the other options."""
        return cls(local_scorer(model, **load_options), options=options)

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """One score per (query, document), in their order. Pairs of one query are scored together."""
        positions: dict[str, list[int]] = {}
        for position, (query, _) in enumerate(text_pairs):
            positions.setdefault(query, []).append(position)
        scores = [0.0] * len(text_pairs)
        for query, mine in positions.items():
            documents = [text_pairs[position][1] for position in mine]
            values = self.scorer.score(query, documents, options=self.options).values
            for position, value in zip(mine, values, strict=True):
                scores[position] = value
        return scores


def _texts(documents: Sequence[Document]) -> list[str]:
    return [document.page_content for document in documents]


def _scored(document: Document, score: float) -> Document:
    """A copy, so that the retriever's own document stays as it was; rebuilding it would lose its id."""
    return document.model_copy(update={"metadata": {**document.metadata, "relevance_score": score}})
