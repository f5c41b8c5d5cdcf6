"""Measure how the time of a request grows with the number of passages and their length, and what threads bring.

One process for each number of threads, on as many cores; the rounds take turns. Seconds are wall-clock time and process
CPU time. Fails where another number of threads changes a score's bits. See README.md beside this.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from figures import spread
from machine import describe, usable_cores
from markdown_tables import table
from pairs import PairSet, Vocabulary
from results import settings_of, write_results
from systems import DTYPES, packed
from workers import Worker, close_all, say_skipped, start_threads

COUNTS = (1, 2, 5, 10, 20, 50, 100, 200)
LENGTHS = (32, 64, 128, 256, 512)


@dataclass(slots=True, kw_only=True)
class Point:
    """One set of pairs with a number of threads: seconds, one a round.

    ``series``: what grows, ``passages`` or ``tokens``; ``tokens``: of each pair.
    """

    series: str
    threads: int
    passages: int
    tokens: int
    wall_seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    @property
    def wall(self) -> float:
        """Seconds, the median of the rounds."""
        return median(self.wall_seconds)


def pair_sets(vocabulary: Vocabulary, arguments: argparse.Namespace) -> Iterator[tuple[str, int, PairSet]]:
    """Each series' sets, with the tokens of a pair."""
    for count in arguments.passages:
        yield "passages", arguments.length, vocabulary.equal(arguments.length, count)
    for length in arguments.lengths:
        yield "tokens", length, vocabulary.equal(length, max(1, arguments.tokens // length))


def measure(
    workers: Sequence[Worker], sets: Sequence[tuple[str, int, PairSet]], rounds: int
) -> tuple[list[Point], list[str]]:
    """All points, in turns; and whose scores are not those of one thread.

    The first worker has one thread, the next one two, and so on.
    """
    points = [
        Point(series=series, threads=threads, passages=len(pairs.lengths), tokens=tokens)
        for series, tokens, pairs in sets
        for threads in range(1, len(workers) + 1)
    ]
    changed: list[str] = []
    for number in range(rounds):
        following = iter(points)
        for _, _, pairs in sets:
            golden: list[float] | None = None
            for worker in workers:
                point, answer = next(following), worker.ask(query=pairs.query, documents=pairs.documents)
                point.wall_seconds.append(answer["wall"])
                point.cpu_seconds.append(answer["cpu"])
                golden = golden or answer["scores"]
                if answer["scores"] != golden:
                    changed.append(f"{point.passages} pairs of {point.tokens} tokens, {point.threads} threads")
        print(f"round {number + 1}", file=sys.stderr, flush=True)
    return points, changed


def series_table(points: Sequence[Point], series: str) -> str:
    """A row for each set, with the seconds of every number of threads."""
    own = [point for point in points if point.series == series]
    threads = sorted({point.threads for point in own})
    by_set = [own[start : start + len(threads)] for start in range(0, len(own), len(threads))]
    rows = [
        [
            str(found[0].passages),
            str(found[0].tokens),
            *(f"{point.wall:.4f} ({spread(point.wall_seconds):.0%})" for point in found),
            f"{found[0].wall / found[0].passages * 1000:.2f}",
            *(f"{found[0].wall / point.wall:.2f}" for point in found[1:]),
        ]
        for found in by_set
    ]
    columns = [
        *("passages", "tokens of a pair"),
        *(f"s, {count} {'thread' if count == 1 else 'threads'} (spread)" for count in threads),
        "ms a passage, 1 thread",
        *(f"{count} threads are so many times as fast" for count in threads[1:]),
    ]
    return f"### more {series}\n\n{table(columns, rows)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="a cross-encoder's directory")
    parser.add_argument("--dtype", default="float32", choices=DTYPES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--passages", type=int, nargs="+", default=COUNTS, help="numbers of them (default: %(default)s)"
    )
    parser.add_argument("--length", type=int, default=128, help="tokens of each of their pairs (default: %(default)s)")
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=LENGTHS, help="tokens of a pair (default: %(default)s)"
    )
    parser.add_argument("--tokens", type=int, default=2048, help="in all, for each length (default: %(default)s)")
    parser.add_argument("--max-length", type=int, default=512, help="tokens of a pair (default: %(default)s)")
    parser.add_argument(
        "--cores", type=int, nargs="+", default=usable_cores()[:2], help="to measure on (default: the first two)"
    )
    parser.add_argument("--json", type=Path, help="write all figures here too")
    arguments = parser.parse_args()

    if len(arguments.cores) < 2:
        say_skipped("two threads", "this machine has one core")
    sets = list(pair_sets(Vocabulary(arguments.checkpoint), arguments))
    with tempfile.TemporaryDirectory() as logs:
        try:
            workers = start_threads(
                packed(arguments.dtype),
                arguments.checkpoint,
                max_length=arguments.max_length,
                cores=arguments.cores,
                logs=Path(logs),
            )
        except RuntimeError as error:
            say_skipped(packed(arguments.dtype), error)
            return 1
        points, changed = measure(workers, sets, arguments.rounds)
        close_all(workers)

    machine = describe()
    head = f"{arguments.checkpoint.resolve().name}: packed engine, {arguments.dtype}, {machine.processor}"
    print(f"{head}, torch {machine.versions['torch']}, {arguments.rounds} rounds\n")
    print("\n\n".join(series_table(points, series) for series in ("passages", "tokens")))
    if arguments.json:
        found = [asdict(point) | {"median_wall_seconds": point.wall} for point in points]
        write_results(arguments.json, machine, settings_of(arguments), points=found)
    for what in changed:
        print(f"scores are not those of one thread: {what}", file=sys.stderr)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
