"""The measurements behind docs/performance.md: the benchmarks' own JSON, and the figures that follow from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from row_charts import Interval
from systems import PEERS, packed, product_dtype

FIGURES = Path(__file__).parent.parent / "docs" / "figures"

JSON: TypeAlias = dict[str, Any]

PACKED = packed("float32")


@dataclass(frozen=True, slots=True)
class Engines:
    """A run of ``bench_engines.py``."""

    content: JSON

    @property
    def sets(self) -> dict[str, list[int]]:
        """The pairs' tokens, of each set of pairs."""
        return {one["name"]: one["lengths"] for one in self.content["sets"]}

    def speed(self, system: str, pairs: str = "mixed") -> float:
        """Pairs a second."""
        return float(self._timing(system, pairs)["pairs_per_second"])

    def against(self, system: str, pairs: str = "mixed") -> float:
        """Return how many times as fast our engine is in the same dtype."""
        return self.speed(packed(product_dtype(system)), pairs) / self.speed(system, pairs)

    def dtype_speed(self, dtype: str, pairs: str = "mixed") -> float:
        """Return how many times as fast our engine is as in float32."""
        return self.speed(packed(dtype), pairs) / self.speed(PACKED, pairs)

    def spread(self, system: str, pairs: str = "mixed") -> float:
        """Largest minus smallest time of the rounds, as a share of the median."""
        return float(self._timing(system, pairs)["spread"])

    def share_of_gemm(self, system: str, pairs: str = "mixed") -> float:
        """The nominal operations a second, against the best rate of a float32 matrix product on the same core."""
        return float(self._timing(system, pairs)["share_of_gemm"])

    def difference(self, system: str, pairs: str = "mixed") -> float:
        """The largest difference of a score from our engine's in float32, relative to max(1, |score|)."""
        return float(self._timing(system, pairs)["largest_difference"])

    @property
    def peers(self) -> list[str]:
        """Those that were measured, in the order of ``systems.PEERS``."""
        measured = {one["system"] for one in self.content["timings"]}
        return [peer for peer in PEERS if peer in measured]

    @property
    def dtypes(self) -> dict[str, list[str]]:
        """The peers that were measured, by the dtype of their products."""
        found: dict[str, list[str]] = {}
        for peer in self.peers:
            found.setdefault(product_dtype(peer), []).append(peer)
        return found

    @property
    def small_requests(self) -> list[str]:
        """Their names; none in runs that did not measure them."""
        return list(dict.fromkeys(one["pairs"] for one in self.content.get("small_requests", [])))

    def milliseconds(self, system: str, request: str) -> float | None:
        """The median CPU time of a small request, where it was measured."""
        timings: list[JSON] = self.content.get("small_requests", [])
        found = [one for one in timings if (one["system"], one["pairs"]) == (system, request)]
        return found[0]["median_cpu_seconds"] * 1000 if found else None

    def _timing(self, system: str, pairs: str) -> JSON:
        timings: list[JSON] = self.content["timings"]
        return next(one for one in timings if (one["system"], one["pairs"]) == (system, pairs))


@dataclass(frozen=True, slots=True)
class Growth:
    """A run of ``bench_growth.py``. Times are by the wall."""

    content: JSON

    def passages(self, threads: int = 1) -> dict[int, float]:
        """Seconds, by the number of passages; each has as many tokens."""
        points = self._points("passages", threads)
        return {one["passages"]: one["median_wall_seconds"] for one in points}

    def lengths(self, threads: int = 1) -> dict[int, float]:
        """Seconds of one passage, by the tokens of a pair."""
        points = self._points("tokens", threads)
        return {one["tokens"]: one["median_wall_seconds"] / one["passages"] for one in points}

    @property
    def length(self) -> int:
        """The tokens of each pair where the number of passages grows."""
        return int(self.content["settings"]["length"])

    def _points(self, series: str, threads: int) -> list[JSON]:
        points: list[JSON] = self.content["points"]
        return [one for one in points if (one["series"], one["threads"]) == (series, threads)]


@dataclass(frozen=True, slots=True)
class Quality:
    """A run of ``bench_quality.py``: changes of nDCG@10 against float32."""

    content: JSON

    def mean(self, dtype: str) -> Interval | None:
        """Over all collections; None where this dtype was not measured."""
        return self._summary(dtype, "mean of")

    def worst(self, dtype: str) -> Interval | None:
        """Of the collection that loses most."""
        return self._summary(dtype, "worst:")

    @property
    def collections(self) -> list[str]:
        """Their names."""
        return list(dict.fromkeys(one["collection"] for one in self.content["figures"]))

    def _summary(self, dtype: str, kind: str) -> Interval | None:
        rows: list[JSON] = self.content["summary"]
        found = [one for one in rows if one["dtype"] == dtype and one["collection"].startswith(kind)]
        return Interval(found[0]["change"], *found[0]["interval"]) if found else None


@dataclass(frozen=True, slots=True)
class LanguageModels:
    """A run of ``bench_language_models.py``."""

    content: JSON

    @property
    def shared_tokens(self) -> int:
        """The tokens of the prompt's beginning that are computed once."""
        return int(self.content["shared_tokens"])

    def seconds(self) -> dict[str, dict[str, float]]:
        """Medians, by system and request ("20 x 100": documents and tokens of each)."""
        return {
            system: {request: median(values) for request, values in found.items()}
            for system, found in self.content["seconds"].items()
        }


@dataclass(frozen=True, slots=True)
class Published:
    """All of a processor. *Large* is a random checkpoint of the default model's shape, *small* a trained one (MiniLM).

    ``modernbert``: a random one of ModernBERT-base's shape, where it was measured.
    """

    large: Engines
    small: Engines
    large_growth: Growth
    small_growth: Growth
    quality: Quality
    language_models: LanguageModels
    modernbert: Engines | None = None

    @property
    def machines(self) -> list[JSON]:
        """Name what each was measured on."""
        runs = (self.large, self.small, self.large_growth, self.small_growth, self.quality)
        return [run.content["machine"] for run in runs]


def read(folder: Path = FIGURES) -> Published:
    """Read all files of a folder; that of an AMD processor with AVX-512 is ``FIGURES / "avx512"``."""

    def content(name: str) -> JSON:
        found: JSON = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        return found

    return Published(
        large=Engines(content("engines-large")),
        small=Engines(content("engines-small")),
        large_growth=Growth(content("growth-large")),
        small_growth=Growth(content("growth-small")),
        quality=Quality(content("quality-small")),
        modernbert=Engines(content("engines-modernbert")) if (folder / "engines-modernbert.json").exists() else None,
        language_models=LanguageModels(content("language-models")),
    )
