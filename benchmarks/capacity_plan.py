"""How many replicas does it take, and what does it cost? By requests per second and passages per request.

    python benchmarks/capacity_plan.py --requests-per-second 5 --passages 20

Without --pairs-per-second it answers for models that are usual on a CPU, as they were measured on two cores.
docs/size.md explains the formulae. Prices are in whatever money you give.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from markdown_tables import table

SECONDS_PER_DAY = 86_400

# Pairs a second on two cores: float32 as in docs/size.md, other dtypes by the ratios of docs/performance.md. The
# smallest first: it is what a CPU answers a person with.
SMALL, LARGE = "MiniLM (23 M)", "bge-reranker-v2-m3 (568 M)"
MEASURED = {
    (SMALL, "float32"): 67.0,
    (SMALL, "int8"): 67.0 * 2.93,
    (LARGE, "int8"): 2.8 * 5.36,
    (LARGE, "float32"): 2.8,
}


class Impossible(Exception):
    """No number of replicas does it."""


@dataclass(frozen=True, slots=True)
class Replica:
    """What one does: pairs a second when it is busy, its price an hour, and the seconds until a new one is ready."""

    pairs_per_second: float
    price_per_hour: float
    start_seconds: float


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked: pairs a day, how much more than the average the busiest minutes bring, documents a request.

    ``variation``: the standard deviation of a request's work over its mean. ``growth``: by which share the load grows
    in a minute, where it grows fastest. ``latency``: seconds within which a request of ``documents`` is answered at
    the peak, ``share`` of the time. ``busiest``: the share of its time that a replica may compute then.
    """

    pairs_per_day: float
    peak: float
    documents: float
    variation: float
    growth: float
    latency: float
    share: float
    busiest: float

    @property
    def requests_per_second(self) -> float:
        """At the peak."""
        return self.pairs_per_day * self.peak / SECONDS_PER_DAY / self.documents


@dataclass(frozen=True, slots=True)
class Plan:
    """``busy``: the share of the time that a replica computes at the peak. ``answered``: seconds, as ``latency``.

    ``spare`` are on top of ``replicas``. ``scale_at``: how busy they may be when more are started, where their number
    follows the load; a million pairs cost ``price_per_million_following`` then.
    """

    replicas: int
    spare: int
    busy: float
    answered: float
    scale_at: float
    price_per_day: float
    price_per_million: float
    price_per_million_following: float


def waiting_chance(servers: int, offered: float) -> float:
    """Erlang C: the chance that a request finds every server taken, for ``offered`` = arrivals * time of one < servers.

    By the stable recursion of Erlang B, B(n) = a B(n-1) / (n + a B(n-1)).
    """
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = offered * blocked / (number + offered * blocked)
    return blocked / (1 - offered / servers * (1 - blocked))


def wait(servers: int, arrivals: float, seconds: float, variation: float, share: float) -> float:
    """Seconds that ``share`` of the requests wait at most, of ``arrivals`` a second that take ``seconds`` each.

    M/M/c, P(W > t) = C exp(-(c/S - arrivals) t), with the mean stretched by (1 + variation^2) / 2 for work that varies
    otherwise (Allen and Cunneen).
    """
    chance = waiting_chance(servers, arrivals * seconds)
    if chance <= 1 - share:
        return 0.0
    return math.log(chance / (1 - share)) / (servers / seconds - arrivals) * (1 + variation**2) / 2


def plan(replica: Replica, demand: Demand, spare: int) -> Plan:
    """The fewest replicas that answer in time at the peak, and are not too busy. Raises ``Impossible``."""
    seconds = demand.documents / replica.pairs_per_second
    if seconds >= demand.latency:
        raise Impossible(
            f"one request of {demand.documents:g} passages takes {seconds:.1f} s on an idle replica, and may take "
            f"{demand.latency:g} s: use fewer passages, more cores, int8 or bfloat16, a GPU or a smaller model"
        )
    arrivals = demand.requests_per_second

    def answered(servers: int) -> float:
        return seconds + wait(servers, arrivals, seconds, demand.variation, demand.share)

    # More of them never make it slower, so the fewest are found by halving.
    least = max(1, math.ceil(arrivals * seconds / demand.busiest))
    too_few, enough = least - 1, least
    while answered(enough) > demand.latency:
        too_few, enough = enough, enough * 2
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if answered(middle) <= demand.latency else (middle, enough)

    busy = arrivals * seconds / enough
    grown = (1 + demand.growth) ** (replica.start_seconds / 60)
    per_day = (enough + spare) * replica.price_per_hour * 24
    # On average over the day; but never fewer than one and the spare ones.
    following = max(1.0, enough / demand.peak * grown) + spare
    return Plan(
        replicas=enough,
        spare=spare,
        busy=busy,
        answered=answered(enough),
        scale_at=busy / grown,
        price_per_day=per_day,
        price_per_million=per_day / demand.pairs_per_day * 1e6,
        price_per_million_following=following * replica.price_per_hour * 24 / demand.pairs_per_day * 1e6,
    )


def plan_table(answers: Sequence[tuple[str, Replica, Demand, Plan | None]]) -> str:
    """A row for each model and load; a plan of None has no replicas."""
    rows = []
    for model, replica, demand, found in answers:
        row = [model, f"{replica.pairs_per_second:.3g}", f"{demand.requests_per_second:.3g}"]
        if found is None:
            rows.append([*row, "too slow", "-", "-", "-", "-"])
            continue
        rows.append(
            [
                *row,
                f"{found.replicas:,} + {found.spare}",
                f"{found.busy:.0%}",
                f"{found.answered:.2g}",
                f"{found.price_per_day:,.0f}",
                f"{found.price_per_million:,.2f} ({found.price_per_million_following:,.2f})",
            ]
        )
    columns = [
        "model",
        "pairs/s of a replica",
        "requests/s",
        "replicas",
        "busy",
        "answered in, s",
        "a day",
        "a million pairs",
    ]
    return table(columns, rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--requests-per-second", type=float, nargs="+", default=[1.0, 10.0], help="at the peak (default: 1 10)")
    option("--passages", type=float, default=20, help="of a request (default: %(default)s)")
    option("--latency", type=float, default=3, help="seconds that a request may take (default: %(default)s)")
    option("--pairs-per-second", type=float, help="of your own replica at work (default: those that were measured)")
    option("--price", type=float, default=0.10, help="of one replica, an hour (default: %(default)s)")
    option("--start-seconds", type=float, default=60, help="until a new one is ready (default: %(default)s)")
    option("--peak", type=float, default=3, help="the busiest minutes over the average (default: %(default)s)")
    option("--variation", type=float, default=1, help="of a request's work, over its mean (default: %(default)s)")
    option("--growth", type=float, default=0.1, help="of the load in a minute, at most (default: %(default)s)")
    option("--share", type=float, default=0.95, help="of the time, that it does (default: %(default)s)")
    option("--busiest", type=float, default=0.8, help="share of its time that one may compute (default: %(default)s)")
    option("--spare", type=int, default=1, help="replicas that may be lost at once (default: %(default)s)")
    arguments = parser.parse_args()
    for name, value in vars(arguments).items():
        if value is None:
            continue
        least = min(value) if isinstance(value, list) else value
        may_be_zero = name in ("spare", "growth", "variation")
        if least < 0 or (least == 0 and not may_be_zero):
            parser.error(f"--{name.replace('_', '-')} has to be {'0 or more' if may_be_zero else 'above 0'}")
    if arguments.share >= 1 or arguments.busiest >= 1:
        parser.error(
            "--share and --busiest have to be below 1: nothing is certain, and who is always busy falls behind"
        )

    speeds = {f"{model}, {dtype}": speed for (model, dtype), speed in MEASURED.items()}
    if arguments.pairs_per_second is not None:
        speeds = {"yours": arguments.pairs_per_second}
    answers: list[tuple[str, Replica, Demand, Plan | None]] = []
    refused: dict[str, str] = {}
    for model, speed in speeds.items():
        replica = Replica(speed, arguments.price, arguments.start_seconds)
        for requests in arguments.requests_per_second:
            demand = Demand(
                pairs_per_day=requests * arguments.passages * SECONDS_PER_DAY / arguments.peak,
                peak=arguments.peak,
                documents=arguments.passages,
                variation=arguments.variation,
                growth=arguments.growth,
                latency=arguments.latency,
                share=arguments.share,
                busiest=arguments.busiest,
            )
            try:
                answers.append((model, replica, demand, plan(replica, demand, arguments.spare)))
            except Impossible as impossible:
                answers.append((model, replica, demand, None))
                refused[model] = str(impossible)
    limit = f"{arguments.latency:g} s, {arguments.share:.0%} of the time"
    print(f"A request of {arguments.passages:g} passages is answered within {limit}. Requests are those of the peak,")
    print(f"{arguments.peak:g} times the average. A replica costs {arguments.price:g} an hour.\n")
    print(plan_table(answers))
    for model, why in refused.items():
        print(f"\n{model}: {why}.", file=sys.stderr)
    plans = [found for *_, found in answers if found is not None]
    if not plans:
        return 1
    scale_at, seconds = plans[-1].scale_at, arguments.start_seconds
    print("\nBehind the +: replicas to spare. In brackets: at best, where the number follows the load. The last of")
    print(f"these fleets then starts more at {scale_at:.0%} busy: it takes {seconds:g} s until they help, and the load")
    print("may grow on.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
