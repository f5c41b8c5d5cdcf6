"""The duration of a batch by its size, as measured recently. Pure: no thread, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

_SMOOTHING = 0.7  # the weight of earlier measurements against the latest one
_REACH = 16  # there is an estimate for batches up to this many times the largest that was measured


@dataclass(slots=True)
class _Measured:
    tokens: float
    seconds: float
    count: int = 1


class Pace:
    """The seconds of a batch as a function of its tokens: a small batch takes more time per token than a large one."""

    def __init__(self) -> None:
        self._by_size: dict[int, _Measured] = {}

    def update(self, tokens: int, seconds: float) -> None:
        """Add the measurement of a batch."""
        size = tokens.bit_length()
        known = self._by_size.get(size)
        if known is None:
            self._by_size[size] = _Measured(tokens, seconds)
            return
        known.count += 1
        weight = (
            _SMOOTHING if known.count > 2 else 0.0
        )  # the first batch of a size also initializes buffers and kernels
        known.tokens = weight * known.tokens + (1 - weight) * tokens
        known.seconds = weight * known.seconds + (1 - weight) * seconds

    def seconds(self, tokens: float) -> float | None:
        """Estimate the seconds of a batch of this size; None where no similar batch was measured."""
        points = sorted((known.tokens, known.seconds) for known in list(self._by_size.values()))
        if not points or tokens > _REACH * points[-1][0]:
            return None
        if tokens <= points[0][0]:
            return points[0][1]
        for (less, quick), (more, slow) in pairwise(points):
            if tokens <= more:
                return quick + (slow - quick) * (tokens - less) / (more - less)
        return points[-1][1] * tokens / points[-1][0]
