"""A run of all systems, to be read: tables, a chart, and all figures for a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from charts import Caption, Tone
from figures import BASELINE, PACKED, Comparison, Run, Timing
from machine import Machine
from markdown_tables import table
from pairs import PairSet
from resident import FIELDS
from results import write_file
from row_charts import Bars, Panel, Remarks, row_chart
from systems import OURS, PEERS, REDUCED, SYSTEMS


def model_line(checkpoint: str, run: Run) -> str:
    """What was run."""
    return f"{checkpoint}, {run.config['num_hidden_layers']} layers of {run.config['hidden_size']}"


def machine_line(run: Run, machine: Machine) -> str:
    """What it was run on."""
    able = [flag for flag in machine.flags if flag in {"avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "i8mm"}]
    core = f"one core of {machine.processor} ({', '.join(able) or 'no products of small numbers'})"
    rates = ", ".join(f"{dtype} {rate:.0f} GF/s" for dtype, rate in run.best_rates.items())
    return f"{core}, torch {machine.versions['torch']}, best products {rates}"


def tables(run: Run) -> str:
    """A table for each set, and one of small requests; then how many times as fast our engine is as each peer."""
    comparisons = list(run.comparisons())
    rivals = [(one.other, one) for one in comparisons if one.other in PEERS]
    smaller = [(one.system, one) for one in comparisons if one.other == PACKED]
    sets = [*run.sets, *dict.fromkeys(timing.pairs for timing in run.small)]
    return "\n\n".join(
        [
            *(_set_table(run, pairs) for pairs in run.sets),
            *_small_table(run),
            *_ratio_table("packed, in the peer's dtype, is so many times as fast as", rivals, sets),
            *_ratio_table(f"smaller numbers are so many times as fast as {PACKED} in float32", smaller, sets),
        ]
    )


def _small_table(run: Run) -> Iterator[str]:
    """A row for each system, a column for each size; nothing where no small request was measured."""
    columns = [pairs.name for pairs in dict.fromkeys(timing.pairs for timing in run.small)]
    by_system: dict[str, list[str]] = {}
    for timing in run.small:
        by_system.setdefault(timing.system, []).append(f"{timing.median * 1000:.1f} ({timing.spread:.0%})")
    if by_system:
        rows = [[system, *cells] for system, cells in by_system.items()]
        yield f"### small requests: CPU ms (spread), pairs of so many tokens\n\n{table(['system', *columns], rows)}"


def _set_table(run: Run, pairs: PairSet) -> str:
    columns = ["system", "pairs/s", "spread", "against sorted transformers", "share of the product rate"]
    rows = [_cells(run, timing) for timing in run.on(pairs)]
    title = f"### {pairs.name}: {len(pairs.lengths)} pairs, {sum(pairs.lengths)} tokens"
    return f"{title}\n\n{table([*columns, 'largest difference'], rows)}"


def _cells(run: Run, timing: Timing) -> list[str]:
    against = run.against(BASELINE, timing)
    return [
        timing.system,
        f"{timing.pairs_per_second:.3f}",
        f"{timing.spread:.0%}",
        f"{against.ratio:.2f}" if against else "-",
        f"{run.product_share(timing):.0%}",
        f"{timing.largest_difference:.0e}",
    ]


def _ratio_table(title: str, named: Sequence[tuple[str, Comparison]], sets: Sequence[PairSet]) -> Iterator[str]:
    """A row for each name, a column for each set; nothing where nothing was compared."""
    ratios = {(name, one.pairs): f"{one.ratio:.2f}" for name, one in named}
    names = sorted({name for name, _ in named}, key=list(SYSTEMS).index)
    rows = [[name, *(ratios[name, pairs.name] for pairs in sets)] for name in names]
    if rows:
        yield f"### {title}\n\n{table(['system', *(pairs.name for pairs in sets)], rows)}"


def memory_table(memory: Mapping[str, Mapping[str, float]]) -> str:
    """What each system's process held after its first score."""
    columns = ["system", *(f"{field}, GB" for field in FIELDS)]
    rows = [[system, *(f"{held[field] / 1000:.2f}" for field in FIELDS)] for system, held in memory.items()]
    return f"### memory\n\n{table(columns, rows)}"


def write_chart(path: Path, checkpoint: str, run: Run, machine: Machine) -> None:
    """Pairs a second on each set, with the ratios to sorted transformers; as SVG."""
    colours = (
        "Teal: ours; pale: in smaller numbers than float32. " if any(t.system in REDUCED for t in run.timings) else ""
    )
    caption = Caption(
        title=f"Pairs a second: {model_line(checkpoint, run)}",
        subtitle=machine_line(run, machine),
        footnote=f"{colours}×: times as fast as transformers on sorted pairs in batches of 16.",
    )
    by_speed = sorted(run.on(run.sets[0]), key=lambda timing: -timing.pairs_per_second)
    names = tuple(timing.system for timing in by_speed)
    write_file(path, row_chart([_panel(run, pairs, names) for pairs in run.sets], caption))


def _panel(run: Run, pairs: PairSet, names: tuple[str, ...]) -> Panel:
    """One set, with the systems in this order."""
    count = len(pairs.lengths)
    lengths = "mixed lengths" if pairs.name == "mixed" else f"{pairs.name} tokens"
    timings = sorted(run.on(pairs), key=lambda timing: names.index(timing.system))
    speeds = tuple(timing.pairs_per_second for timing in timings)
    bars = Bars("pairs a second", speeds, tuple(map(_three_digits, speeds)))
    against = [run.against(BASELINE, timing) for timing in timings]
    ratios = Remarks("", tuple(f"{one.ratio:.2f}×" if one else "" for one in against))
    title = f"{count} {'pair' if count == 1 else 'pairs'} of {lengths}"
    return Panel(names, tuple(map(_tone, names)), (bars, ratios), title)


def _tone(system: str) -> Tone:
    return Tone.PALE_ACCENT if system in REDUCED else Tone.ACCENT if system in OURS else Tone.GREY


def _three_digits(value: float) -> str:
    """At least three of them: 0.720, 24.0, 1246."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def all_figures(run: Run) -> dict[str, Any]:
    """Every value, and what follows from it."""
    return {
        "network": {name: run.config[name] for name in ("num_hidden_layers", "hidden_size", "intermediate_size")},
        "sets": [{"name": pairs.name, "lengths": pairs.lengths} for pairs in run.sets],
        "product_gflops": {
            dtype: {"rates": rates, "best": max(rates), "median": median(rates)} for dtype, rates in run.rates.items()
        },
        "timings": [_timing_figures(run, timing) for timing in run.timings],
        "small_requests": [_timing_figures(run, timing) for timing in run.small],
        "comparisons": [asdict(one) for one in run.comparisons()],
    }


def _timing_figures(run: Run, timing: Timing) -> dict[str, Any]:
    against = run.against(BASELINE, timing)
    return {
        "system": timing.system,
        "pairs": timing.pairs.name,
        "cpu_seconds": timing.seconds,
        "of_these_in_the_kernel": timing.kernel_seconds,
        "median_cpu_seconds": timing.median,
        "spread": timing.spread,
        "pairs_per_second": timing.pairs_per_second,
        "against_sorted_transformers": against.ratio if against else None,
        "share_of_gemm": run.product_share(timing),
        "largest_difference": timing.largest_difference,
    }
