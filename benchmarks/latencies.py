"""How long requests took: quantiles, and seconds in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def of_rounds(rounds: Iterable[Sequence[float]], share: float) -> float:
    """The median of the rounds' quantiles."""
    return median(quantile(values, share) for values in rounds)


def milliseconds(seconds: float) -> str:
    """At least two digits of them."""
    value = seconds * 1000
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"
