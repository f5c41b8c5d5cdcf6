"""The request that every dialect is translated to."""

from __future__ import annotations

from dataclasses import dataclass

from rerank_core.types import Pair, ScoreOptions


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Pairs to score, and the options; ``model`` is the model that the client has named, if any."""

    pairs: list[Pair]
    options: ScoreOptions
    model: str | None = None
