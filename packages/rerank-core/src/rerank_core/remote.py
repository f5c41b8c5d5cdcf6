"""The scorer for a server's address, which another package brings along."""

from __future__ import annotations

from importlib.metadata import entry_points

from rerank_core.errors import MissingExtra
from rerank_core.scorer import Scorer


def remote_scorer(url: str) -> Scorer:
    """Make a scorer that asks the server at ``url``. Raises ``MissingExtra`` where no package offers one."""
    for entry in entry_points(group="rerank.scorers", name="http"):
        scorer: Scorer = entry.load()(url)
        return scorer
    raise MissingExtra("--url needs rerank-integrations: pip install rerank-integrations")
