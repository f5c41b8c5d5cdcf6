"""Retrieval collections with judged answers, and the measure that rankings are judged by."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Any

CUTOFF = 10


@dataclass(frozen=True, slots=True)
class Question:
    """A query and its candidates, in the order of the first retriever, best first.

    ``grades``: every judgement of the query, of candidates or not, by document id; 0 or less is not relevant.
    """

    query: str
    ids: tuple[str, ...]
    documents: tuple[str, ...]
    grades: dict[str, int]

    def ndcg(self, scores: Sequence[float]) -> float:
        """nDCG@10 of the candidates by these scores, best first; ties keep the candidates' order, as in ``rank``."""
        order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
        return ndcg([self.ids[index] for index in order], self.grades)

    def ndcg_as_given(self) -> float:
        """nDCG@10 of the first retriever's own order."""
        return ndcg(self.ids, self.grades)


@dataclass(frozen=True, slots=True)
class Collection:
    """Questions over one corpus."""

    name: str
    questions: tuple[Question, ...]


def ndcg(ranking: Sequence[str], grades: dict[str, int]) -> float:
    """nDCG@10, in [0, 1], with linear gain, as trec_eval and ir-measures have it (Järvelin and Kekäläinen, 2002).

    DCG is the sum of grade / log2(rank + 1), ranks from 1. It is divided by the DCG of the best order of *all* judged
    documents, so a relevant one that is no candidate costs. 0 where nothing is relevant.
    """
    ideal = _dcg(sorted(grades.values(), reverse=True))
    return _dcg([grades.get(document, 0) for document in ranking]) / ideal if ideal else 0.0


def _dcg(grades: Sequence[int]) -> float:
    return sum(max(0, grade) / log2(rank + 1) for rank, grade in enumerate(grades[:CUTOFF], start=1))


def collection_names(data: Path) -> list[str]:
    """The folders that hold a collection."""
    return sorted(path.parent.name for path in data.glob("*/candidates.jsonl"))


def read_collection(directory: Path, *, queries: int, depth: int) -> Collection:
    """The first ``queries`` queries that have candidates, with their ``depth`` best candidates.

    Reads ``corpus.jsonl``, ``queries.jsonl``, ``qrels.tsv`` (with a header) and ``candidates.jsonl``.
    """
    texts = {line["_id"]: line["text"] for line in _lines(directory / "queries.jsonl")}
    corpus = {line["_id"]: f"{line['title']} {line['text']}".strip() for line in _lines(directory / "corpus.jsonl")}
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    for row in (directory / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = row.split("\t")
        grades[query][document] = int(grade)

    questions = []
    for line in list(_lines(directory / "candidates.jsonl"))[:queries]:
        ids = tuple(candidate["id"] for candidate in line["candidates"][:depth])
        query = line["query_id"]
        questions.append(Question(texts[query], ids, tuple(corpus[document] for document in ids), grades[query]))
    return Collection(directory.name, tuple(questions))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)
