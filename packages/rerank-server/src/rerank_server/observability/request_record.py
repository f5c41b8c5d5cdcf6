"""The record of one request, from which its metrics, log line and trace are made."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class RequestRecord:
    """One request. Fields that do not apply to it stay 0 or None.

    - ``route``: the path of a known route, or ``other``, so that it may be the label of a metric.
    - ``began``, ``began_at``: its arrival, by ``time.perf_counter`` and in seconds since 1970.
    - ``pairs``, ``characters``: the size of the request; ``cached``: pairs whose scores were in the cache.
    - ``tokens``: those of its distinct sequences; ``truncated``: pairs that were truncated.
    - ``tokenize_seconds``; ``forward_seconds``: the sum of the batches that had work of the request; ``queue_seconds``:
      the remaining time between tokenization and the last batch.
    - ``error``: the code of the error that was answered; ``rejection``: the reason, where the request was rejected or
      given up; ``status``: the HTTP status, 499 for a client that disconnected.
    """

    request_id: str
    method: str
    route: str
    began: float = field(default_factory=time.perf_counter)
    began_at: float = field(default_factory=time.time)
    pairs: int = 0
    characters: int = 0
    cached: int = 0
    tokens: int = 0
    truncated: int = 0
    tokenize_seconds: float = 0.0
    queue_seconds: float = 0.0
    forward_seconds: float = 0.0
    error: str | None = None
    rejection: str | None = None
    status: int = 0
    total_seconds: float = 0.0

    @property
    def is_scoring(self) -> bool:
        """Whether it was a scoring request: all routes for POST are scoring routes."""
        return self.method == "POST" and self.route != "other" and self.status != 405
