"""Evaluates systems from a folder to a report: read, retrieve, ask, judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rerank_core.errors import RerankError
from rerank_core.evaluation.data.bm25 import BM25
from rerank_core.evaluation.data.candidates import Candidates, Choice, ask, choose, parse_candidates
from rerank_core.evaluation.data.collection import Collection, Question
from rerank_core.evaluation.data.layouts import CANDIDATES, read_collection, read_lines
from rerank_core.evaluation.judge.measures import candidate_recall, judge, judge_scores
from rerank_core.evaluation.report.report import Failure, JudgedSystem, Report, Setting, report
from rerank_core.evaluation.run.answers import Measure, SystemRun
from rerank_core.evaluation.run.cache import Cache
from rerank_core.evaluation.run.machine import machine
from rerank_core.evaluation.run.processes import measure as measure_in_processes
from rerank_core.evaluation.run.run import Fingerprints, cache_key, collection_key, missing, run
from rerank_core.evaluation.run.systems import System, labels

RETRIEVED = "bm25"  # where candidates may come from, instead of a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An evaluation's systems, its data, and its settings.

    - ``data``: the collection's folder; ``split``: of its judgements.
    - ``queries``: the first so many, None for all; ``depth``: candidates of each.
    - ``candidates``: a file, ``bm25``, or None for the collection's own file where it has one.
    """

    data: Path
    systems: Sequence[System]
    queries: int | None = 150
    depth: int = 20
    candidates: str | None = None
    split: str | None = None

    @property
    def candidates_file(self) -> Path | None:
        """None where BM25 retrieves them."""
        if self.candidates == RETRIEVED:
            return None
        if self.candidates is not None:
            return Path(self.candidates)
        own = self.data / CANDIDATES
        return own if own.is_file() else None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A report, with the questions and the runs that it was made of."""

    report: Report
    questions: tuple[Question, ...]
    runs: tuple[SystemRun, ...]


class Progress(Protocol):
    """Shows the progress of an evaluation."""

    def read(self, description: str) -> None:
        """Note what the files of the collection were read as."""
        ...

    def begin(self, queries: int) -> None:
        """Begin, with the number of queries to ask of all systems together."""
        ...

    def system(self, label: str) -> None:
        """Note that the next queries are asked of this system."""
        ...

    def asked(self) -> None:
        """Note that one more query is answered."""
        ...


def evaluate(
    request: Request, cache: Cache, progress: Progress, *, measure: Measure = measure_in_processes
) -> Evaluation:
    """Ask every system what the cache does not know, and judge them all.

    A system that fails is a failure in the report; where all do, the first one's error is raised. Raises
    ``InvalidRequest`` for data that cannot be read, and whatever says that a model is not to be had, before anything is
    computed.
    """
    collection = read_collection(request.data, split=request.split)
    file = request.candidates_file
    given = parse_candidates(read_lines(file), file.name) if file else None
    candidates = file.name if file else "BM25"
    progress.read(f"{collection.name}: {collection.description}, candidates from {candidates}")
    choice = choose(collection, given, request.queries)
    questions, bm25 = _first_stage(collection, choice, given, request.depth)
    here = machine()
    setting = Setting(
        collection=collection.name,
        documents=len(collection.documents),
        collection_queries=len(collection.queries),
        judgements=sum(map(len, collection.grades.values())),
        queries=choice.queries,
        pairs=sum(len(question.candidates) for question in questions),
        depth=request.depth,
        candidates=file.name if file else "BM25",
        candidate_recall=candidate_recall(questions),
        without_relevant=choice.without_relevant,
        without_candidates=choice.without_candidates,
        machine=here,
    )
    results = [JudgedSystem("BM25", judge_scores(questions, bm25))]
    if given is not None:
        results.append(JudgedSystem("as given", judge(questions, [question.candidates for question in questions])))

    fingerprints = Fingerprints()
    # Before anything is computed: a wrong name should not show after an hour.
    keys = [cache_key(system, fingerprints.of(system, questions), here) for system in request.systems]
    place = collection_key(collection)
    progress.begin(sum(len(missing(cache.read(place, key), questions)) for key in keys))
    runs: list[SystemRun] = []
    failures: list[tuple[str, RerankError]] = []
    for label, system, key in zip(labels(request.systems), request.systems, keys, strict=True):
        progress.system(label)
        try:
            found = run(system, questions, cache=cache, place=(place, key), measure=measure, tick=progress.asked)
        except RerankError as error:
            failures.append((label, error))
            continue
        runs.append(found)
        results.append(JudgedSystem(label, judge_scores(questions, [answer.scores for answer in found.answers]), found))
    if not runs:
        raise failures[0][1]
    failed = [Failure(label, " ".join(str(error).split())) for label, error in failures]
    return Evaluation(report(setting, results, failed), tuple(questions), tuple(runs))


def _first_stage(
    collection: Collection, choice: Choice, given: Candidates | None, depth: int
) -> tuple[list[Question], list[list[float]]]:
    """Make the questions with their candidates, and BM25's scores of those; its index lives no longer than this."""
    index = BM25(collection.documents)
    ranked: Candidates = given or {query: index.retrieve(collection.queries[query], depth) for query in choice.queries}
    questions = ask(collection, choice.queries, ranked, depth)
    return questions, [index.score(question.query, question.candidates) for question in questions]
