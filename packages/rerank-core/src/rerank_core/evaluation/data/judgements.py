"""Reads judgements: lines of query, document and grade, or of TREC's four columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from rerank_core.errors import InvalidRequest

_RUN = 6  # columns


@dataclass(frozen=True, slots=True)
class Judgements:
    """Grades by query id and document id, and the layout that they were read in."""

    grades: dict[str, dict[str, int]]
    layout: str


_LAYOUTS = {3: "query, document, grade", 4: "TREC: query, iteration, document, grade"}


def parse_judgements(lines: Iterable[str], name: str) -> Judgements:
    """Parse judgements, between tabs or spaces; a first line without a grade is a header.

    Raises ``InvalidRequest`` for a line of another number of columns than the first, or without a grade, and for a
    document that has two grades.
    """
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    width = None
    for number, line in enumerate(lines, start=1):
        cells = _cells(line)
        if not cells:
            continue
        grade = _grade(cells[-1])
        if number == 1 and grade is None and len(cells) in _LAYOUTS:
            continue
        if len(cells) not in _LAYOUTS or grade is None:
            raise InvalidRequest(f"{name}, line {number} has {len(cells)} columns: {_way_out(len(cells))}")
        if len(cells) != (width := width or len(cells)):
            raise InvalidRequest(f"{name}, line {number} has {len(cells)} columns, and lines before it {width}")
        query, document = cells[0], cells[-2]
        if grades[query].setdefault(document, grade) != grade:
            raise InvalidRequest(
                f"{name}, line {number}: document {document!r} of query {query!r} has two grades, "
                f"{grades[query][document]} and {grade}"
            )
    if width is None:
        raise InvalidRequest(f"{name} holds no judgement: nothing can be judged without")
    return Judgements(dict(grades), _LAYOUTS[width])


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("\r\n ").split("\t")] if "\t" in line.strip() else line.split()


def _way_out(columns: int) -> str:
    if columns == _RUN:
        return "that is a TREC run, which --candidates reads; judgements have three columns or four"
    return (
        "it needs three, query id, document id and a whole number (above 0 is relevant), or TREC's four, with the "
        "iteration after the query id"
    )


def _grade(text: str) -> int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
