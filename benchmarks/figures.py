"""What a run of all systems gave, and what follows from it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pairs import PairSet
from systems import PEERS, REDUCED, packed, product_dtype

PACKED = packed("float32")
BASELINE = "transformers, sorted, b16"
GATED = {"modernbert", "new"}  # families whose feed-forward has three products


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
    """All timings, set by set in the order of the systems; ``small``: of small requests.

    ``rates``: of the network's own matrix products, by dtype in the order in which they were measured; in GF/s.
    """

    config: Mapping[str, Any]
    timings: tuple[Timing, ...]
    rates: Mapping[str, Sequence[float]]
    small: tuple[Timing, ...] = ()

    @property
    def sets(self) -> list[PairSet]:
        """In the order in which they were scored."""
        return list(dict.fromkeys(timing.pairs for timing in self.timings))

    @property
    def best_rates(self) -> dict[str, float]:
        """The best rate of each dtype, in GF/s."""
        return {dtype: max(rates) for dtype, rates in self.rates.items()}

    def on(self, pairs: PairSet) -> list[Timing]:
        """Every system on one set."""
        return [timing for timing in (*self.timings, *self.small) if timing.pairs == pairs]

    def product_share(self, timing: Timing) -> float:
        """The nominal operations of real tokens a second, against the best rate of products in the system's dtype."""
        best = self.best_rates[product_dtype(timing.system)]
        return operations(self.config, timing.pairs.lengths) / timing.median / 1e9 / best

    def against(self, other: str, timing: Timing) -> Comparison | None:
        """A timing against another system's on the same set, where that was measured."""
        found = next((one for one in self.on(timing.pairs) if one.system == other), None)
        if found is None:
            return None
        rounds = tuple(theirs / own for theirs, own in zip(found.seconds, timing.seconds, strict=True))
        return Comparison(timing.system, other, timing.pairs.name, found.median / timing.median, rounds)

    def comparisons(self) -> Iterator[Comparison]:
        """Our engine against every peer in the same dtype, and with smaller numbers against itself in float32."""
        for timing in (*self.timings, *self.small):
            rivals = [peer for peer in PEERS if timing.system == packed(product_dtype(peer))]
            others = [PACKED, *rivals] if timing.system in REDUCED else rivals
            yield from filter(None, (self.against(other, timing) for other in others))


def spread(values: Sequence[float]) -> float:
    """Largest minus smallest, as a share of the median."""
    return (max(values) - min(values)) / statistics.median(values)


def products(config: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    """The matrix products of one layer, each by its inputs and outputs."""
    hidden, wide = int(config["hidden_size"]), int(config["intermediate_size"])
    gated = config.get("model_type") in GATED
    return (hidden, 3 * hidden), (hidden, hidden), (hidden, wide * (2 if gated else 1)), (wide, hidden)


def operations(config: Mapping[str, Any], lengths: Sequence[int]) -> float:
    """The nominal operations of all layers over real tokens: products and attention, to tokens that are seen."""
    hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
    of_a_token = sum(inputs * outputs for inputs, outputs in products(config))
    local = list(config.get("layer_types") or ()).count("sliding_attention")
    window = int(config.get("local_attention", 0)) + 1

    def attention(tokens: int) -> int:
        return 4 * hidden * tokens * ((layers - local) * tokens + local * min(tokens, window))

    return float(sum(2 * layers * of_a_token * tokens + attention(tokens) for tokens in lengths))
