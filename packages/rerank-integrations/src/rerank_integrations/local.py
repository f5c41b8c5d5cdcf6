"""A model in this process, and how to wait for one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from rerank_core.scorer import AsyncScorer, Scorer
from rerank_core.types import ScoreOptions, Scores


def local_scorer(model: str, **load_options: Any) -> Scorer:
    """A model that scores in this process: see ``rerank_core.load``, which takes the options.

    Raises what it raises, ``MissingExtra`` among them where nothing is installed that runs a model.
    """
    # Here, so that whoever scores over HTTP never comes near what runs a model.
    from rerank_core.loading import load

    return load(model, **load_options)


async def ascore(scorer: Scorer, query: str, documents: Sequence[str], options: ScoreOptions | None) -> Scores:
    """Any scorer's scores without holding the event loop: a model in this process computes in another thread."""
    if isinstance(scorer, AsyncScorer):
        return await scorer.ascore(query, documents, options=options)
    return await asyncio.to_thread(scorer.score, query, documents, options=options)
