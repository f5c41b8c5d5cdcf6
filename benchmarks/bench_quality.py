"""What a smaller dtype costs in quality, and what it saves: nDCG@10, order and scores against float32, CPU seconds.

The candidates of judged collections are ranked by one model with each dtype, one after the other in this process.
Seconds are the process's CPU time of one pass, tokens and all, so they show the curve; for rates, measure again.
A dtype that is refused here, and a data directory that is not there, are skipped loudly.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TypeAlias

import numpy as np
import rerank_core
from machine import describe
from markdown_tables import table
from numpy.typing import NDArray
from rerank_core import InvalidRequest, ModelInfo, Pair, ScoreOptions
from rerank_core.models.local import LocalModel
from results import settings_of, write_results
from retrieval import Collection, collection_names, read_collection

Numbers: TypeAlias = NDArray[np.float64]

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
BASELINE = "float32"
RESAMPLES = 10_000
COLUMNS = [
    *("collection", "dtype", "nDCG@10 as given", "nDCG@10", "change", "95 % interval", "tau-b"),
    *("mean shift", "largest shift", "CPU s", "speed"),
]


@dataclass(frozen=True, slots=True)
class Run:
    """One collection by one dtype: the raw scores of each query's candidates, and the CPU seconds they took."""

    scores: list[Numbers]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One dtype on one collection, against float32.

    - ``ndcg_as_given``: of the candidates in the order they came; ``ndcg``: as ranked. Means over queries, @10.
    - ``change``: of ``ndcg`` from float32's; ``interval``: its 95 % bootstrap interval over queries;
      ``changes``: of each query.
    - ``tau``: mean Kendall tau-b with float32's order over queries; None where no query has an order.
    - ``mean_shift``, ``largest_shift``: of a raw score, absolute.
    - ``seconds``: of process CPU; ``speed``: float32's seconds over these.
    """

    collection: str
    dtype: str
    ndcg_as_given: float
    ndcg: float
    change: float
    interval: tuple[float, float]
    tau: float | None
    mean_shift: float
    largest_shift: float
    seconds: float
    speed: float
    changes: tuple[float, ...] = ()


def score(model: LocalModel, collection: Collection) -> Run:
    """Score all candidates at once."""
    pairs = [Pair(question.query, document) for question in collection.questions for document in question.documents]
    model.score_pairs(pairs[:1])  # what is set up once, on the first call, is no scoring time
    began = time.process_time()
    values = model.score_pairs(pairs, ScoreOptions(raw=True)).values
    seconds = time.process_time() - began
    ends = np.cumsum([len(question.documents) for question in collection.questions])
    return Run(np.split(np.array(values), ends[:-1]), seconds)


def run(name: str, dtype: str, collections: Sequence[Collection], threads: int | None) -> tuple[ModelInfo, list[Run]]:
    """Every collection by one dtype. Raises ``InvalidRequest`` where that dtype is refused."""
    gc.collect()  # the model before this one, so that two are never held
    model = rerank_core.load(name, dtype=dtype, device="cpu", threads=threads)
    runs = []
    for collection in collections:
        runs.append(score(model, collection))
        print(f"{dtype}: {collection.name}: {runs[-1].seconds:.1f} s", file=sys.stderr, flush=True)
    return model.info, runs


def kendall_tau(one: Numbers, other: Numbers) -> float:
    """Tau-b of two rows of scores (Kendall, 1945), in [-1, 1]; nan where either has no two different scores."""
    first, second = (np.sign(row[:, None] - row[None, :]) for row in (one, other))
    untied = np.sqrt(np.sum(first**2) * np.sum(second**2))
    return float(np.sum(first * second) / untied) if untied else float("nan")


def bootstrap_interval(*differences: Numbers) -> tuple[float, float]:
    """The 95 % percentile interval of the mean, over resamples of the queries (Efron and Tibshirani, 1993).

    Paired: each query brings the difference of its own two values. Of several collections, each is resampled by itself,
    and the interval is that of the mean of their means.
    """
    generator = np.random.default_rng(0)
    means = [generator.choice(own, size=(RESAMPLES, len(own))).mean(axis=1) for own in differences]
    low, high = np.percentile(np.mean(means, axis=0), [2.5, 97.5])
    return float(low), float(high)


def compare(collection: Collection, dtype: str, found: Run, baseline: Run) -> Figures:
    """What is different from float32 on one collection."""
    ndcgs, wanted = (
        np.array([q.ndcg(scores.tolist()) for q, scores in zip(collection.questions, one.scores, strict=True)])
        for one in (found, baseline)
    )
    taus = [kendall_tau(one, other) for one, other in zip(found.scores, baseline.scores, strict=True)]
    ordered = [tau for tau in taus if not np.isnan(tau)]
    shifts = np.abs(np.concatenate(found.scores) - np.concatenate(baseline.scores))
    return Figures(
        collection=collection.name,
        dtype=dtype,
        ndcg_as_given=fmean(question.ndcg_as_given() for question in collection.questions),
        ndcg=float(ndcgs.mean()),
        change=float((ndcgs - wanted).mean()),
        interval=bootstrap_interval(ndcgs - wanted),
        changes=tuple((ndcgs - wanted).tolist()),
        tau=fmean(ordered) if ordered else None,
        mean_shift=float(shifts.mean()),
        largest_shift=float(shifts.max()),
        seconds=found.seconds,
        speed=baseline.seconds / found.seconds,
    )


def average(rows: Sequence[Figures]) -> Figures:
    """One dtype over its collections, each counted once: means, but the largest shift and the sum of the seconds."""
    taus = [row.tau for row in rows if row.tau is not None]
    seconds = sum(row.seconds for row in rows)
    return Figures(
        collection=f"mean of {len(rows)}",
        dtype=rows[0].dtype,
        ndcg_as_given=fmean(row.ndcg_as_given for row in rows),
        ndcg=fmean(row.ndcg for row in rows),
        change=fmean(row.change for row in rows),
        interval=bootstrap_interval(*(np.array(row.changes) for row in rows)),
        tau=fmean(taus) if taus else None,
        mean_shift=fmean(row.mean_shift for row in rows),
        largest_shift=max(row.largest_shift for row in rows),
        seconds=seconds,
        speed=sum(row.speed * row.seconds for row in rows) / seconds,
    )


def worst(rows: Sequence[Figures]) -> Figures:
    """The collection where one dtype loses most."""
    row = min(rows, key=lambda row: row.change)
    return replace(row, collection=f"worst: {row.collection}", changes=())


def summary(rows: Sequence[Figures]) -> list[Figures]:
    """The mean of each dtype, and the worst collection of each but float32."""
    by_dtype = {row.dtype: [other for other in rows if other.dtype == row.dtype] for row in rows}
    means = [average(own) for own in by_dtype.values()]
    return means + [worst(own) for dtype, own in by_dtype.items() if dtype != BASELINE]


def cells(row: Figures) -> list[str]:
    """A row of the table, in the order of ``COLUMNS``."""
    return [
        row.collection,
        row.dtype,
        f"{row.ndcg_as_given:.4f}",
        f"{row.ndcg:.4f}",
        f"{row.change:+.4f}",
        f"{row.interval[0]:+.4f} to {row.interval[1]:+.4f}",
        "-" if row.tau is None else f"{row.tau:.4f}",
        f"{row.mean_shift:.1e}",
        f"{row.largest_shift:.1e}",
        f"{row.seconds:.1f}",
        f"{row.speed:.2f}",
    ]


def measure(
    model: str, dtypes: Sequence[str], collections: Sequence[Collection], threads: int | None
) -> tuple[list[Figures], dict[str, ModelInfo], dict[str, str]]:
    """The figures, what was loaded for each dtype, and why a dtype was skipped."""
    infos: dict[str, ModelInfo] = {}
    runs: dict[str, list[Run]] = {}
    skipped: dict[str, str] = {}
    infos[BASELINE], runs[BASELINE] = run(model, BASELINE, collections, threads)
    for dtype in dtypes:
        if dtype in runs or dtype in skipped:
            continue
        try:
            infos[dtype], runs[dtype] = run(model, dtype, collections, threads)
        except InvalidRequest as error:
            skipped[dtype] = str(error)
            print(f"SKIPPED LOUDLY: {dtype} was not measured: {error}", file=sys.stderr, flush=True)
    figures = [
        compare(collection, dtype, runs[dtype][number], runs[BASELINE][number])
        for number, collection in enumerate(collections)
        for dtype in runs
    ]
    return figures, infos, skipped


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is none: use at least 1")
    return number


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model's directory, or lite")
    parser.add_argument(
        "--data", type=Path, default=DATA, help="a folder of collections (default: ../shared/data beside the project)"
    )
    parser.add_argument("--collections", nargs="+", metavar="NAME", help="folders in it (default: all)")
    parser.add_argument("--queries", type=positive, default=150, help="of each collection (default: %(default)s)")
    parser.add_argument("--depth", type=positive, default=20, help="candidates of a query (default: %(default)s)")
    parser.add_argument(
        "--dtypes", nargs="+", default=["float32", "float16-weights", "int8", "bfloat16"], metavar="DTYPE"
    )
    parser.add_argument("--threads", type=positive, help="of torch (default: its own choice)")
    parser.add_argument("--json", type=Path, help="write all figures here too")
    arguments = parser.parse_args()

    there = collection_names(arguments.data)
    if not there:
        print(f"SKIPPED LOUDLY: no quality was measured: {arguments.data} holds no collections", file=sys.stderr)
        return 0
    names = list(dict.fromkeys(arguments.collections or there))
    if absent := [name for name in names if name not in there]:
        parser.error(f"{arguments.data} has no {', '.join(absent)}: there are {', '.join(there)}")
    collections = [
        read_collection(arguments.data / name, queries=arguments.queries, depth=arguments.depth) for name in names
    ]

    figures, infos, skipped = measure(str(arguments.model), arguments.dtypes, collections, arguments.threads)
    ends = summary(figures)
    machine = describe()
    head = (
        f"{arguments.model.name}: at most {arguments.queries} queries a collection, {arguments.depth} candidates a "
        f"query, {machine.processor}"
    )
    loaded = [f"- {dtype}: {info.engine} engine, {info.dtype}" for dtype, info in infos.items()]
    missing = [f"- {dtype}: SKIPPED, {reason}" for dtype, reason in skipped.items()]
    print("\n".join([head, "", *loaded, *missing, "", table(COLUMNS, [cells(row) for row in [*figures, *ends]])]))
    if arguments.json:
        write_results(
            arguments.json,
            machine,
            settings_of(arguments),
            models={dtype: asdict(replace(info, name=arguments.model.name)) for dtype, info in infos.items()},
            skipped=skipped,
            figures=[asdict(row) for row in figures],
            summary=[asdict(row) for row in ends],
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
