"""TREC runs, read and written: query id, ``Q0``, document id, rank, score, name, between spaces."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from rerank_core.errors import InvalidRequest

_COLUMNS = 6
_JUDGEMENTS = 4  # columns


def parse_run(lines: Iterable[tuple[int, str]], name: str) -> dict[str, list[str]]:
    """Parse document ids by query id, best first, from lines with their numbers: by rank, then by score.

    Raises ``InvalidRequest`` naming the line that is not of a run.
    """
    ranked: dict[str, list[tuple[int, float, str]]] = defaultdict(list)
    for number, line in lines:
        cells = line.split()
        score = _number(cells[4]) if len(cells) == _COLUMNS else None
        if score is None or not cells[3].isdecimal():
            hint = "; four columns are judgements, which lie in qrels" if len(cells) == _JUDGEMENTS else ""
            raise InvalidRequest(
                f"{name}, line {number} has {len(cells)} columns: a TREC run has six, query id, Q0, document id, rank, "
                f"score, name; JSON lines begin with {{{hint}"
            )
        ranked[cells[0]].append((int(cells[3]), -score, cells[2]))
    return {query: [identity for *_, identity in sorted(found)] for query, found in ranked.items()}


def format_run(rankings: Mapping[str, Sequence[tuple[str, float]]], name: str) -> str:
    """Write a run of document ids and scores by query id, best first. ``name`` is the last column, spaces replaced.

    Raises ``InvalidRequest`` for an id with a space in it, which would be two columns.
    """
    tag = re.sub(r"\s+", "-", name.strip()) or "rerank"
    lines = []
    for query, ranking in rankings.items():
        for rank, (document, score) in enumerate(ranking, start=1):
            if len(query.split()) != 1 or len(document.split()) != 1:
                raise InvalidRequest(
                    f"query {query!r} with document {document!r} cannot be written into a TREC run: ids must be "
                    "without spaces, and not empty"
                )
            lines.append(f"{query} Q0 {document} {rank} {score!r} {tag}\n")
    return "".join(lines)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
