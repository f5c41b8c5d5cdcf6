"""What a run of all systems gave, and what follows from it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pairs import PairSet
from systems import REDUCED

PACKED = "packed"
BASELINE = "transformers, sorted, b16"
GATED = {"modernbert", "new"}  # families whose feed-forward has three products
RIVALS = (BASELINE, "sentence-transformers", "FlagEmbedding", "FlagEmbedding, b16", "infinity")


@dataclass(slots=True)
class Timing:
    """One system on one set of pairs.

    ``seconds``: process CPU time, one a round; ``kernel_seconds``: of these, what went into memory that is mapped
    afresh, mostly. ``largest_difference``: of any score from the first system's, relative to max(1, |score|).
    """

    system: str
    pairs: PairSet
    seconds: list[float] = field(default_factory=list)
    kernel_seconds: list[float] = field(default_factory=list)
    largest_difference: float = 0.0

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Largest minus smallest, as a share of the median."""
        return spread(self.seconds)

    @property
    def pairs_per_second(self) -> float:
        return len(self.pairs.lengths) / self.median


@dataclass(frozen=True, slots=True)
class Comparison:
    """One system is ``ratio`` times as fast as another: of the medians, and round by round."""

    system: str
    other: str
    pairs: str
    ratio: float
    rounds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """All timings, set by set in the order of the systems; and each round's matrix-product rates, in GF/s."""

    config: Mapping[str, Any]
    timings: tuple[Timing, ...]
    gemm: tuple[tuple[float, ...], ...]

    @property
    def sets(self) -> list[PairSet]:
        """In the order in which they were scored."""
        return list(dict.fromkeys(timing.pairs for timing in self.timings))

    @property
    def best_gemm(self) -> float:
        """The best rate of all rounds, in GF/s."""
        return max(rate for rates in self.gemm for rate in rates)

    def on(self, pairs: PairSet) -> list[Timing]:
        """Every system on one set."""
        return [timing for timing in self.timings if timing.pairs == pairs]

    def gemm_share(self, timing: Timing) -> float:
        """The nominal operations of real tokens a second, against the best matrix-product rate."""
        return operations(self.config, timing.pairs.lengths) / timing.median / 1e9 / self.best_gemm

    def against(self, other: str, timing: Timing) -> Comparison | None:
        """A timing against another system's on the same set, where that was measured."""
        found = next((one for one in self.on(timing.pairs) if one.system == other), None)
        if found is None:
            return None
        rounds = tuple(theirs / own for theirs, own in zip(found.seconds, timing.seconds, strict=True))
        return Comparison(timing.system, other, timing.pairs.name, found.median / timing.median, rounds)

    def comparisons(self) -> Iterator[Comparison]:
        """Our engine against every rival, and with smaller numbers against itself."""
        for timing in self.timings:
            others = RIVALS if timing.system == PACKED else (PACKED,) if timing.system in REDUCED else ()
            yield from filter(None, (self.against(other, timing) for other in others))


def spread(values: Sequence[float]) -> float:
    """Largest minus smallest, as a share of the median."""
    return (max(values) - min(values)) / statistics.median(values)


def operations(config: Mapping[str, Any], lengths: Sequence[int]) -> float:
    """The nominal operations of all layers over real tokens: products and attention, to tokens that are seen."""
    hidden, wide, layers = (int(config[name]) for name in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    products = 4 * hidden**2 + (3 if config.get("model_type") in GATED else 2) * hidden * wide
    local = list(config.get("layer_types") or ()).count("sliding_attention")
    window = int(config.get("local_attention", 0)) + 1

    def attention(tokens: int) -> int:
        return 4 * hidden * tokens * ((layers - local) * tokens + local * min(tokens, window))

    return float(sum(2 * layers * products * tokens + attention(tokens) for tokens in lengths))
