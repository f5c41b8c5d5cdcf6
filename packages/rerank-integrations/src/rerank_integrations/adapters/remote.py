"""The scorer that asks a server, as adapters make it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from rerank_integrations.adapters.fail_open import OnError
from rerank_integrations.http.scorer import HTTPScorer

Timeout: TypeAlias = float | Literal["auto"] | None
"""Seconds for a whole call; None: without end. ``auto``: 300, and 5 for a search that may go on without scores."""

_SECONDS: dict[OnError, float] = {"raise": 300.0, "passthrough": 5.0}


def remote_scorer(
    url: str | Sequence[str],
    *,
    api_key: str | Callable[[], str] | None = None,
    timeout: Timeout = "auto",
    max_retries: int = 3,
    hedge_after: float | None = None,
    on_error: OnError = "raise",
) -> HTTPScorer:
    """Make a scorer that asks the server at ``url``, or one of several. Arguments and errors: ``HTTPScorer``."""
    seconds = _SECONDS.get(on_error) if timeout == "auto" else timeout
    return HTTPScorer(url, api_key=api_key, timeout=seconds, max_retries=max_retries, hedge_after=hedge_after)
