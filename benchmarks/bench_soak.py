"""Whether the server's memory stays flat: what its process holds while it answers thousands of small requests.

See README.md beside this.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path

from charts import Caption, Tone
from client import ask_all, connections, rerank
from line_charts import Line, line_chart
from machine import Machine, describe, pin
from markdown_tables import line
from pairs import QUERY_TOKENS, Vocabulary
from resident import is_counted, resident
from results import settings_of, write_file, write_results
from server import add_arguments, check_statuses, serving
from workers import say_skipped

SHORTEST = QUERY_TOKENS + 8  # tokens of a pair


@dataclass(frozen=True, slots=True)
class Sample:
    """What the server holds after so many requests, in MB (10^6 bytes): all, and its own without mapped files."""

    requests: int
    rss: float
    anonymous: float


async def measure(arguments: argparse.Namespace, log: Path) -> AsyncIterator[Sample]:
    """A sample before the first request, after every so many, and after the last; nothing is in flight then."""
    vocabulary, dice = Vocabulary(arguments.checkpoint), random.Random(0)
    longest = min(arguments.length, arguments.max_length)
    with serving(arguments, log) as server:
        yield _sample(server.pid, 0)
        async with connections(server, arguments.clients) as clients:
            for start in range(0, arguments.requests, arguments.every):
                sizes = [dice.randint(1, arguments.pairs) for _ in range(start, _end(arguments, start))]
                lengths = [[dice.randint(SHORTEST, longest) for _ in range(size)] for size in sizes]
                answers = await ask_all(clients, [rerank(vocabulary.pairs("short", tokens)) for tokens in lengths])
                check_statuses([answer.status for answer in answers])
                yield _sample(server.pid, _end(arguments, start))


def _end(arguments: argparse.Namespace, start: int) -> int:
    return int(min(arguments.requests, start + arguments.every))


def _sample(process: int, requests: int) -> Sample:
    memory = resident(process)
    return Sample(requests, memory["VmRSS"], memory["RssAnon"])


def growth(samples: list[Sample]) -> tuple[Sample, dict[str, float]]:
    """The first sample after a tenth of the requests, and in percent how much more the last one is."""
    last = samples[-1]
    first = next(one for one in samples if one.requests >= last.requests / 10)
    return first, {
        "rss": 100 * (last.rss / first.rss - 1),
        "anonymous": 100 * (last.anonymous / first.anonymous - 1),
    }


def write_chart(path: Path, name: str, samples: list[Sample], machine: Machine, footnote: str) -> None:
    """Memory over requests."""
    lines = [
        Line("VmRSS", tuple((one.requests, one.rss) for one in samples), Tone.GREY),
        Line("RssAnon", tuple((one.requests, one.anonymous) for one in samples), Tone.ACCENT),
    ]
    caption = Caption(
        title=f"Memory of the server: {name}",
        subtitle=f"{machine.processor}, torch {machine.versions['torch']}",
        footnote=footnote,
    )
    write_file(path, line_chart(lines, caption, across="requests answered", up="MB"))


async def report(arguments: argparse.Namespace, log: Path) -> list[Sample]:
    """A line as soon as there is one."""
    print("\n".join([line(["requests", "VmRSS, MB", "RssAnon, MB"]), line(["---:", "---:", "---:"])]), flush=True)
    samples = []
    async for found in measure(arguments, log):
        print(line([str(found.requests), f"{found.rss:.1f}", f"{found.anonymous:.1f}"]), flush=True)
        samples.append(found)
    return samples


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--every", type=int, default=500, help="requests from line to line (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=8, help="at once (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=8, help="of a request, at most (default: %(default)s)")
    parser.add_argument("--length", type=int, default=64, help="tokens of a pair, at most (default: %(default)s)")
    parser.add_argument("--chart", type=Path, help="draw it here, as SVG")
    arguments = parser.parse_args()

    if not is_counted():
        say_skipped("memory", "this system has no /proc/self/status that counts it")
        return 0
    pin(tuple(arguments.cores))
    machine, name = describe(), arguments.checkpoint.resolve().name
    kind = f"1 to {arguments.pairs} pairs of {SHORTEST} to {arguments.length} tokens"
    print(f"{name}: server, {arguments.dtype}, requests of {kind}, {machine.processor}\n")
    with tempfile.TemporaryDirectory() as logs:
        try:
            samples = asyncio.run(report(arguments, Path(logs) / "log"))
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1

    first, grown = growth(samples)
    summary = f"After the first {first.requests} requests: VmRSS {grown['rss']:+.1f} %"
    summary += f", RssAnon {grown['anonymous']:+.1f} %"
    print(f"\n{summary}")
    if arguments.json:
        write_results(
            arguments.json,
            machine,
            settings_of(arguments),
            samples_mb=[asdict(one) for one in samples],
            growth_percent=grown,
        )
    if arguments.chart:
        write_chart(arguments.chart, name, samples, machine, f"{summary}. Requests of {kind}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
