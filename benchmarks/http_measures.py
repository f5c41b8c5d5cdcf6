"""The server over HTTP against its own model in process: five measures, each with the values of every round."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from statistics import median

from client import Answer, Connection, ask_all, connections, info, rerank, singly, span
from latencies import of_rounds, quantile
from pairs import PairSet, Vocabulary
from server import LIMIT, Server, check_statuses
from workers import Worker

PAUSE_AFTER_REFUSAL = 0.02  # seconds


class ScoresDiffer(Exception):
    """A score over HTTP is not, to the last bit, what it is elsewhere."""


@dataclass(slots=True)
class Throughput:
    """Seconds by the wall of the same pairs, one a round; ``client_seconds``: CPU time of the clients in these."""

    pairs: int
    http_seconds: list[float] = field(default_factory=list)
    own_seconds: list[float] = field(default_factory=list)
    client_seconds: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """How many times as fast HTTP is as in process: the median of the rounds."""
        return median(own / http for own, http in zip(self.own_seconds, self.http_seconds, strict=True))


@dataclass(slots=True)
class Crowd:
    """Seconds by the wall of many requests of one pair at once, and of one request with as many pairs; one a round."""

    pairs: int
    many_seconds: list[float] = field(default_factory=list)
    one_seconds: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """How many times as fast the many are as the one: the median of the rounds."""
        return median(one / many for one, many in zip(self.one_seconds, self.many_seconds, strict=True))


@dataclass(slots=True)
class Beside:
    """Seconds that requests of one pair took: alone, and beside a large request; a list a round.

    ``batch_seconds``: of ``batch_pairs``, which fill a micro-batch, in process; one a round.
    """

    documents: int
    length: int
    batch_pairs: int = 0
    alone_seconds: list[list[float]] = field(default_factory=list)
    beside_seconds: list[list[float]] = field(default_factory=list)
    batch_seconds: list[float] = field(default_factory=list)

    def against_alone(self, share: float) -> float:
        """Beside over alone, at a quantile: the median of the rounds."""
        rounds = zip(self.beside_seconds, self.alone_seconds, strict=True)
        return median(quantile(beside, share) / quantile(alone, share) for beside, alone in rounds)

    def against_batch(self, rounds: Sequence[Sequence[float]], share: float) -> float:
        """Over the time of a micro-batch, at a quantile: the median of the rounds."""
        return median(quantile(found, share) / batch for found, batch in zip(rounds, self.batch_seconds, strict=True))


@dataclass(slots=True)
class Overhead:
    """Seconds by the wall of the same pairs, one a request: over HTTP, and in process; a list a round."""

    length: int
    http_seconds: list[list[float]] = field(default_factory=list)
    own_seconds: list[list[float]] = field(default_factory=list)

    def added(self, share: float) -> float:
        """What HTTP and the server add, at a quantile: the median of the rounds."""
        rounds = zip(self.http_seconds, self.own_seconds, strict=True)
        return median(quantile(http, share) - quantile(own, share) for http, own in rounds)


@dataclass(slots=True)
class Refusing:
    """Seconds that answers 429 took while the server was full; a list a round.

    ``scored``: requests that were taken; ``retry_after``: how often each value was seen.
    """

    queue_pairs: int
    scored: int = 0
    seconds: list[list[float]] = field(default_factory=list)
    retry_after: dict[str, int] = field(default_factory=dict)

    def latency(self, share: float) -> float:
        """Seconds."""
        return of_rounds(self.seconds, share)


async def throughput(
    server: Server,
    worker: Worker,
    vocabulary: Vocabulary,
    *,
    clients: int,
    requests: int,
    documents: int,
    max_length: int,
    rounds: int,
) -> Throughput:
    """Requests of so many mixed pairs, over HTTP from several clients and in process one after another, in turns.

    Raises ``ScoresDiffer``.
    """
    found = Throughput(requests * documents)
    warm = vocabulary.mixed(documents, max_length)
    worker.ask(query=warm.query, documents=warm.documents)
    async with connections(server, clients) as open_connections:
        await ask_all(open_connections, [rerank(warm)])
        for number in range(rounds):
            sets = [vocabulary.mixed(documents, max_length) for _ in range(requests)]
            bodies = [rerank(pairs) for pairs in sets]
            own = _in_process(worker, sets) if number % 2 else None
            began = time.process_time()
            answers = await ask_all(open_connections, bodies)
            found.client_seconds.append(time.process_time() - began)
            check_statuses([answer.status for answer in answers])
            seconds, golden = own or _in_process(worker, sets)
            found.http_seconds.append(span(answers))
            found.own_seconds.append(seconds)
            _compare([answer.scores for answer in answers], golden, "in process")
    return found


async def crowd(server: Server, vocabulary: Vocabulary, *, pairs: int, max_length: int, rounds: int) -> Crowd:
    """Two sets of the same lengths: one singly, the other in one request, and the next round the other way round.

    Raises ``ScoresDiffer`` where a pair's score depends on its company.
    """
    found = Crowd(pairs)
    sets = [vocabulary.mixed(pairs, max_length)]
    sets.append(vocabulary.pairs("mixed", list(sets[0].lengths)))
    scores: dict[str, list[float]] = {}
    async with connections(server, pairs) as clients:
        for number in range(rounds):
            apart, together = sets if number % 2 else reversed(sets)
            many = await ask_all(clients, singly(apart))
            one = await ask_all(clients[:1], [rerank(together)])
            check_statuses([answer.status for answer in [*many, *one]])
            found.many_seconds.append(span(many))
            found.one_seconds.append(span(one))
            for pairs_, said in ((apart, [answer.scores[0] for answer in many]), (together, one[0].scores)):
                _compare([said], [scores.setdefault(pairs_.query, said)], "in other company")
    return found


async def beside(
    server: Server,
    worker: Worker,
    vocabulary: Vocabulary,
    *,
    documents: int,
    length: int,
    probes: int,
    rounds: int,
    seed: int = 0,
) -> Beside:
    """A small request after another, at random moments; then the same while a large one runs."""
    found = Beside(documents, length)
    dice = random.Random(seed)
    async with connections(server, 2) as (small, large):
        said = json.loads((await small.ask(info())).body)
        found.batch_pairs = max(1, said["max_batch_tokens"] // length)
        for _ in range(rounds):
            batch = vocabulary.equal(length, found.batch_pairs)
            found.batch_seconds.append(worker.ask(query=batch.query, documents=batch.documents)["wall"])
            pauses = [dice.uniform(0, found.batch_seconds[-1]) for _ in range(probes)]

            alone = await _probe(small, singly(vocabulary.equal(length, probes)), pauses)
            bodies = singly(vocabulary.equal(length, probes))
            running = asyncio.create_task(large.ask(rerank(vocabulary.equal(length, documents))))
            await asyncio.sleep(2 * found.batch_seconds[-1])  # until it is in the network
            answers = await _probe(small, bodies, pauses, running)
            if running.done():  # what was asked after its end does not count, but nothing of it would be no figure
                answers = [one for one in answers if one.ended <= running.result().ended] or answers[:1]
                check_statuses([running.result().status])
            await _give_up(running, large, small, rerank(vocabulary.equal(length, 1)), alone)
            found.alone_seconds.append([answer.seconds for answer in alone])
            found.beside_seconds.append([answer.seconds for answer in answers])
    return found


async def overhead(
    server: Server, worker: Worker, vocabulary: Vocabulary, *, length: int, probes: int, rounds: int
) -> Overhead:
    """Pairs one after another, each in process and over HTTP, or the other way round. Raises ``ScoresDiffer``."""
    found = Overhead(length)
    async with connections(server, 1) as (client,):
        for _ in range(rounds):
            pairs = vocabulary.equal(length, probes)
            http: list[float] = []
            own: list[float] = []
            for number, (body, document) in enumerate(zip(singly(pairs), pairs.documents, strict=True)):
                first = worker.ask(query=pairs.query, documents=[document]) if number % 2 else None
                answer = await client.ask(body)
                check_statuses([answer.status])
                golden = first or worker.ask(query=pairs.query, documents=[document])
                _compare([answer.scores], [golden["scores"]], "in process")
                http.append(answer.seconds)
                own.append(golden["wall"])
            found.http_seconds.append(http)
            found.own_seconds.append(own)
    return found


async def refusing(
    server: Server,
    vocabulary: Vocabulary,
    *,
    clients: int,
    documents: int,
    wanted: int,
    limit: float,
    queue_pairs: int,
    max_length: int,
    rounds: int,
) -> Refusing:
    """More clients than the server has room for, each asking again and again, until enough were refused.

    A round ends after ``limit`` seconds in any case.
    """
    found, seen = Refusing(queue_pairs), Counter[str]()
    for _ in range(rounds):
        bodies = [[rerank(vocabulary.mixed(documents, max_length)) for _ in range(4)] for _ in range(clients)]
        async with connections(server, clients) as open_connections:
            answers = await _insist(open_connections, bodies, wanted, limit)
        check_statuses([answer.status for answer in answers], (200, 429))
        refused = [answer for answer in answers if answer.status == 429]
        found.scored += len(answers) - len(refused)
        seen.update(answer.headers.get("retry-after", "none") for answer in refused)
        if refused:
            found.seconds.append([answer.seconds for answer in refused])
    found.retry_after = dict(sorted(seen.items(), key=lambda item: (len(item[0]), item[0])))
    return found


def _in_process(worker: Worker, sets: Sequence[PairSet]) -> tuple[float, list[list[float]]]:
    """Seconds by the wall of all calls, and the scores."""
    answers = [worker.ask(query=pairs.query, documents=pairs.documents) for pairs in sets]
    return sum(answer["wall"] for answer in answers), [answer["scores"] for answer in answers]


def _compare(scores: list[list[float]], golden: list[list[float]], where: str) -> None:
    if scores != golden:
        pairs = [pair for one, other in zip(scores, golden, strict=True) for pair in zip(one, other, strict=True)]
        furthest = max(abs(one - other) for one, other in pairs)
        raise ScoresDiffer(f"scores over HTTP are up to {furthest:.0e} from those {where}")


async def _probe(
    client: Connection,
    requests: Sequence[bytes],
    pauses: Sequence[float],
    until: asyncio.Task[Answer] | None = None,
) -> list[Answer]:
    """One after another, each after its pause; at least one, and no more once ``until`` is done."""
    answers: list[Answer] = []
    for request, pause in zip(requests, pauses, strict=True):
        if answers and until is not None and until.done():
            break
        await asyncio.sleep(pause)
        answers.append(await client.ask(request))
    check_statuses([answer.status for answer in answers])
    return answers


async def _give_up(
    running: asyncio.Task[Answer], large: Connection, small: Connection, request: bytes, alone: Sequence[Answer]
) -> None:
    """Hang up on the large request, and wait until a small one takes no longer than it did alone, or nearly so."""
    running.cancel()
    await asyncio.wait([running])
    large.close()
    usual = 2 * quantile([answer.seconds for answer in alone], 0.95)
    async with asyncio.timeout(LIMIT):
        answer = await small.ask(request)
        while answer.seconds > usual:
            answer = await small.ask(request)


async def _insist(
    clients: Sequence[Connection], bodies: Sequence[Sequence[bytes]], wanted: int, limit: float
) -> list[Answer]:
    """Each client sends its own requests in turns, until so many answers were 429."""
    answers: list[Answer] = []
    refused = 0
    enough = asyncio.Event()

    async def run(client: Connection, own: Sequence[bytes]) -> None:
        nonlocal refused
        for request in cycle(own):
            answer = await client.ask(request)
            answers.append(answer)
            if answer.status == 429:
                refused += 1
                if refused >= wanted:
                    enough.set()
                await asyncio.sleep(PAUSE_AFTER_REFUSAL)

    running = [asyncio.create_task(run(client, own)) for client, own in zip(clients, bodies, strict=True)]
    ending = asyncio.create_task(enough.wait())
    await asyncio.wait([ending, *running], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
    for task in [ending, *running]:
        task.cancel()
    for error in await asyncio.gather(*running, return_exceptions=True):
        if isinstance(error, Exception):
            raise error
    return answers
