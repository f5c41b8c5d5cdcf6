"""Latency under load: requests that arrive when they will, not when the one before is answered.

What the server can do is measured first; then requests arrive at random (Poisson) at fractions of that. Latency counts
from a request's arrival. See README.md beside this.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

from charts import Caption, Tone
from client import Connection, ask_all, connections, rerank, span
from latencies import milliseconds, quantile
from line_charts import Line, line_chart
from machine import Machine, describe, pin
from markdown_tables import table
from pairs import Vocabulary
from results import settings_of, write_file, write_results
from server import Server, add_arguments, check_statuses, serving

STATUSES = (200, 429, 504)
SHARES = (0.5, 0.95, 0.99)
CLIENTS = 8  # to measure what the server can do


@dataclass(frozen=True, slots=True)
class Capacity:
    """Requests a second from several clients at once, and seconds of requests that came alone."""

    requests_per_second: float
    alone_seconds: list[float]


@dataclass(frozen=True, slots=True)
class Load:
    """One rate. ``seconds``: of the requests that were answered 200, from their arrival.

    ``offered``: requests a second as a share of the capacity; ``lasted``: seconds to the last answer.
    """

    offered: float
    lasted: float
    seconds: list[float]
    statuses: dict[int, int]

    def share_of(self, status: int) -> float:
        """Of all answers."""
        return self.statuses.get(status, 0) / sum(self.statuses.values())


class Requests:
    """Fresh ones of 1 to so many mixed documents, all distinct."""

    def __init__(self, vocabulary: Vocabulary, most: int, max_length: int, dice: random.Random) -> None:
        self._vocabulary, self._most, self._max_length, self._dice = vocabulary, most, max_length, dice

    def make(self, count: int) -> list[bytes]:
        sizes = [self._dice.randint(1, self._most) for _ in range(count)]
        return [rerank(self._vocabulary.mixed(size, self._max_length)) for size in sizes]


async def measure_capacity(server: Server, requests: Requests, count: int) -> Capacity:
    async with connections(server, CLIENTS) as clients:
        alone = await ask_all(clients[:1], requests.make(max(1, count // 4)))
        crowded = await ask_all(clients, requests.make(count))
    check_statuses([answer.status for answer in [*alone, *crowded]])
    return Capacity(count / span(crowded), [answer.seconds for answer in alone])


async def measure_load(server: Server, bodies: Sequence[bytes], arrivals: Sequence[float], offered: float) -> Load:
    """``arrivals``: seconds from the start. As many connections as are needed at once."""
    idle: list[Connection] = []
    seconds: list[float] = []
    statuses: Counter[int] = Counter()

    async def ask(body: bytes, arrival: float) -> None:
        client = idle.pop() if idle else Connection(server)
        answer = await client.ask(body)
        idle.append(client)
        statuses[answer.status] += 1
        if answer.status == 200:
            seconds.append(answer.ended - arrival)

    began = perf_counter()
    async with asyncio.TaskGroup() as group:
        for body, after in zip(bodies, arrivals, strict=True):
            await asyncio.sleep(began + after - perf_counter())
            group.create_task(ask(body, began + after))
    lasted = perf_counter() - began
    for client in idle:
        client.close()
    check_statuses(list(statuses), STATUSES)
    return Load(offered, lasted, seconds, dict(statuses))


def poisson(rate: float, duration: float, dice: random.Random) -> list[float]:
    """Moments within so many seconds, at least one."""
    moments = [dice.expovariate(rate)]
    while moments[-1] < duration:
        moments.append(moments[-1] + dice.expovariate(rate))
    return moments[:-1] or [0.0]


async def measure(arguments: argparse.Namespace, logs: Path) -> tuple[Capacity, list[Load]]:
    dice = random.Random(arguments.seed)
    requests = Requests(Vocabulary(arguments.checkpoint), arguments.documents, arguments.max_length, dice)
    settings = {
        "RERANK_MAX_DOCUMENTS": arguments.documents,
        "RERANK_MAX_QUEUE_PAIRS": arguments.queue_pairs,
        "RERANK_TIMEOUT": arguments.timeout,
    }
    with serving(arguments, logs / "server.log", **settings) as server:
        print("measuring: capacity ...", file=sys.stderr, flush=True)
        capacity = await measure_capacity(server, requests, arguments.capacity_requests)
        loads = []
        for offered in arguments.rates:
            arrivals = poisson(offered * capacity.requests_per_second, arguments.duration, dice)
            bodies = requests.make(len(arrivals))
            print(f"measuring: {len(bodies)} requests at {offered:.0%} ...", file=sys.stderr, flush=True)
            loads.append(await measure_load(server, bodies, arrivals, offered))
    return capacity, loads


def load_table(capacity: Capacity, loads: Sequence[Load]) -> str:
    usual = quantile(capacity.alone_seconds, 0.5)
    rows = [
        ["one at a time", "-", str(len(capacity.alone_seconds)), *_latencies(capacity.alone_seconds, usual), "-", "-"]
    ]
    for load in loads:
        count = sum(load.statuses.values())
        refused = [f"{load.share_of(status):.1%}" for status in STATUSES[1:]]
        done = f"{load.statuses.get(200, 0) / load.lasted / capacity.requests_per_second:.0%}"
        rows.append([f"{load.offered:.0%}", done, str(count), *_latencies(load.seconds, usual), *refused])
    columns = ["offered", "scored", "requests", "p50, ms", "p95, ms", "p99, ms", "p50 / one at a time", "429", "504"]
    return table(columns, rows)


def write_chart(path: Path, name: str, capacity: Capacity, loads: Sequence[Load], machine: Machine) -> None:
    """Latency against offered load."""
    tones = (Tone.ACCENT, Tone.PALE_ACCENT, Tone.GREY)
    scored = [load for load in loads if load.seconds]
    lines = [
        Line(
            f"p{share * 100:.0f}",
            tuple((load.offered * 100, quantile(load.seconds, share) * 1000) for load in scored),
            tone,
        )
        for share, tone in zip(SHARES, tones, strict=True)
    ]
    caption = Caption(
        title=f"Latency under load: {name}",
        subtitle=f"{machine.processor}, cores: {len(machine.cores)}, torch {machine.versions['torch']}",
        footnote=f"Random arrivals. 100 % is {capacity.requests_per_second:.3g} requests a second; one at a time, "
        f"half of them take at most {milliseconds(quantile(capacity.alone_seconds, 0.5))} ms.",
    )
    chart = line_chart(lines, caption, across="offered load, % of capacity", up="milliseconds", logarithmic=True)
    write_file(path, chart)


def _latencies(seconds: Sequence[float], usual: float) -> list[str]:
    if not seconds:
        return ["-"] * 4
    return [
        *(milliseconds(quantile(seconds, share)) for share in SHARES),
        f"{quantile(seconds, 0.5) / usual:.2f}",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.3, 0.5, 0.7, 0.9, 1.1], help="of the capacity")
    parser.add_argument("--duration", type=float, default=20.0, help="seconds a rate (default: %(default)s)")
    parser.add_argument("--documents", type=int, default=20, help="at most, of a request (default: %(default)s)")
    parser.add_argument("--capacity-requests", type=int, default=300, help="to measure it (default: %(default)s)")
    parser.add_argument("--queue-pairs", type=int, default=4000, help="that the server takes (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=300.0, help="of a request, seconds (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--chart", type=Path, help="draw it here, as SVG")
    arguments = parser.parse_args()

    pin(tuple(arguments.cores))
    with tempfile.TemporaryDirectory() as logs:
        try:
            capacity, loads = asyncio.run(measure(arguments, Path(logs)))
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1

    machine, name = describe(), arguments.checkpoint.resolve().name
    head = f"{name}: server, {arguments.dtype}, threads: {len(arguments.cores)}, {machine.processor}"
    kind = f"requests of 1 to {arguments.documents} mixed documents, {arguments.duration:g} s a rate"
    print(f"{head}, torch {machine.versions['torch']}; {kind}\n")
    print(f"### latency under load: 100 % is {capacity.requests_per_second:.3g} requests a second\n")
    print(load_table(capacity, loads))
    if arguments.json:
        write_results(
            arguments.json,
            machine,
            settings_of(arguments),
            capacity=asdict(capacity),
            loads=[
                asdict(load) | {f"p{share * 100:.0f}_seconds": quantile(load.seconds, share) for share in SHARES}
                if load.seconds
                else asdict(load)
                for load in loads
            ],
        )
    if arguments.chart:
        write_chart(arguments.chart, name, capacity, loads, machine)
    return 0


if __name__ == "__main__":
    sys.exit(main())
