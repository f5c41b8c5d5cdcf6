"""How long batches take, as measured of late. Pure: no thread, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

_MEMORY = 0.7  # the weight of what was measured before, beside one further batch
_REACH = 16  # how much larger than any that was measured a batch may be, for an estimate of its seconds


@dataclass(slots=True)
class _Measured:
    tokens: float
    seconds: float
    count: int = 1


class Pace:
    """Seconds of a batch by its tokens: a small one takes more for each token than a large one."""

    def __init__(self) -> None:
        self._by_size: dict[int, _Measured] = {}

    def note(self, tokens: int, seconds: float) -> None:
        """Learn what a batch took."""
        size = tokens.bit_length()
        known = self._by_size.get(size)
        if known is None:
            self._by_size[size] = _Measured(tokens, seconds)
            return
        known.count += 1
        weight = _MEMORY if known.count > 2 else 0.0  # the first of a size sets things up
        known.tokens = weight * known.tokens + (1 - weight) * tokens
        known.seconds = weight * known.seconds + (1 - weight) * seconds

    def seconds(self, tokens: float) -> float | None:
        """Seconds that a batch of so many tokens should take, None where nothing comparable was measured."""
        points = sorted((known.tokens, known.seconds) for known in list(self._by_size.values()))
        if not points or tokens > _REACH * points[-1][0]:
            return None
        if tokens <= points[0][0]:
            return points[0][1]
        for (less, quick), (more, slow) in pairwise(points):
            if tokens <= more:
                return quick + (slow - quick) * (tokens - less) / (more - less)
        return points[-1][1] * tokens / points[-1][0]
