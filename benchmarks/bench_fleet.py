"""Several servers behind one balancer: what each further process brings, and that none is missed when it dies.

HAProxy sends each request to the server with the fewest in hand (``deploy/haproxy/haproxy.cfg``). Then one server is
killed in the middle of the load, as if its machine were lost, and clients that try again go on. Fails where a request
fails, or a score is not the same to the last bit as in process. See README.md beside this.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import rerank_core
from balancer import balancing
from client import ask_all, connections, rerank, span
from http_measures import ScoresDiffer
from latencies import milliseconds, quantile
from machine import describe, pin
from markdown_tables import table
from pairs import PairSet, Vocabulary
from rerank_core.types import ScoreOptions
from rerank_integrations.client import HTTPScorer
from results import settings_of, write_results
from server import HOST, Server, add_arguments, check_statuses, serving

SHARES = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Processes with so many threads each. ``seconds``: of each request; ``took``: of all, by the wall."""

    processes: int
    threads: int
    pairs: int
    took: float
    seconds: list[float]

    @property
    def rate(self) -> float:
        """Pairs a second."""
        return self.pairs / self.took


@dataclass(frozen=True, slots=True)
class Loss:
    """One of so many processes killed. Seconds of the requests that ended before it, and of those that ended later."""

    processes: int
    before_seconds: list[float]
    after_seconds: list[float]
    failures: list[str]


@contextmanager
def fleet(arguments: argparse.Namespace, processes: int, threads: int, folder: Path) -> Iterator[list[Server]]:
    """The balancer, and behind it so many servers."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(serving(arguments, folder / f"server-{number}.log", RERANK_THREADS=threads))
            for number in range(processes)
        ]
        yield [stack.enter_context(balancing(servers, folder)), *servers]


async def measure(balancer: Server, requests: Sequence[PairSet], clients: int, sizes: tuple[int, int]) -> Fleet:
    """As many clients as wanted, each of which asks again when it has its answer."""
    async with connections(balancer, clients) as found:
        answers = await ask_all(found, [rerank(pairs) for pairs in requests])
    check_statuses([answer.status for answer in answers])
    pairs = sum(len(request.documents) for request in requests)
    return Fleet(*sizes, pairs, span(answers), [answer.seconds for answer in answers])


async def lose_one(
    balancer: Server, servers: Sequence[Server], requests: Sequence[PairSet], clients: int, retries: int
) -> tuple[Loss, dict[int, Sequence[float]]]:
    """Kill the first server when a third of the answers are there. Gives the scores too, by the requests' numbers."""
    loss = Loss(len(servers), [], [], [])
    scores: dict[int, Sequence[float]] = {}
    waiting = iter(range(len(requests)))
    scorer = HTTPScorer(f"http://{HOST}:{balancer.port}", timeout=None, max_retries=retries)

    async def run() -> None:
        for number in waiting:
            began = perf_counter()
            try:
                found = await scorer.ascore(requests[number].query, requests[number].documents, ScoreOptions(raw=True))
            except rerank_core.RerankError as error:
                loss.failures.append(str(error))
                continue
            is_later = len(scores) >= len(requests) // 3
            (loss.after_seconds if is_later else loss.before_seconds).append(perf_counter() - began)
            scores[number] = found.values
            if not is_later and len(scores) >= len(requests) // 3:
                os.kill(servers[0].pid, signal.SIGKILL)

    async with scorer, asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(run())
    return loss, scores


def check_scores(
    arguments: argparse.Namespace, requests: Sequence[PairSet], scores: dict[int, Sequence[float]]
) -> None:
    """Raises ``ScoresDiffer`` where one is not what the same model says in process."""
    model = rerank_core.load(
        str(arguments.checkpoint),
        engine="packed",
        device="cpu",
        dtype=arguments.dtype,
        max_length=arguments.max_length,
    )
    for number, found in scores.items():
        pairs = requests[number]
        if tuple(found) != model.score(pairs.query, pairs.documents, ScoreOptions(raw=True)).values:
            raise ScoresDiffer("a score behind the balancer is not the same to the last bit as in process")


def fleet_table(fleets: Sequence[Fleet]) -> str:
    rows = [
        [
            str(one.processes),
            str(one.threads),
            f"{one.rate:.2f}",
            f"{one.rate / fleets[0].rate:.2f}",
            *(milliseconds(quantile(one.seconds, share)) for share in SHARES),
        ]
        for one in fleets
    ]
    columns = ["processes", "threads of each", "pairs/s", "against the first", "p50, ms", "p95, ms", "p99, ms"]
    return table(columns, rows)


def loss_table(loss: Loss) -> str:
    rows = [
        [name, str(len(seconds)), *(milliseconds(quantile(seconds, share)) for share in (*SHARES, 1.0))]
        for name, seconds in (
            (f"{loss.processes} processes", loss.before_seconds),
            ("one of them killed", loss.after_seconds),
        )
        if seconds
    ]
    title = f"### one killed in the middle: {len(loss.failures)} requests failed"
    return f"{title}\n\n{table(['', 'answers', 'p50, ms', 'p95, ms', 'p99, ms', 'longest, ms'], rows)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4], help="(default: %(default)s)")
    parser.add_argument("--requests", type=int, default=200, help="of each measure (default: %(default)s)")
    parser.add_argument("--documents", type=int, default=10, help="of a request (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=16, help="at once (default: %(default)s)")
    parser.add_argument("--retries", type=int, default=3, help="of a client, when one is killed (default: %(default)s)")
    arguments = parser.parse_args()
    if max(arguments.processes) < 2 or arguments.requests < 3:
        parser.error("it takes 2 --processes and 3 --requests at least to kill one in the middle")

    pin(tuple(arguments.cores))
    machine, vocabulary = describe(), Vocabulary(arguments.checkpoint)
    requests = [vocabulary.mixed(arguments.documents, arguments.max_length) for _ in range(arguments.requests)]
    # The last one tells whether threads do what processes do.
    wanted = [(processes, 1) for processes in arguments.processes] + [(1, len(arguments.cores))]
    fleets = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for processes, threads in dict.fromkeys(wanted):
                print(f"measuring: {processes} x {threads} threads ...", file=sys.stderr, flush=True)
                with fleet(arguments, processes, threads, Path(folder)) as (balancer, *_):
                    fleets.append(asyncio.run(measure(balancer, requests, arguments.clients, (processes, threads))))
            print("measuring: one is killed ...", file=sys.stderr, flush=True)
            with fleet(arguments, max(arguments.processes), 1, Path(folder)) as (balancer, *servers):
                loss, scores = asyncio.run(lose_one(balancer, servers, requests, arguments.clients, arguments.retries))
        check_scores(arguments, requests, scores)
    except (RuntimeError, ScoresDiffer) as error:
        print(error, file=sys.stderr)
        return 1

    kind = f"{arguments.clients} clients at once, requests of {arguments.documents} mixed documents"
    print(f"{arguments.checkpoint.resolve().name}: HAProxy and servers on {len(arguments.cores)} cores")
    print(f"({machine.processor}), {arguments.dtype}, {kind}\n\n{fleet_table(fleets)}\n\n{loss_table(loss)}")
    for failure in sorted(set(loss.failures)):
        print(failure, file=sys.stderr)
    if arguments.json:
        fleets_found = [asdict(one) | {"pairs_per_second": one.rate} for one in fleets]
        write_results(arguments.json, machine, settings_of(arguments), fleets=fleets_found, loss=asdict(loss))
    return 1 if loss.failures else 0


if __name__ == "__main__":
    sys.exit(main())
