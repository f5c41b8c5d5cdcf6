"""Turns pairs of texts into sequences: one a pair for a cross-encoder, two for a bi-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from rerank_core.errors import InputTooLong, InvalidRequest
from rerank_core.text.template import Template
from rerank_core.text.tokenizer import TextIds, TextTokenizer
from rerank_core.text.truncation import (
    cut,
    kept_lengths,
    length_read,
    pair_too_long,
    query_too_long,
    side_of,
    spans_read,
    too_many_windows,
    window_size,
    with_side,
)
from rerank_core.text.windows import query_room
from rerank_core.types import (
    Encoding,
    LongDocuments,
    Pair,
    ScoreOptions,
    Span,
    TokenSequence,
    Truncation,
    TruncationSide,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class CrossEncoderTokenizer:
    """Turns a pair into one sequence, query and document together: what a cross-encoder reads.

    ``query_prompt`` is put before the query, as the checkpoint asks.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_length: int,
        truncation: Truncation,
        has_type_ids: bool,
        query_prompt: str = "",
        long_documents: LongDocuments = "truncate",
        truncation_side: TruncationSide = "right",
        max_characters: int | None = None,
    ) -> None:
        self._long_documents = long_documents
        self._truncation_side = truncation_side
        self._text_ids = TextTokenizer(tokenizer, max_characters)
        self.template = Template.of(tokenizer, texts=2)
        self._max_length = max_length
        self._truncation = truncation
        self._has_type_ids = has_type_ids
        self._query_prompt = query_prompt

    def __call__(self, pairs: Sequence[Pair], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        """Return one encoding per pair, numbered from ``first``; each distinct text is tokenised once.

        Raises ``InputTooLong``.
        """
        options = with_side(options, self._truncation_side)
        if self._query_prompt:
            pairs = [Pair(self._query_prompt + query, document) for query, document in pairs]
        room = self.template.room(self._max_length, options)
        limits = {pair.document: _limit(room, options.max_document_tokens, options) for pair in pairs}
        for query in {pair.query for pair in pairs}:
            limits[query] = _larger(limits.get(query, 0), _limit(room, options.max_query_tokens, options))
        text_ids = self._text_ids(limits, side_of(options))
        return [self._encode(index, pair, text_ids, room, options) for index, pair in enumerate(pairs, first)]

    def _encode(
        self, index: int, pair: Pair, text_ids: dict[str, TextIds], room: int, options: ScoreOptions
    ) -> Encoding:
        side = options.truncation_side
        whole_query, whole_document = text_ids[pair.query], text_ids[pair.document]
        query = cut(whole_query.ids, options.max_query_tokens, side)
        document = cut(whole_document.ids, options.max_document_tokens, side)
        fits = len(query) + len(document) <= room

        if (
            options.windows(self._long_documents)
            and not fits
            and self._is_cut(len(query), len(document), room, options)
        ):
            is_capped = len(query) < len(whole_query.ids)
            return self._encode_windows(index, pair.document, query, is_capped, room, options)
        if not fits and not options.truncate:
            total = len(query) + len(document) + self.template.special_tokens
            raise pair_too_long(index, total, "its query", length_read(self._max_length, options))
        kept = self._kept(pair, text_ids, room, options)
        ids, types = self.template.build([cut(query, kept[0], side), cut(document, kept[1], side)])
        sequence = _sequence(ids, types if self._has_type_ids else [], f"document {index}")
        query_is_cut, document_is_cut = _is_cut(whole_query, kept[0]), _is_cut(whole_document, kept[1])
        find_kept = partial(self._text_ids.span_of_kept, pair.document, kept[1], side_of(options))
        spans = spans_read(pair.document, options, self._long_documents, find_kept if document_is_cut else None)
        return Encoding((index,), (sequence,), truncated=int(query_is_cut or document_is_cut), spans=spans)

    def _kept(self, pair: Pair, text_ids: dict[str, TextIds], room: int, options: ScoreOptions) -> tuple[int, int]:
        """Count the tokens that are kept of each text, of which more than ``room`` are known where it has more.

        So ``kept_lengths`` gives the same as for their true lengths: it asks for more than ``room`` only to know which
        is longer, where both are and an odd token is left.
        """
        caps = options.max_query_tokens, options.max_document_tokens
        truncation = options.truncation or self._truncation
        query, document = text_ids[pair.query].length(caps[0]), text_ids[pair.document].length(caps[1])
        if truncation == "only_second" and query >= room and not text_ids[pair.query].is_settled(caps[0]):
            raise query_too_long(f"{query} tokens or more", room)
        if truncation == "longest_first" and min(query, document) > room and room % 2:
            is_longer = self._text_ids.is_longer(pair.query, pair.document, text_ids, caps, side_of(options))
            query, document = (room + 2, room + 1) if is_longer else (room + 1, room + 2)
        return kept_lengths(query, document, room, truncation)

    def _is_cut(self, query: int, document: int, room: int, options: ScoreOptions) -> bool:
        """Return whether some of a document would be lost; else it is a long query that has to be cut."""
        return kept_lengths(query, document, room, options.truncation or self._truncation)[1] < document

    def _encode_windows(
        self, index: int, document: str, query: Sequence[int], is_capped: bool, room: int, options: ScoreOptions
    ) -> Encoding:
        kept = cut(query, query_room(len(query), room), options.truncation_side)
        windows = self._text_ids.windows_of(document, window_size(room, len(kept), index), options)
        is_cut = windows.loses or len(kept) < len(query)
        if is_cut and not options.truncate:
            limit = length_read(self._max_length, options)
            raise too_many_windows(index, len(windows.found), limit, with_query=True)
        sequences = []
        for window in windows.found:
            ids, types = self.template.build([kept, window.ids])
            sequences.append(TokenSequence.of(ids, types if self._has_type_ids else []))
        truncated = int(is_cut or is_capped or windows.is_capped)
        return Encoding((index,), tuple(sequences), truncated, tuple(windows.spans))


class BiEncoderTokenizer:
    """Turns a pair into two sequences, the query and the document: what a bi-encoder reads.

    ``query_prompt`` and ``document_prompt`` are put before the texts, as the checkpoint asks.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_length: int,
        has_type_ids: bool,
        query_prompt: str = "",
        document_prompt: str = "",
        long_documents: LongDocuments = "truncate",
        truncation_side: TruncationSide = "right",
        max_characters: int | None = None,
    ) -> None:
        self._long_documents = long_documents
        self._truncation_side = truncation_side
        self._text_ids = TextTokenizer(tokenizer, max_characters)
        self.template = Template.of(tokenizer, texts=1)
        self._max_length = max_length
        self._has_type_ids = has_type_ids
        self._query_prompt = query_prompt
        self._document_prompt = document_prompt

    def __call__(self, pairs: Sequence[Pair], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        """Return one encoding per pair, numbered from ``first``; each distinct text is tokenised once.

        Raises ``InputTooLong``.
        """
        options = with_side(options, self._truncation_side)
        queries = [self._query_prompt + pair.query for pair in pairs]
        documents = [self._document_prompt + pair.document for pair in pairs]
        room = self.template.room(self._max_length, options)
        limits: dict[str, int | None] = dict.fromkeys(documents, _limit(room, options.max_document_tokens, options))
        for query in set(queries):
            limits[query] = _larger(limits.get(query, 0), _limit(room, options.max_query_tokens, options))
        text_ids = self._text_ids(limits, side_of(options))
        query_sequences = {
            text: self._sequence_of(text_ids[text], options.max_query_tokens, "the query", options)
            for text in set(queries)
        }
        encodings = []
        for index, (pair, query, document) in enumerate(zip(pairs, queries, documents, strict=True), first):
            query_sequence, query_cut = query_sequences[query]
            if options.windows(self._long_documents):
                sequences, spans, is_cut = self._document_windows(index, pair.document, text_ids[document], options)
                sequences = [query_sequence, *sequences]
                encodings.append(Encoding((index,), tuple(sequences), int(query_cut or is_cut), (Span(0, 0), *spans)))
                continue
            document_sequence, document_cut = self._sequence_of(
                text_ids[document], options.max_document_tokens, f"document {index}", options
            )
            encoding = Encoding((index,), (query_sequence, document_sequence), int(query_cut or document_cut))
            if options.highlight:
                read = self._spans_read(document, text_ids[document], document_cut, options)
                encoding = replace(encoding, spans=read)
            encodings.append(encoding)
        return encodings

    def _spans_read(self, text: str, ids: TextIds, is_cut: bool, options: ScoreOptions) -> tuple[Span, Span]:
        """Return the spans of the query and of what is read of a document; ``text`` has the document's prompt."""
        prompt = len(self._document_prompt)
        if not is_cut:
            return Span(0, 0), Span(0, len(text) - prompt)
        kept = min(ids.length(options.max_document_tokens), self.template.room(self._max_length, options))
        start, end = self._text_ids.span_of_kept(text, kept, side_of(options))
        return Span(0, 0), Span(max(0, start - prompt), max(0, end - prompt))

    def _document_windows(
        self, index: int, document: str, ids: TextIds, options: ScoreOptions
    ) -> tuple[list[TokenSequence], list[Span], bool]:
        """Return a document's windows, their spans, and whether something is in none; a short one has one window."""
        room = self.template.room(self._max_length, options)
        if ids.length(options.max_document_tokens) <= room:
            sequence, is_cut = self._sequence_of(ids, options.max_document_tokens, f"document {index}", options)
            return [sequence], [Span(0, len(document))], is_cut
        prompt: Sequence[int] = ()
        if self._document_prompt:
            prompt = self._text_ids({self._document_prompt: None})[self._document_prompt].ids
        windows = self._text_ids.windows_of(document, window_size(room, len(prompt), index), options)
        if windows.loses and not options.truncate:
            limit = length_read(self._max_length, options)
            raise too_many_windows(index, len(windows.found), limit, with_query=False)
        sequences = []
        for window in windows.found:
            kept, types = self.template.build([[*prompt, *window.ids]])
            sequences.append(TokenSequence.of(kept, types if self._has_type_ids else []))
        return sequences, windows.spans, windows.loses or windows.is_capped

    def _sequence_of(
        self, text: TextIds, cap: int | None, name: str, options: ScoreOptions
    ) -> tuple[TokenSequence, bool]:
        capped = cut(text.ids, cap, options.truncation_side)
        room = self.template.room(self._max_length, options)
        if len(capped) > room and not options.truncate:
            raise InputTooLong(
                f"{name} has {len(capped) + self.template.special_tokens} tokens, the model reads "
                f"{length_read(self._max_length, options)}: shorten it, or allow truncation"
            )
        kept = cut(capped, room, options.truncation_side)
        ids, types = self.template.build([kept])
        return _sequence(ids, types if self._has_type_ids else [], name), _is_cut(text, len(kept))


def _limit(room: int, cap: int | None, options: ScoreOptions) -> int | None:
    """Count the tokens of a text that have to be known: one more than can be read, to know that it is cut.

    All of them, None, where too many are an error that says their number.
    """
    if not options.truncate:
        return None
    return 1 + (room if cap is None else min(room, cap))


def _larger(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


def _is_cut(text: TextIds, kept: int) -> bool:
    return text.is_cut or kept < len(text.ids)


def _sequence(ids: list[int], types: list[int], name: str) -> TokenSequence:
    if not ids:
        raise InvalidRequest(f"{name} has no tokens: this model needs some text")
    return TokenSequence.of(ids, types)
