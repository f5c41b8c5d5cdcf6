"""Orders documents by their scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape
from typing import SupportsIndex, TypeVar, overload

from rerank_core.errors import InvalidRequest
from rerank_core.inputs import as_list, as_options, as_pairs
from rerank_core.progress import keywords
from rerank_core.scorer import Scorer
from rerank_core.types import RankedDocument, ScoreOptions, Scores, Span, Usage

_MOST_ROWS = 20  # that are shown
_MOST_CHARACTERS = 80, 300  # of a document that are shown, in a console and in a notebook

Item = TypeVar("Item")


class Ranking(list[RankedDocument]):
    """Documents, best first: a list that shows itself as a table, in a console and in a notebook."""

    @overload
    def __getitem__(self, place: SupportsIndex) -> RankedDocument: ...

    @overload
    def __getitem__(self, place: slice) -> Ranking: ...

    def __getitem__(self, place: SupportsIndex | slice) -> RankedDocument | Ranking:
        """One document, or a part of the ranking."""
        return Ranking(super().__getitem__(place)) if isinstance(place, slice) else super().__getitem__(place)

    def __repr__(self) -> str:
        """A table of the first documents: their positions, their scores and their texts, where known."""
        lines = [f"Ranking of {len(self)} document{'' if len(self) == 1 else 's'}, best first"]
        if self:
            lines.append("  index    score  document")
        lines += [
            f"{best.index:7}  {best.score:7.4f}  {_text(best, _MOST_CHARACTERS[0])}".rstrip()
            for best in self[:_MOST_ROWS]
        ]
        return "\n".join([*lines, *self._rest()])

    def _repr_html_(self) -> str:
        """The same table for a notebook."""
        rows = [
            f'<tr><td>{best.index}</td><td>{best.score:.4f}</td><td dir="auto" style="text-align: start">'
            f"{escape(_text(best, _MOST_CHARACTERS[1]))}</td></tr>"
            for best in self[:_MOST_ROWS]
        ]
        head = "<thead><tr><th>index</th><th>score</th><th>document</th></tr></thead>"
        rest = "".join(f"<p>{line}</p>" for line in self._rest())
        return f"<table>{head}<tbody>{''.join(rows)}</tbody></table>{rest}"

    def _rest(self) -> list[str]:
        return [f"... {len(self) - _MOST_ROWS} more"] if len(self) > _MOST_ROWS else []


def rank(
    scores: Iterable[float],
    documents: Iterable[str] | None = None,
    *,
    top_n: int | None = None,
    threshold: float | None = None,
) -> Ranking:
    """Order documents by score, best first.

    ``scores`` are ``Scores``, or any numbers in the order of the documents. Raw scores decide the order where they are
    known: a sigmoid is 1.0 for every logit above 37, and would lose it. Ties keep the caller's order, so that equal
    documents never swap between two identical requests. ``threshold`` keeps what scores at least as much, on the scale
    of ``scores``; ``top_n`` keeps so many of the best. ``documents``, where given, are the texts that were scored: each
    is then part of its result.

    Raises ``InvalidRequest`` for a ``top_n`` below 1, a score or a ``threshold`` that is not a number, and another
    number of documents than scores.
    """
    _check(top_n, threshold)
    known = _as_scores(scores)
    values = known.values
    # As a list: a column of pandas is indexed by its labels.
    texts = None if documents is None else as_list(documents, "documents", "strings")
    if texts is not None and len(texts) != len(values):
        raise InvalidRequest(f"there are {len(values)} scores and {len(texts)} documents: pass those of one call")
    by = values if known.raw_values is None else known.raw_values
    order = sorted(range(len(values)), key=lambda index: -by[index])
    if threshold is not None:
        order = [index for index in order if values[index] >= threshold]
    return Ranking(
        RankedDocument(
            index,
            values[index],
            span=_at(known.spans, index),
            sentences=_at(known.sentences, index),
            document=_at(texts, index),
        )
        for index in order[:top_n]
    )


def rerank(
    scorer: Scorer,
    query: str,
    documents: Iterable[str],
    *,
    top_n: int | None = None,
    threshold: float | None = None,
    raw: bool = False,
    options: ScoreOptions | None = None,
    progress: bool = False,
) -> Ranking:
    """Score the documents and order them, best first: ``rank`` after ``scorer.score``. Each result has its document.

    ``raw=True`` is the short form of ``options=ScoreOptions(raw=True)``; ``threshold`` is on the same scale.
    ``progress=True`` shows a bar in a terminal or a notebook; the scorer has to be able to, as a model in this process
    and ``HTTPScorer`` are. With ``highlight``, only documents that are returned are highlighted.
    """
    _check(top_n, threshold)
    options = as_options(options).highlighting(top_n, threshold)
    texts = [pair.document for pair in as_pairs(query, documents)]
    scores = scorer.score(query, texts, options=replace(options, raw=True) if raw else options, **keywords(progress))
    return rank(scores, texts, top_n=top_n, threshold=threshold)


def best_part(best: RankedDocument) -> Span | None:
    """Return the part of a document to show first: its best sentence, else its best window; None: all of it."""
    if best.sentences:
        return Span(*best.sentences[0][:2])
    return best.span


def _check(top_n: int | None, threshold: float | None) -> None:
    if top_n is not None and top_n < 1:
        raise InvalidRequest(f"top_n is {top_n}: use at least 1, or none for all")
    if threshold is not None and math.isnan(threshold):
        raise InvalidRequest("threshold is not a number")


def _as_scores(numbers: Iterable[float]) -> Scores:
    if isinstance(numbers, Scores):
        return numbers
    values = tuple(float(number) for number in numbers)
    for index, value in enumerate(values):
        if math.isnan(value):
            raise InvalidRequest(f"score {index} is not a number, so it has no place in an order")
    return Scores(values=values, model="", usage=Usage(pairs=len(values), tokens=0, truncated=0))


def _at(values: Sequence[Item] | None, index: int) -> Item | None:
    return None if values is None else values[index]


def _text(best: RankedDocument, length: int) -> str:
    """Return the part of a document to show, on one line and shortened."""
    if best.document is None:
        return ""
    part = best_part(best)
    text = " ".join((best.document if part is None else best.document[part.start : part.end]).split())
    return text if len(text) <= length else f"{text[: length - 3]}..."
