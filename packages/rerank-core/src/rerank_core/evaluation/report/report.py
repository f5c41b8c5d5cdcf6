"""The figures: one row per system, beside the first stage's own order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from rerank_core.evaluation.judge.bootstrap import paired_interval
from rerank_core.evaluation.judge.measures import Judged
from rerank_core.evaluation.run.answers import LoadedModel, SystemRun

MB = 1e6
_BUSY = 0.9  # of a core; a process that computes all the time has more


@dataclass(frozen=True, slots=True)
class JudgedSystem:
    """A ranking and its judgements; ``run`` is None for the first stage, which is not measured."""

    label: str
    judged: Judged
    run: SystemRun | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A system that has no figures, and why."""

    label: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One ranking's figures.

    - ``ndcg``, ``mrr``, ``recall``: means over queries, @10; ``ndcgs``: nDCG@10 of each query, in their order.
    - ``difference``: of ``ndcg`` from the reference's, with its 95 % ``interval``; None for the reference itself.
    - ``pairs_per_second``: of wall clock; ``seconds``, ``cpu_seconds``: what scoring took, of wall clock and of the
      process's CPU time; ``memory``: bytes at the most; None where not measured.
    - ``loaded``: what really ran; None for the first stage.
    """

    label: str
    ndcg: float
    mrr: float
    recall: float
    difference: float | None
    interval: tuple[float, float] | None
    pairs_per_second: float | None
    seconds: float | None
    cpu_seconds: float | None
    memory: int | None
    loaded: LoadedModel | None
    ndcgs: tuple[float, ...]

    @property
    def is_system(self) -> bool:
        """Whether a model scored it."""
        return self.loaded is not None

    @property
    def is_different(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    @property
    def is_worse(self) -> bool:
        """Whether the whole interval is below 0."""
        return self.interval is not None and self.interval[1] < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The settings of an evaluation.

    - ``documents``, ``collection_queries``, ``judgements``: how many the collection has.
    - ``queries``: the ids of those that are asked, in order; ``pairs``: candidates of all of them, at most ``depth``
      each; ``candidates``: where they come from.
    - ``candidate_recall``: the mean share of relevant documents that are candidates.
    - ``without_relevant``, ``without_candidates``: queries that were passed over.
    - ``machine``: what speed was measured on.
    """

    collection: str
    documents: int
    collection_queries: int
    judgements: int
    queries: tuple[str, ...]
    pairs: int
    depth: int
    candidates: str
    candidate_recall: float
    without_relevant: int
    without_candidates: int
    machine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a report comes from: the time, the command line, and the versions of what computed it, by name."""

    time: str
    command: str
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Loss:
    """A query whose ranking is worse than the baseline's: its id, its nDCG@10, and that of the baseline."""

    query: str
    ndcg: float
    before: float


@dataclass(frozen=True, slots=True)
class Report:
    """All figures; differences are from the row called ``reference``."""

    setting: Setting
    reference: str
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...] = ()


def report(setting: Setting, results: Sequence[JudgedSystem], failures: Sequence[Failure] = ()) -> Report:
    """Compare every result with the first system's. Raises ``ValueError`` where there is none."""
    reference = next((result for result in results if result.run is not None), None)
    if reference is None:
        raise ValueError("no system has a result")
    rows = tuple(_row(result, reference) for result in results)
    return Report(setting, reference.label, rows, tuple(failures))


def _row(result: JudgedSystem, reference: JudgedSystem) -> Row:
    judged, run = result.judged, result.run
    is_reference = result is reference
    ndcg = fmean(judged.ndcg)
    return Row(
        label=result.label,
        ndcg=ndcg,
        mrr=fmean(judged.mrr),
        recall=fmean(judged.recall),
        difference=None if is_reference else ndcg - fmean(reference.judged.ndcg),
        interval=None if is_reference else paired_interval(judged.ndcg, reference.judged.ndcg),
        pairs_per_second=run.pairs_per_second if run else None,
        seconds=run.seconds if run else None,
        cpu_seconds=run.cpu_seconds if run else None,
        memory=run.memory if run else None,
        loaded=run.loaded if run else None,
        ndcgs=judged.ndcg,
    )


def heading(report: Report) -> str:
    """Describe the evaluation in a sentence or two."""
    setting = report.setting
    passed_over = [
        f"{count} more {why}"
        for count, why in (
            (setting.without_relevant, "have no relevant document"),
            (setting.without_candidates, "have no candidates"),
        )
        if count
    ]
    return (
        f"{setting.collection}: {len(setting.queries)} queries, {setting.pairs} candidates from {setting.candidates} "
        f"(at most {setting.depth} a query, out of {setting.documents} documents) with "
        f"{100 * setting.candidate_recall:.1f} % of what is relevant."
        + (f" Passed over: {', '.join(passed_over)}." if passed_over else "")
    )


def remarks(report: Report) -> list[str]:
    """Explain how to read the figures, what was not as asked, and which system to run."""
    found = [
        f"Differences are of nDCG@10 from {report.reference}, with their 95 % intervals over queries; "
        "* marks one that leaves out 0.",
        f"Speed: pairs a second, one query after the other, on {report.setting.machine}. Memory: the most that the "
        "system's own process had.",
    ]
    systems = [row for row in report.rows if row.is_system]
    if len(systems) > 1:
        found.append(_advice(report, systems))
    if any(_shared_its_core(row) for row in systems):
        shares = ", ".join(f"{row.label} {_share(row):.0%}" for row in systems if _shared_its_core(row))
        found.append(
            "Other work ran here meanwhile, so speeds are too low. "
            f"Of one core's time, while they scored, had: {shares}."
        )
    found += [
        f"{row.label} computes in {row.loaded.dtype} here." for row in systems if row.loaded and _is_other_dtype(row)
    ]
    found += [f"{failure.label} FAILED: {failure.reason}" for failure in report.failures]
    return found


def _share(row: Row) -> float:
    """Estimate the cores that a system had while it scored; at least 1 where nothing else ran and it computes here."""
    return row.cpu_seconds / row.seconds if row.cpu_seconds is not None and row.seconds else 1.0


def _shared_its_core(row: Row) -> bool:
    return _share(row) < _BUSY


def _is_other_dtype(row: Row) -> bool:
    """Return whether this machine computes in another dtype than the label says."""
    words = row.label.partition('"')[0].split()  # an instruction stands in quotes
    asked = [word for word in words if word in ("float16-weights", "int8", "bfloat16", "float16")]
    return bool(asked) and row.loaded is not None and row.loaded.dtype not in (None, *asked)


def _advice(report: Report, systems: Sequence[Row]) -> str:
    """Name the best system, and the fastest of those that are not measurably worse than the reference."""
    best = max(systems, key=lambda row: row.ndcg)
    said = f"Best nDCG@10: {best.label} ({best.ndcg:.4f})."
    timed = [row for row in systems if not row.is_worse and row.pairs_per_second]
    if timed:
        fastest = max(timed, key=lambda row: row.pairs_per_second or 0.0)
        said += f" Fastest that is not measurably worse than {report.reference}: {fastest.label}."
    return said


def baseline_of(report: Report, row: Row) -> Row | None:
    """Return the row that a system is compared with query by query: the reference, and for that the first stage."""
    others = [other for other in report.rows if other.label == report.reference]
    if row.label == report.reference:
        others = [other for other in report.rows if not other.is_system]
    return others[-1] if others else None


def losses(report: Report, row: Row, baseline: Row, most: int = 10) -> list[Loss]:
    """List the queries whose nDCG@10 is lower than the baseline's, the largest loss first, ties in their order."""
    found = [
        Loss(query, ndcg, before)
        for query, ndcg, before in zip(report.setting.queries, row.ndcgs, baseline.ndcgs, strict=True)
        if ndcg < before
    ]
    return sorted(found, key=lambda loss: loss.ndcg - loss.before)[:most]


def as_json(report: Report, provenance: Provenance) -> str:
    """Write all figures as JSON: times in seconds, memory in bytes."""
    content: dict[str, Any] = {"provenance": asdict(provenance)} | asdict(report)
    for row, own in zip(report.rows, content["rows"], strict=True):
        own["is_system"], own["is_different"] = row.is_system, row.is_different
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"
