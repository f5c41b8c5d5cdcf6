"""The sentences and tables with figures in docs/performance.md and README.md, written from the measurements.

A page marks their places with two comments, ``<!-- figures: NAME -->`` and ``<!-- /figures -->``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from markdown_tables import table
from performance_charts import LARGE, PEERS, SMALL, Chart, machine_line, signed
from published import PACKED, Published
from row_charts import Interval
from systems import DTYPES

_BLOCK = re.compile(r"(<!-- figures: ([a-z-]+) -->\n).*?(<!-- /figures -->)", re.DOTALL)


def filled(page: str, blocks: Mapping[str, str]) -> str:
    """A page with its blocks written anew. Raises ``KeyError`` where it names one that there is not."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{blocks[found[2]]}\n\n{found[3]}", page)


def names(page: str) -> list[str]:
    """The blocks of a page."""
    return [found[2] for found in _BLOCK.finditer(page)]


def prose(page: str) -> str:
    """A page without its blocks."""
    return _BLOCK.sub("", page)


def blocks(found: Published, charts: Mapping[str, Chart]) -> dict[str, str]:
    """All blocks, by name."""
    images = {name: f"![{chart.title}](images/{name}.svg)" for name, chart in charts.items()}
    return {
        "machine": _machine(found),
        "speed": f"{images['speed']}\n\n{_against(found)}",
        "growth": f"{images['growth-passages']}\n\n{images['growth-length']}\n\n{_growth(found)}",
        "dtypes": f"{images['dtypes']}\n\n{_dtypes(found)}",
        "readme": _readme(found, charts["speed"]),
    }


def _machine(found: Published) -> str:
    lines = list(
        dict.fromkeys(map(machine_line, (found.large.content, found.large_growth.content, found.quality.content)))
    )
    versions = found.large.content["machine"]["versions"]
    return (
        f"Measured on: {'; '.join(lines)}, transformers {versions['transformers']}, sentence-transformers "
        f"{versions['sentence-transformers']}, {', '.join(_peer_versions(found))}."
    )


def _peer_versions(found: Published) -> list[str]:
    peers = found.large.content["settings"]["peers"]
    firsts = dict.fromkeys(requirements[0] for requirements in peers.values())
    return [re.sub(r"(\[.*\])?==", " ", requirement) for requirement in firsts]


def _against(found: Published) -> str:
    sets = [(found.large, "mixed"), *((found.small, name) for name in found.small.sets)]
    rows = [[name, *(f"{run.against(system, pairs):.2f}" for run, pairs in sets)] for system, name in PEERS.items()]
    columns = [
        "rerank: times as fast as",
        "default shape, mixed",
        *(f"small, {'mixed' if name == 'mixed' else f'all of {name} tokens'}" for name in found.small.sets),
    ]
    share = found.large.share_of_gemm(PACKED)
    return f"""\
{table(columns, rows)}

With the default shape and mixed lengths rerank computes at {share:.0%} of the rate of a `float32` matrix product on \
the same core. A perfect engine would be at 100%."""


def _growth(found: Published) -> str:
    """Write the tables of growth: the counts of the large model, and the largest count of the small one."""
    large, small = found.large_growth, found.small_growth
    by_count = [
        [str(count), *(_three_digits(run.passages(threads).get(count)) for run in (large, small) for threads in (1, 2))]
        for count in (*large.passages(), max(small.passages()))
    ]
    by_length = [
        [str(length), *(_three_digits(run.lengths()[length] * 1000) for run in (large, small))]
        for length in large.lengths()
    ]
    threads = ("1 thread", "2 threads")
    models = ("default shape", "small model")
    columns = [f"passages of {small.length} tokens", *(f"{model}, {each}, s" for model in models for each in threads)]
    return "\n\n".join(
        [
            table(columns, by_count),
            table(["tokens of a passage", *(f"{model}, ms a passage" for model in models)], by_length),
        ]
    )


def _dtypes(found: Published) -> str:
    settings = found.quality.content["settings"]
    rows = [
        [
            f"`{dtype}`",
            *(f"{run.dtype_speed(dtype):.2f}" for run in (found.large, found.small)),
            *(map(_with_interval, (found.quality.mean(dtype), found.quality.worst(dtype)))),
        ]
        for dtype in DTYPES[1:]
    ]
    columns = ["dtype", "speed, default shape", "speed, small model", "nDCG@10, mean", "nDCG@10, worst collection"]
    return f"""\
{table(columns, rows)}

Speed is relative to `float32`, with mixed lengths. nDCG@10 is the change from `float32` with its 95% interval: the \
small model, {len(found.quality.collections)} collections, {settings["queries"]} queries of each, {settings["depth"]} \
candidates a query. Its file is float16, so `float16-weights` round nothing."""


def _readme(found: Published, chart: Chart) -> str:
    run, large, small = found.large, found.large_growth, found.small_growth
    most = max(small.passages())
    threads = small.passages(1)[most] / small.passages(2)[most]
    per_passage = [run.passages()[max(run.passages())] / max(run.passages()) * 1000 for run in (small, large)]
    changes = {dtype: found.quality.mean(dtype) for dtype in ("bfloat16", "int8")}
    cost = " and ".join(signed(change.value) for change in changes.values() if change)
    return f"""\
![{chart.title}](docs/images/speed.svg)

- **{run.against("sentence-transformers"):.1f} times as fast** as sentence-transformers and \
{run.against("FlagEmbedding"):.1f} times as fast as FlagEmbedding, with the same scores (passages of mixed lengths, \
one core, float32).
- **{per_passage[0]:.0f} ms a passage** of {small.length} tokens with {SMALL}, {per_passage[1]:.0f} ms with {LARGE}, \
on one core. Two threads are {threads:.1f} times as fast.
- **bfloat16 is {run.dtype_speed("bfloat16"):.1f} times as fast** as float32 on a processor with AMX, int8 \
{run.dtype_speed("int8"):.1f} times. nDCG@10 of a small trained model changes by {cost} \
([more](docs/performance.md))."""


def _with_interval(change: Interval | None) -> str:
    if change is None:
        return "not measured"
    return f"{signed(change.value)} ({signed(change.low)} to {signed(change.high)})"


def _three_digits(value: float | None) -> str:
    """At least three of them: 0.0218, 4.40, 3,091. A dash where nothing was measured."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"
