"""Highlighting: the sentences of documents are scored as documents of their own, after the documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from rerank_core.errors import InvalidRequest
from rerank_core.ranking import rank
from rerank_core.scorer import StepwiseModel
from rerank_core.text.sentences import sentences
from rerank_core.types import Pair, ScoreOptions, Scores, Sentence, Span

BEST = 3  # sentences of a document that are returned


class SentencePair(NamedTuple):
    """A sentence to score: its document's position in the request, its characters there, and its query beside it."""

    document: int
    span: Span
    pair: Pair


def check_highlight(model: StepwiseModel, options: ScoreOptions) -> None:
    """Raise ``InvalidRequest`` where sentences are asked for that the model cannot score one by one."""
    if options.highlight is not None and not model.independent:
        raise InvalidRequest(
            f"{model.info.name} scores the documents of a query as one list, so a sentence has no score of its own: "
            "leave highlight out"
        )


def highlight(
    scores: Scores, pairs: Sequence[Pair], options: ScoreOptions, score: Callable[[list[Pair], ScoreOptions], Scores]
) -> Scores:
    """Add the best sentences of each document to the scores, where the options ask for them."""
    if options.highlight is None:
        return scores
    chosen = documents_to_highlight(scores, options)
    found = sentence_pairs(scores, pairs, chosen)
    return with_sentences(scores, chosen, found, score([one.pair for one in found], sentence_options(options)))


def documents_to_highlight(scores: Scores, options: ScoreOptions) -> list[int]:
    """Return the positions of the documents whose sentences are to be scored, best first."""
    return [best.index for best in rank(scores, top_n=options.highlight_top, threshold=options.highlight_threshold)]


def sentence_pairs(scores: Scores, pairs: Sequence[Pair], documents: Iterable[int]) -> list[SentencePair]:
    """Find the sentences of documents, given by position: those of the part that the document's score comes from."""
    return [
        SentencePair(position, span, Pair(pairs[position].query, pairs[position].document[span.start : span.end]))
        for position in documents
        for span in sentences(pairs[position].document, scores.spans[position] if scores.spans else None)
    ]


def sentence_options(options: ScoreOptions) -> ScoreOptions:
    """Return the options that sentences are scored with: one that is too long is cut, whatever holds for documents."""
    return replace(
        options,
        highlight=None,
        highlight_top=None,
        highlight_threshold=None,
        truncate=True,
        max_document_tokens=None,
        long_documents="truncate",
        overlap_tokens=None,
        max_chunks=None,
    )


def with_sentences(scores: Scores, documents: Iterable[int], asked: Sequence[SentencePair], found: Scores) -> Scores:
    """Add the best sentences of ``documents``, and the tokens that were read for them; no score changes."""
    order = found.values if found.raw_values is None else found.raw_values
    best: dict[int, list[Sentence]] = {position: [] for position in documents}
    for place in sorted(range(len(asked)), key=lambda place: -order[place]):
        if len(best[asked[place].document]) < BEST:
            best[asked[place].document].append(Sentence(*asked[place].span, found.values[place]))
    return replace(
        scores,
        usage=replace(scores.usage, tokens=scores.usage.tokens + found.usage.tokens),
        sentences=tuple(tuple(best[position]) if position in best else None for position in range(len(scores))),
    )
