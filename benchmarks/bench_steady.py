"""Whether a system's memory stays flat: what its process holds while it scores thousands of pairs, all distinct.

See README.md beside this.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from machine import describe, usable_cores
from markdown_tables import line
from pairs import PairSet, Vocabulary
from peers import files_of, interpreter
from resident import is_counted
from results import settings_of, write_results
from systems import SYSTEMS
from workers import Worker, say_skipped


@dataclass(frozen=True, slots=True)
class Sample:
    """What the process holds after so many pairs, in MB (10^6 bytes): all, and its own without mapped files."""

    pairs: int
    rss: float
    anonymous: float


def requests(vocabulary: Vocabulary, pairs: int, size: int, max_length: int) -> Iterator[PairSet]:
    """Mixed sets of at most ``size`` pairs, fresh ones, made when they are asked for."""
    for start in range(0, pairs, size):
        yield vocabulary.mixed(min(size, pairs - start), max_length)


def measure(worker: Worker, asked: Iterator[PairSet], every: int) -> Iterator[Sample]:
    """A sample after every so many pairs, and after the last."""
    done = sampled = 0
    for pairs in asked:
        worker.ask(query=pairs.query, documents=pairs.documents)
        done += len(pairs.documents)
        if done >= sampled + every:
            yield sample(worker, done)
            sampled = done
    if done > sampled:
        yield sample(worker, done)


def sample(worker: Worker, done: int) -> Sample:
    memory = worker.ask(memory=True)["memory"]
    return Sample(done, memory["VmRSS"], memory["RssAnon"])


def growth(before: float, after: float) -> float:
    """In percent."""
    return 100 * (after / before - 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="a cross-encoder's directory")
    parser.add_argument("--system", default="packed", choices=list(SYSTEMS), metavar="SYSTEM")
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--request", type=int, default=100, help="pairs of a request (default: %(default)s)")
    parser.add_argument("--every", type=int, default=500, help="pairs from one line to the next (default: %(default)s)")
    parser.add_argument("--max-length", type=int, default=512, help="tokens of a pair (default: %(default)s)")
    parser.add_argument(
        "--cores", type=int, nargs="+", default=usable_cores()[:1], help="with a thread each (default: the first)"
    )
    parser.add_argument("--json", type=Path, help="write all figures here too")
    arguments = parser.parse_args()

    if not is_counted():
        say_skipped("memory", "this system has no /proc/self/status that counts it")
        return 0
    samples = []
    with tempfile.TemporaryDirectory() as logs:
        try:
            worker = Worker(
                arguments.system,
                files_of(arguments.system, arguments.checkpoint),
                max_length=arguments.max_length,
                cores=arguments.cores,
                log=Path(logs) / "log",
                python=interpreter(arguments.system),
            )
        except RuntimeError as error:
            say_skipped(arguments.system, error)
            return 1
        machine = describe()
        print(f"{arguments.checkpoint.resolve().name}: {arguments.system}, mixed pairs, {machine.processor}\n")
        print("\n".join([line(["pairs", "VmRSS, MB", "RssAnon, MB"]), line(["---:", "---:", "---:"])]), flush=True)
        asked = requests(Vocabulary(arguments.checkpoint), arguments.pairs, arguments.request, arguments.max_length)
        for found in measure(worker, asked, arguments.every):
            print(line([str(found.pairs), f"{found.rss:.1f}", f"{found.anonymous:.1f}"]), flush=True)
            samples.append(found)
        worker.close()

    first, last = samples[0], samples[-1]
    grown = {"rss": growth(first.rss, last.rss), "anonymous": growth(first.anonymous, last.anonymous)}
    print(f"\nAfter the first {first.pairs} pairs: VmRSS {grown['rss']:+.1f} %, RssAnon {grown['anonymous']:+.1f} %")
    if arguments.json:
        write_results(
            arguments.json,
            machine,
            settings_of(arguments),
            samples_mb=[{"pairs": one.pairs, "rss": one.rss, "anonymous": one.anonymous} for one in samples],
            growth_percent=grown,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
