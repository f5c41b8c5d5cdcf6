"""Clocks, ranks and differences."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import torch

PATIENCE = 4.0  # seconds that the repetitions of one measurement may take


def seconds_of(work: Callable[[], object], *, repeats: int = 7) -> float:
    """Return the median wall-clock seconds of ``work``, after two runs that are not counted."""
    for _ in range(2):
        work()
    torch.cuda.synchronize()
    found: list[float] = []
    limit = time.perf_counter() + PATIENCE
    while len(found) < repeats and (not found or time.perf_counter() < limit):
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return median(found)


def largest_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the largest difference, relative to max(1, |score|)."""
    pairs = zip(ours, theirs, strict=True)
    return max(abs(one - other) / max(1.0, abs(other)) for one, other in pairs)


def mean_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the mean absolute difference."""
    return float(np.mean(np.abs(np.array(ours) - np.array(theirs))))


def kendall_tau(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the share of pairs of documents in the same order, less that of those in the other; ties are neither."""
    ours_array, theirs_array = np.array(ours), np.array(theirs)
    product = np.sign(ours_array[:, None] - ours_array) * np.sign(theirs_array[:, None] - theirs_array)
    count = len(ours_array)
    return float(product.sum() / (count * (count - 1)))


def memory_peak() -> float:
    """Return the most memory of the device, in MB of 10^6 bytes, since ``reset_memory_peak``."""
    return torch.cuda.max_memory_allocated() / 1e6


def reset_memory_peak() -> None:
    """Count anew from here."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def milliseconds(seconds: float) -> str:
    """Print seconds as milliseconds."""
    return f"{seconds * 1000:.2f}"
