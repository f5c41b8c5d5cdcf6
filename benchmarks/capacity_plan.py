"""How many replicas does it take, and what does a million pairs cost? With your own figures.

    python benchmarks/capacity_plan.py --pairs-per-second 2.8 --price 0.10 --documents 20 --latency 15

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
            f"one request of {demand.documents:g} documents takes {seconds:.1f} s on an idle replica, and may take "
            f"{demand.latency:g} s: use fewer documents, more cores, int8 or bfloat16, a GPU or a smaller model"
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


def plan_table(demands: Sequence[Demand], plans: Sequence[Plan]) -> str:
    rows = [
        [
            f"{demand.pairs_per_day:,.0f}",
            f"{demand.requests_per_second:.3g}",
            f"{found.replicas:,} + {found.spare}",
            f"{found.busy:.0%}",
            f"{found.answered:.2g}",
            f"{found.price_per_day:,.0f}",
            f"{found.price_per_million:,.2f} ({found.price_per_million_following:,.2f})",
        ]
        for demand, found in zip(demands, plans, strict=True)
    ]
    columns = [
        "pairs a day",
        "requests/s at the peak",
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
    option("--pairs-per-second", type=float, default=2.8, help="of one replica at work (default: %(default)s)")
    option("--price", type=float, default=0.10, help="of one replica, an hour (default: %(default)s)")
    option("--start-seconds", type=float, default=60, help="until a new one is ready (default: %(default)s)")
    option("--pairs-per-day", type=float, nargs="+", default=[1e4, 1e5, 1e6, 1e7, 1e8, 1e9])
    option("--peak", type=float, default=3, help="the busiest minutes over the average (default: %(default)s)")
    option("--documents", type=float, default=20, help="of a request (default: %(default)s)")
    option("--variation", type=float, default=1, help="of a request's work, over its mean (default: %(default)s)")
    option("--growth", type=float, default=0.1, help="of the load in a minute, at most (default: %(default)s)")
    option("--latency", type=float, default=15, help="seconds that a request may take (default: %(default)s)")
    option("--share", type=float, default=0.95, help="of the time, that it does (default: %(default)s)")
    option("--busiest", type=float, default=0.8, help="share of its time that one may compute (default: %(default)s)")
    option("--spare", type=int, default=1, help="replicas that may be lost at once (default: %(default)s)")
    arguments = parser.parse_args()
    for name, value in vars(arguments).items():
        least = min(value) if isinstance(value, list) else value
        may_be_zero = name in ("spare", "growth", "variation")
        if least < 0 or (least == 0 and not may_be_zero):
            parser.error(f"--{name.replace('_', '-')} has to be {'0 or more' if may_be_zero else 'above 0'}")
    if arguments.share >= 1 or arguments.busiest >= 1:
        parser.error(
            "--share and --busiest have to be below 1: nothing is certain, and who is always busy falls behind"
        )

    replica = Replica(arguments.pairs_per_second, arguments.price, arguments.start_seconds)
    demands = [
        Demand(
            pairs_per_day=pairs_per_day,
            peak=arguments.peak,
            documents=arguments.documents,
            variation=arguments.variation,
            growth=arguments.growth,
            latency=arguments.latency,
            share=arguments.share,
            busiest=arguments.busiest,
        )
        for pairs_per_day in arguments.pairs_per_day
    ]
    try:
        plans = [plan(replica, demand, arguments.spare) for demand in demands]
    except Impossible as impossible:
        print(f"Not possible: {impossible}.", file=sys.stderr)
        return 1
    print(f"A replica: {replica.pairs_per_second:g} pairs/s, {replica.price_per_hour:g} an hour.")
    limit = f"{arguments.latency:g} s, {arguments.share:.0%} of the time"
    print(f"A request of {arguments.documents:g} is answered within {limit}.\n")
    print(plan_table(demands, plans))
    print("\nIn brackets: at best, where the number follows the load. Then the last of these fleets starts more at")
    print(
        f"{plans[-1].scale_at:.0%} busy, for in the {replica.start_seconds:g} s until they help, the load may grow on."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
