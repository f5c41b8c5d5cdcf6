"""How long our packed engine takes to its first score, and how much memory it holds: a fresh process for every value.

The file cache is warm, and the checkpoint is taken as it is. See README.md beside this.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TypeAlias

from machine import describe
from markdown_tables import table
from pairs import PairSet, Vocabulary
from resident import FIELDS, is_counted
from results import settings_of, write_results
from systems import DTYPES
from workers import last_words, say_skipped

Values: TypeAlias = dict[str, float]

_PROBE = Path(__file__).parent / "memory_probe.py"


class Probe:
    """One dtype's values of every round: seconds by step, and MB by step and kind."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.seconds: list[Values] = []
        self.memory: list[dict[str, Values]] = []

    def run(self, checkpoint: Path, pairs: PairSet, *, max_length: int, threads: int) -> None:
        """One round. Raises ``RuntimeError`` where the engine refuses."""
        done = subprocess.run(
            [sys.executable, str(_PROBE), str(checkpoint), self.dtype, str(max_length), str(threads)],
            input=json.dumps({"query": pairs.query, "documents": pairs.documents}),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"it ended with status {done.returncode}: {last_words(done.stderr)}")
        answer = json.loads(done.stdout)
        self.seconds.append(answer["seconds"])
        self.memory.append(answer["memory"])

    def median_seconds(self) -> Values:
        return _medians(self.seconds)

    def median_memory(self) -> dict[str, Values]:
        return {step: _medians([found[step] for found in self.memory]) for step in self.memory[0]}


def measure(
    checkpoint: Path, dtypes: Sequence[str], pairs: PairSet, *, rounds: int, max_length: int, threads: int
) -> list[Probe]:
    """Interleaved rounds of what can be run here; what cannot is said, loudly."""
    probes = {dtype: Probe(dtype) for dtype in dtypes}
    for _ in range(rounds):
        for probe in list(probes.values()):
            try:
                probe.run(checkpoint, pairs, max_length=max_length, threads=threads)
            except RuntimeError as error:
                say_skipped(probe.dtype, error)
                del probes[probe.dtype]
    return list(probes.values())


def seconds_table(probes: list[Probe]) -> str:
    """A row for each dtype."""
    steps = list(probes[0].seconds[0])
    rows = [[probe.dtype, *(f"{probe.median_seconds()[step]:.2f}" for step in steps)] for probe in probes]
    return f"### seconds by the wall\n\n{table(['dtype', *steps], rows)}"


def memory_table(probes: list[Probe]) -> str:
    """A row for each dtype and step."""
    rows = [
        [f"{probe.dtype}, after {step}", *(f"{values[field]:.0f}" for field in FIELDS)]
        for probe in probes
        for step, values in probe.median_memory().items()
    ]
    return f"### memory, MB\n\n{table(['', *FIELDS], rows)}"


def warm(checkpoint: Path) -> None:
    """Read every file once, so that no process finds the file cache colder than the next."""
    for path in checkpoint.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(1 << 24):
                    pass


def _medians(rows: list[Values]) -> Values:
    return {name: median(row[name] for row in rows) for name in rows[0]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="a cross-encoder's directory")
    parser.add_argument("--dtype", nargs="+", default=DTYPES, choices=DTYPES, metavar="DTYPE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mixed", type=int, default=50, help="pairs of the mixed set (default: %(default)s)")
    parser.add_argument("--max-length", type=int, default=512, help="tokens of a pair (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write all figures here too")
    arguments = parser.parse_args()

    if not is_counted():
        say_skipped("memory", "this system has no /proc/self/status that counts it")
        return 0
    warm(arguments.checkpoint)
    pairs = Vocabulary(arguments.checkpoint).mixed(arguments.mixed, arguments.max_length)
    probes = measure(
        arguments.checkpoint,
        arguments.dtype,
        pairs,
        rounds=arguments.rounds,
        max_length=arguments.max_length,
        threads=arguments.threads,
    )
    if not probes:
        return 1

    machine = describe()
    head = f"{arguments.checkpoint.resolve().name}: packed engine, threads: {arguments.threads}"
    print(f"{head}, {machine.processor}, torch {machine.versions['torch']}, {arguments.rounds} rounds\n")
    print(f"{seconds_table(probes)}\n\n{memory_table(probes)}")
    if arguments.json:
        figures = [
            {
                "dtype": probe.dtype,
                "seconds": probe.seconds,
                "median_seconds": probe.median_seconds(),
                "memory_mb": probe.memory,
                "median_memory_mb": probe.median_memory(),
            }
            for probe in probes
        ]
        write_results(arguments.json, machine, settings_of(arguments) | {"lengths": pairs.lengths}, figures=figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
