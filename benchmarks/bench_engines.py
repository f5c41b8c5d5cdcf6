"""Engines and peers on one core: pairs a second, small requests, and the share of the best matrix-product rate.

Every system is a process of its own, pinned to one core, and the rounds are interleaved, so that a drift of the
machine's speed meets them all; figures are medians of process CPU time. See README.md beside this.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine_report import all_figures, machine_line, memory_table, model_line, tables, write_chart
from figures import Run, Timing, products
from machine import describe, usable_cores
from pairs import PairSet, Vocabulary
from peers import REQUIREMENTS, in_float32
from resident import is_counted
from results import settings_of, write_results
from systems import DIFFERENCES, REDUCED, SYSTEMS, product_dtype
from workers import Worker, close_all, start


def measure(
    workers: dict[str, Worker],
    sets: Sequence[PairSet],
    rounds: int,
    *,
    calls: int = 1,
    before: Callable[[], None] = lambda: None,
) -> tuple[Timing, ...]:
    """Interleaved rounds: of every system so many calls, and before them ``before``, for each set."""
    timings = {(system, pairs.name): Timing(system, pairs) for pairs in sets for system in workers}
    golden: dict[str, list[float]] = {}
    for number in range(rounds):
        for pairs in sets:
            for system, worker in workers.items():
                before()
                timing = timings[system, pairs.name]
                for _ in range(calls):
                    answer = worker.ask(query=pairs.query, documents=pairs.documents)
                    scores = golden.setdefault(pairs.name, answer["scores"])
                    timing.seconds.append(answer["cpu"])
                    timing.kernel_seconds.append(answer["kernel"])
                    timing.largest_difference = max(timing.largest_difference, difference(answer["scores"], scores))
                print(f"round {number + 1}: {pairs.name}, {system}: {answer['cpu']:.3f} s", file=sys.stderr, flush=True)
    return tuple(timings.values())


class ProductRates:
    """The rates of the network's own matrix products, in GF/s: by dtype, in the order in which they were measured."""

    def __init__(self, worker: Worker, config: Mapping[str, Any], systems: Iterable[str]) -> None:
        self._worker, self._shapes = worker, products(config)
        self.found: dict[str, list[float]] = {product_dtype(system): [] for system in systems}

    def measure(self) -> None:
        answer = self._worker.ask(products=self._shapes, dtypes=list(self.found))
        for dtype, rate in answer["gflops"].items():
            self.found[dtype].append(rate)


def difference(scores: Sequence[float], golden: Sequence[float]) -> float:
    """The largest, relative to max(1, |score|)."""
    return max(abs(one - other) / max(1.0, abs(other)) for one, other in zip(scores, golden, strict=True))


def complaints(run: Run, wanted: Sequence[str], agree: float) -> list[str]:
    """What is missing, and who differs by more than it may. What a machine may lack may be missing."""
    timings = (*run.timings, *run.small)
    measured = {timing.system for timing in timings}
    dtypes = set(map(product_dtype, measured))
    missing = [
        f"{system} is missing"
        for system in wanted
        if system not in measured | set(REDUCED) and product_dtype(system) in dtypes
    ]
    return missing + [
        f"{timing.system} differs by {timing.largest_difference:.0e} on {timing.pairs.name}"
        for timing in timings
        if not timing.largest_difference <= DIFFERENCES.get(timing.system, agree)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="a cross-encoder's directory")
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS), metavar="SYSTEM")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mixed", type=int, default=50, help="pairs of the mixed set (default: %(default)s)")
    parser.add_argument("--equal", type=int, nargs="*", default=[128, 512], help="lengths of the equal sets")
    parser.add_argument("--tokens", type=int, default=2048, help="tokens of each equal set (default: %(default)s)")
    parser.add_argument("--small", type=int, nargs="*", default=[1, 5, 20], help="pairs of each small request")
    parser.add_argument("--calls", type=int, default=3, help="of a small request a round (default: %(default)s)")
    parser.add_argument("--max-length", type=int, default=512, help="tokens of a pair (default: %(default)s)")
    parser.add_argument("--core", type=int, default=usable_cores()[0], help="to measure on (default: %(default)s)")
    parser.add_argument(
        "--agree",
        type=float,
        metavar="D",
        help="fail where a float32 system is missing or its scores differ by more than D; other dtypes have their own",
    )
    parser.add_argument("--json", type=Path, help="write all figures here too")
    parser.add_argument("--chart", type=Path, help="draw them here, as SVG")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        checkpoint = in_float32(arguments.checkpoint, scratch)
        vocabulary = Vocabulary(checkpoint)
        sets = [vocabulary.mixed(arguments.mixed, arguments.max_length)] if arguments.mixed else []
        sets += [vocabulary.equal(length, max(1, arguments.tokens // length)) for length in arguments.equal]
        small = [vocabulary.small(count) for count in arguments.small]
        config = json.loads((checkpoint / "config.json").read_text())
        workers = start(
            arguments.systems, checkpoint, max_length=arguments.max_length, core=arguments.core, logs=scratch
        )
        if not workers:
            return 1
        memory = (
            {system: worker.ask(memory=True)["memory"] for system, worker in workers.items()} if is_counted() else {}
        )
        rates = ProductRates(next(iter(workers.values())), config, workers)
        timings = measure(workers, sets, arguments.rounds, before=rates.measure)
        run = Run(config, timings, rates.found, measure(workers, small, arguments.rounds, calls=arguments.calls))
        close_all(workers.values())

    name, machine = arguments.checkpoint.resolve().name, describe()
    print(f"{model_line(name, run)}; {machine_line(run, machine)}; {arguments.rounds} rounds\n\n{tables(run)}")
    if memory:
        print(f"\n{memory_table(memory)}")
    if arguments.json:
        settings = settings_of(arguments) | {"threads": 1, "peers": REQUIREMENTS}
        write_results(arguments.json, machine, settings, **all_figures(run), memory_mb=memory)
    if arguments.chart:
        write_chart(arguments.chart, name, run, machine)
    found = [] if arguments.agree is None else complaints(run, arguments.systems, arguments.agree)
    for complaint in found:
        print(complaint, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
