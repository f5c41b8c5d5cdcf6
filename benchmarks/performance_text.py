"""The sentences and tables with figures in README.md and three pages of docs, from the measurements.

A page marks their places with two comments, ``<!-- figures: NAME -->`` and ``<!-- /figures -->``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from markdown_tables import table
from pairs import SHORT
from performance_charts import LARGE, PADDED, SMALL, UNPADDED, Chart, headline, machine_line, signed
from published import PACKED, Engines, LanguageModels, Published
from row_charts import Interval
from systems import DTYPES, packed

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


def blocks(found: Published, amd: Published, charts: Mapping[str, Chart]) -> dict[str, str]:
    """Write all blocks, by name. ``amd``: what was measured on an AMD processor with AVX-512."""
    images = {name: f"![{chart.title}](images/{name}.svg)" for name, chart in charts.items()}
    return {
        "machine": _machine(found),
        "speed": f"{images['speed']}\n\n{_against(found)}",
        "growth": f"{images['growth-passages']}\n\n{images['growth-length']}\n\n{_growth(found)}",
        "dtypes": f"{images['dtypes']}\n\n{_dtypes(found)}",
        "language-models": _language_models(found.language_models),
        "amd-machine": _machine(amd),
        "amd-speed": _against(amd),
        "amd-growth": _growth(amd),
        "amd-dtypes": _dtypes(amd),
        "amd-language-models": _language_models(amd.language_models),
        "readme": _readme(found, amd, charts["speed"]),
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
    measured = {*found.large.peers, *found.small.peers}
    firsts = dict.fromkeys(requirements[0] for peer, requirements in peers.items() if peer in measured)
    return [re.sub(r"(\[.*\])?==", " ", requirement) for requirement in firsts]


def _against(found: Published) -> str:
    """Write the tables of speed: of peers that pad nothing, of those that pad, and of small requests."""
    share = found.large.share_of_gemm(PACKED)
    return "\n\n".join(
        [
            _ratios("rerank, in the same dtype: times as fast as", UNPADDED, found),
            _ratios("the same, of peers that pad batches", PADDED, found),
            *_small_requests(found),
            f"With the default shape and mixed lengths rerank computes at {share:.0%} of the rate of a `float32` "
            "matrix product on the same core. A perfect engine would be at 100%.",
        ]
    )


def _runs(found: Published) -> dict[str, Engines]:
    """All runs of systems, with names for the heads of columns."""
    runs = {"default shape": found.large, "small": found.small}
    return runs | ({"ModernBERT": found.modernbert} if found.modernbert else {})


def _ratios(title: str, peers: Mapping[str, str], found: Published) -> str:
    """A row for each peer that was measured, a column for each set of pairs that all of a run's systems scored."""
    sets = [
        (name, run, pairs)
        for name, run in _runs(found).items()
        for pairs in (run.sets if run is not found.large else ["mixed"])
    ]
    columns = [
        title,
        *(f"{name}, {'mixed' if pairs == 'mixed' else f'all of {pairs} tokens'}" for name, _, pairs in sets),
    ]
    rows = []
    for system, name in peers.items():
        ratios = [f"{run.against(system, pairs):.2f}" if system in run.peers else "-" for _, run, pairs in sets]
        if set(ratios) != {"-"}:
            rows.append([name, *ratios])
    return table(columns, rows)


def _small_requests(found: Published) -> list[str]:
    """Write the table of small requests, where they were measured: with the default shape."""
    run = found.large
    requests = run.small_requests
    names = {packed(dtype): f"rerank `{dtype}`" for dtype in DTYPES} | UNPADDED
    rows = [
        [name, *(_three_digits(run.milliseconds(system, request)) for request in requests)]
        for system, name in names.items()
        if requests and run.milliseconds(system, requests[0]) is not None
    ]
    columns = [f"small requests, default shape: CPU ms of so many pairs of {SHORT} tokens"]
    return [table([*columns, *(request.partition(" ")[0] for request in requests)], rows)] if rows else []


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


def _language_models(run: LanguageModels) -> str:
    names = {
        "the card's code": "the model card's code, `float32`",
        "sentence-transformers": "sentence-transformers, `float32`",
    }
    names |= {f"ours, {dtype}": f"rerank, `{dtype}`" for dtype in DTYPES}
    names |= {f"ours, {dtype}, no shared prefix": f"rerank, `{dtype}`, nothing shared" for dtype in DTYPES}
    seconds = run.seconds()
    card = seconds["the card's code"]
    rows = [
        [names[system], *(f"{_three_digits(value)} ({card[request] / value:.2f})" for request, value in found.items())]
        for system, found in seconds.items()
    ]
    requests = [f"{count} documents of {tokens}" for count, _, tokens in (request.split() for request in card)]
    return f"""\
{table(["CPU s (times as fast as the card's code)", *requests], rows)}

A random network of Qwen3-Reranker-0.6B's shape, on one core ({machine_line(run.content)}). All documents of a request \
share the first {run.shared_tokens} tokens of the prompt."""


def _readme(found: Published, amd: Published, chart: Chart) -> str:
    run, large, small = found.large, found.large_growth, found.small_growth
    most = max(small.passages())
    threads = small.passages(1)[most] / small.passages(2)[most]
    per_passage = [run.passages()[max(run.passages())] / max(run.passages()) * 1000 for run in (small, large)]
    changes = {dtype: found.quality.mean(dtype) for dtype in ("bfloat16", "int8")}
    cost = " and ".join(signed(change.value) for change in changes.values() if change)
    return f"""\
![{chart.title}](docs/images/speed.svg)

- **{headline(run)}**, with the same scores (passages of mixed lengths, one core, float32).\
{_smaller_peers(run)}{_elsewhere(amd.large)}
- **{per_passage[0]:.0f} ms a passage** of {small.length} tokens with {SMALL}, {per_passage[1]:.0f} ms with {LARGE}, \
on one core. Two threads are {threads:.1f} times as fast.
- **bfloat16 is {run.dtype_speed("bfloat16"):.1f} times as fast** as float32 with AMX and the extra `kernels`, int8 \
{run.dtype_speed("int8"):.1f} times. nDCG@10 of a small trained model changes by {cost} \
([more](docs/performance.md))."""


def _smaller_peers(run: Engines) -> str:
    """Compare with the peers in smaller dtypes, where they were measured."""
    peers = [peer for dtype, found in run.dtypes.items() if dtype != "float32" for peer in found]
    said = [f"{run.against(peer):.2f} times as fast as {UNPADDED[peer].replace(',', '')}" for peer in peers]
    return f" In the same smaller dtype it is {' and '.join(said)}." if said else ""


def _elsewhere(run: Engines) -> str:
    """Say what comes out on a processor without AMX."""
    ratios = f"{run.against('sentence-transformers'):.1f} and {run.against('ONNX Runtime, b1'):.2f}"
    return f" On an AMD processor with AVX-512: {ratios} times as fast as sentence-transformers and ONNX Runtime."


def _with_interval(change: Interval | None) -> str:
    if change is None:
        return "not measured"
    return f"{signed(change.value)} ({signed(change.low)} to {signed(change.high)})"


def _three_digits(value: float | None) -> str:
    """At least three of them: 0.0218, 4.40, 3,091. A dash where nothing was measured."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"
