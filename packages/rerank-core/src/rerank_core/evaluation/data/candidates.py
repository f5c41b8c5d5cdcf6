"""Chooses the queries to ask, and the documents that each one's ranking starts from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rerank_core.errors import InvalidRequest
from rerank_core.evaluation.data.collection import Collection, Question
from rerank_core.evaluation.data.layouts import parse_object
from rerank_core.evaluation.data.trec_run import parse_run

Candidates: TypeAlias = Mapping[str, Sequence[str]]
"""Document ids by query id, best first."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The ids of the queries to ask, in their order, and how many of those before were passed over.

    ``without_relevant``: no document is relevant to them; ``without_candidates``: the candidates' file lacks them.
    """

    queries: tuple[str, ...]
    without_relevant: int
    without_candidates: int


def choose(collection: Collection, candidates: Candidates | None, most: int | None) -> Choice:
    """Choose the first ``most`` queries, in their file's order, that have a relevant document and candidates.

    Queries without a judgement are of another split, and are not counted. Raises ``InvalidRequest`` where none is left.
    """
    chosen: list[str] = []
    without_relevant = without_candidates = 0
    for query in collection.queries:
        if most is not None and len(chosen) == most:
            break
        if query not in collection.grades:
            continue
        if max(collection.grades[query].values()) <= 0:
            without_relevant += 1
        elif candidates is not None and not candidates.get(query):
            without_candidates += 1
        else:
            chosen.append(query)
    if not chosen:
        raise InvalidRequest(
            f"{collection.name} has no query to ask: {without_relevant} have no relevant document, "
            f"{without_candidates} have no candidates"
        )
    return Choice(tuple(chosen), without_relevant, without_candidates)


def ask(collection: Collection, queries: Iterable[str], candidates: Candidates, depth: int) -> list[Question]:
    """Make questions: each query with its ``depth`` best candidates. Raises ``InvalidRequest`` for an unknown one."""
    questions = []
    for query in queries:
        ids = tuple(candidates.get(query, ()))[:depth]
        if absent := [identity for identity in ids if identity not in collection.documents]:
            raise InvalidRequest(
                f"{len(absent)} of the {len(ids)} candidates of query {query!r} are not in the corpus of "
                f"{collection.name} ({absent[0]!r} is the first): the files belong to different collections"
            )
        questions.append(
            Question(
                id=query,
                query=collection.queries[query],
                candidates=ids,
                documents=tuple(collection.documents[identity] for identity in ids),
                grades=collection.grades.get(query, {}),
            )
        )
    return questions


def parse_candidates(lines: Iterable[str], name: str) -> dict[str, tuple[str, ...]]:
    """Parse candidates from JSON lines or a TREC run, as the first line is. A document twice counts where it is best.

    A JSON line has ``query_id`` and ``candidates``, best first, each an id or an object with an ``id``. A run's line
    has six columns: query id, ``Q0``, document id, rank, score, name; the ranks order it. Raises ``InvalidRequest``
    naming the line that is neither.
    """
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise InvalidRequest(f"{name} is empty: it needs candidates, as JSON lines or as a TREC run")
    parse = _parse_json if numbered[0][1].lstrip().startswith("{") else parse_run
    return {query: tuple(dict.fromkeys(ids)) for query, ids in parse(numbered, name).items()}


def _parse_json(lines: Iterable[tuple[int, str]], name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for number, line in lines:
        record = parse_object(line, name, number)
        query, listed = record.get("query_id"), record.get("candidates")
        ids = [one.get("id") if isinstance(one, dict) else one for one in listed] if isinstance(listed, list) else None
        if not isinstance(query, str) or ids is None or not all(isinstance(one, str) for one in ids):
            raise InvalidRequest(
                f"{name}, line {number}: needs a string 'query_id' and a list 'candidates' of ids, or of objects with "
                "a string 'id'"
            )
        found[query] = [str(one) for one in ids]
    return found
