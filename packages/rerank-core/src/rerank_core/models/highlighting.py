"""Highlighting: the sentences of documents are scored as documents of their own, after the documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rerank_core.errors import InvalidRequest
from rerank_core.ranking import rank
from rerank_core.scorer import StepwiseModel
from rerank_core.text.sentences import sentences
from rerank_core.types import Pair, ScoreOptions, Scores, Sentence, Span

BEST = 3  # sentences of a document that are returned


@dataclass(frozen=True, slots=True)
class SentencePairs:
    """Sentences to score. ``pairs`` and ``spans`` have an entry for each.

    ``ranges`` are, for each document by its position in the request, the places of its sentences among them; None for
    one that is not highlighted.
    """

    pairs: list[Pair]
    spans: list[Span]
    ranges: list[range | None]


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
    found = sentence_pairs(scores, pairs, options)
    return with_sentences(scores, found, score(found.pairs, sentence_options(options)))


def sentence_pairs(scores: Scores, pairs: Sequence[Pair], options: ScoreOptions) -> SentencePairs:
    """Find the sentences to score: those of the part of each document that its score comes from."""
    chosen = {best.index for best in rank(scores, top_n=options.highlight_top)}
    found = SentencePairs([], [], [])
    for position, (query, document) in enumerate(pairs):
        if position not in chosen:
            found.ranges.append(None)
            continue
        first = len(found.spans)
        found.spans.extend(sentences(document, scores.spans[position] if scores.spans else None))
        found.pairs.extend(Pair(query, document[start:end]) for start, end in found.spans[first:])
        found.ranges.append(range(first, len(found.spans)))
    return found


def sentence_options(options: ScoreOptions) -> ScoreOptions:
    """Return the options that sentences are scored with: one that is too long is cut, whatever holds for documents."""
    return replace(
        options,
        highlight=None,
        highlight_top=None,
        truncate=True,
        max_document_tokens=None,
        long_documents="truncate",
        overlap_tokens=None,
        max_chunks=None,
    )


def with_sentences(scores: Scores, asked: SentencePairs, found: Scores) -> Scores:
    """Add the best sentences of each document, and the tokens that were read for them; no score changes."""
    order = found.values if found.raw_values is None else found.raw_values

    def best(places: range) -> tuple[Sentence, ...]:
        chosen = sorted(places, key=lambda place: -order[place])[:BEST]
        return tuple(Sentence(*asked.spans[place], found.values[place]) for place in chosen)

    return replace(
        scores,
        usage=replace(scores.usage, tokens=scores.usage.tokens + found.usage.tokens),
        sentences=tuple(None if places is None else best(places) for places in asked.ranges),
    )
