"""What became of one request: filled in along its way, read when it has been answered."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Record:
    """One request. Seconds are of ``time.perf_counter``, counts are 0 and words None where nothing came to it.

    - ``route``: the path of a route we have, or ``other``: few enough to be a label.
    - ``began``, ``began_at``: when it came, on that clock and in seconds since 1970.
    - ``pairs``, ``characters``: what was asked for; ``cached``: pairs whose scores were there already.
    - ``tokens``: of its distinct segments; ``truncated``: pairs that were cut.
    - ``tokenize_seconds``; ``forward_seconds``: of the batches that some of it was in; ``queue_seconds``: the rest
      between tokenising and its last batch.
    - ``error``: the code of what was answered instead of scores; ``rejection``: why, where it was turned away or given
      up; ``status``: of HTTP, 499 for a client that left.
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
        """Whether it was a request for scores: whoever takes a POST here gives them."""
        return self.method == "POST" and self.route != "other" and self.status != 405
