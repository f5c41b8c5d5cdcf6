"""Makes the scorer of a system."""

from __future__ import annotations

from dataclasses import replace

from rerank_core.checkpoints.sources import DEFAULT_MODEL
from rerank_core.evaluation.run.answers import LoadedModel
from rerank_core.evaluation.run.systems import System
from rerank_core.loading import load
from rerank_core.remote import remote_scorer
from rerank_core.scorer import Scorer


def open_scorer(system: System) -> tuple[Scorer, LoadedModel | None]:
    """Make the scorer, and describe what was loaded for it; a server does so with its answers.

    Raises as ``rerank_core.load``, and ``MissingExtra`` where a server is asked and its client is not installed.
    """
    if system.url is not None:
        return remote_scorer(system.url), None
    options = replace(system.load, dtype=system.dtype or system.load.dtype, max_length=system.max_length)
    model = load(system.model or DEFAULT_MODEL, **options.keywords())
    info = model.info
    return model, LoadedModel(
        model=info.name,
        kind=info.kind,
        engine=info.engine,
        device=info.device,
        dtype=info.dtype,
        max_length=info.max_length,
        fingerprint=model.fingerprint(),
    )
