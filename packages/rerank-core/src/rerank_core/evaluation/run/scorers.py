"""From a system to something that scores."""

from __future__ import annotations

from importlib.metadata import entry_points

from rerank_core.checkpoints.sources import DEFAULT_MODEL
from rerank_core.errors import MissingExtra
from rerank_core.evaluation.run.answers import Loaded
from rerank_core.evaluation.run.systems import System
from rerank_core.loading import load
from rerank_core.scorer import Scorer


def open_scorer(system: System) -> tuple[Scorer, Loaded | None]:
    """What scores, and what was loaded for it; a server says that with its answers.

    Raises as ``rerank_core.load``, and ``MissingExtra`` where a server is asked and its client is not installed.
    """
    if system.url is not None:
        return remote(system.url), None
    model = load(
        system.model or DEFAULT_MODEL,
        revision=system.revision,
        device=system.device,
        dtype=system.dtype or "auto",
        max_length=system.max_length,
        threads=system.threads,
    )
    info = model.info
    return model, Loaded(
        model=info.name,
        kind=info.kind,
        engine=info.engine,
        device=info.device,
        dtype=info.dtype,
        max_length=info.max_length,
        fingerprint=model.fingerprint(),
    )


def remote(url: str) -> Scorer:
    """The scorer that another package offers for servers. Raises ``MissingExtra`` where none does."""
    for entry in entry_points(group="rerank.scorers", name="http"):
        scorer: Scorer = entry.load()(url)
        return scorer
    raise MissingExtra("--url needs rerank-integrations: pip install rerank-integrations")
