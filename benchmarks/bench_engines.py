"""Engines and peers on one core: pairs a second, ratios, and the share of the core's own matrix-product rate.

Every system is a process of its own, pinned to one core, and the rounds are interleaved, so that a drift of the
machine's speed meets them all; figures are medians of process CPU time. See README.md beside this.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from engine_report import all_figures, machine_line, model_line, tables, write_chart
from figures import Run, Timing
from machine import describe, usable_cores
from pairs import PairSet, Vocabulary
from peers import REQUIREMENTS, in_float32
from results import settings_of, write_results
from systems import REDUCED, SYSTEMS
from workers import Worker, close_all, start


def measure(
    workers: dict[str, Worker], sets: Sequence[PairSet], rounds: int
) -> tuple[tuple[Timing, ...], tuple[tuple[float, ...], ...]]:
    """Interleaved rounds. Gives the timings, and each round's matrix-product rates in GF/s."""
    timings = {(system, pairs.name): Timing(system, pairs) for pairs in sets for system in workers}
    rates: list[tuple[float, ...]] = []
    golden: dict[str, list[float]] = {}
    for number in range(rounds):
        found: list[float] = []
        for pairs in sets:
            for system, worker in workers.items():
                found += next(iter(workers.values())).ask(gemm=2)["gflops"]
                answer = worker.ask(query=pairs.query, documents=pairs.documents)
                scores = golden.setdefault(pairs.name, answer["scores"])
                timing = timings[system, pairs.name]
                timing.seconds.append(answer["cpu"])
                timing.kernel_seconds.append(answer["kernel"])
                timing.largest_difference = max(timing.largest_difference, difference(answer["scores"], scores))
                print(f"round {number + 1}: {pairs.name}, {system}: {answer['cpu']:.2f} s", file=sys.stderr, flush=True)
        rates.append(tuple(found))
    return tuple(timings.values()), tuple(rates)


def difference(scores: Sequence[float], golden: Sequence[float]) -> float:
    """The largest, relative to max(1, |score|)."""
    return max(abs(one - other) / max(1.0, abs(other)) for one, other in zip(scores, golden, strict=True))


def complaints(run: Run, wanted: Sequence[str], agree: float) -> list[str]:
    """What is missing, and who differs by more than it may. What a machine may lack may be missing."""
    measured = {timing.system for timing in run.timings}
    missing = [f"{system} is missing" for system in wanted if system not in measured | set(REDUCED)]
    return missing + [
        f"{timing.system} differs by {timing.largest_difference:.0e} on {timing.pairs.name}"
        for timing in run.timings
        if not timing.largest_difference <= REDUCED.get(timing.system, agree)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="a cross-encoder's directory")
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS), metavar="SYSTEM")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mixed", type=int, default=50, help="pairs of the mixed set (default: %(default)s)")
    parser.add_argument("--equal", type=int, nargs="*", default=[128, 512], help="lengths of the equal sets")
    parser.add_argument("--tokens", type=int, default=2048, help="tokens of each equal set (default: %(default)s)")
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
        config = json.loads((checkpoint / "config.json").read_text())
        workers = start(
            arguments.systems, checkpoint, max_length=arguments.max_length, core=arguments.core, logs=scratch
        )
        if not workers:
            return 1
        run = Run(config, *measure(workers, sets, arguments.rounds))
        close_all(workers.values())

    name, machine = arguments.checkpoint.resolve().name, describe()
    print(f"{model_line(name, run)}; {machine_line(run, machine)}; {arguments.rounds} rounds\n\n{tables(run)}")
    if arguments.json:
        settings = settings_of(arguments) | {"threads": 1, "peers": REQUIREMENTS}
        write_results(arguments.json, machine, settings, **all_figures(run))
    if arguments.chart:
        write_chart(arguments.chart, name, run, machine)
    found = [] if arguments.agree is None else complaints(run, arguments.systems, arguments.agree)
    for complaint in found:
        print(complaint, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
