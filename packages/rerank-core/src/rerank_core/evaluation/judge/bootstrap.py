"""Confidence intervals of a difference of means."""

from __future__ import annotations

from collections.abc import Sequence

RESAMPLES = 10_000
_AT_ONCE = 1_000_000  # numbers drawn in one array


def paired_interval(
    values: Sequence[float], reference: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Bootstrap the 95 % percentile interval of the mean difference over the queries (Efron and Tibshirani, 1993).

    Paired: each query brings the difference of its own two values. The same values and seed give the same interval.
    Raises ``ValueError`` where there are no values, or not as many of both.
    """
    import numpy as np

    differences = np.array(values, dtype=np.float64) - np.array(reference, dtype=np.float64)
    if not len(differences) or len(values) != len(reference):
        raise ValueError(f"{len(values)} values beside {len(reference)}: they must be pairs, and at least one")
    generator = np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // len(differences))
    means = np.concatenate(
        [
            generator.choice(differences, size=(min(rows, resamples - start), len(differences))).mean(axis=1)
            for start in range(0, resamples, rows)
        ]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
