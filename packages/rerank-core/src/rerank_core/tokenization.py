"""From text to token ids: the checkpoint's own tokenizer, configured once and only read afterwards.

A fast tokenizer that is reconfigured for a call silently truncates other threads' texts to that call's length, so
truncation is never the library's here: texts become ids without special tokens, ids are cut by ``truncation.py``,
and the template that the tokenizer itself applies is laid around them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rerank_core.chunking import query_room, sentence_ends, span, windows
from rerank_core.errors import CheckpointError, InputTooLong, InvalidRequest
from rerank_core.forking import current_process
from rerank_core.tokenizer_files import read_tokenizer
from rerank_core.truncation import cut, kept_lengths
from rerank_core.types import Encoding, LongDocuments, Pair, ScoreOptions, Segment, Span, Truncation, TruncationSide

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Encoding as Encoded
    from tokenizers import Tokenizer

_LEAST_ROOM = 4  # tokens of text: a window has three quarters of a query, and some document beside it
_BATCH = 256  # texts a call: one call for all would hold every intermediate object of a large request at once


def load_tokenizer(directory: Path, *, lowercase: bool = False) -> Tokenizer:
    """Read a model directory's tokenizer, without truncation and padding. Raises as ``read_tokenizer``."""
    return read_tokenizer(directory, lowercase=lowercase).tokenizer


@dataclass(frozen=True, slots=True)
class _Part:
    """Special tokens between texts."""

    ids: tuple[int, ...]
    type_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """The special tokens around and between texts, and each text's token type."""

    parts: tuple[_Part, ...]
    text_types: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Tokenizer, texts: int) -> Template:
        """What the tokenizer's own post-processor lays around one text or two.

        Found by looking at an example. Raises ``CheckpointError`` where the result is not the texts, in their order,
        with special tokens around them.
        """
        first, second = "a", ("b c" if texts == 2 else None)
        probes = [tokenizer.encode(text, add_special_tokens=False) for text in (first, second) if text]
        whole = tokenizer.encode(first, second)
        owners, ids, types = whole.sequence_ids, whole.ids, whole.type_ids
        parts, text_types, position = [], [], 0
        for text, probe in enumerate(probes):
            start = owners.index(text) if text in owners else position
            parts.append(_Part(tuple(ids[position:start]), tuple(types[position:start])))
            text_types.append(types[start] if text in owners else 0)
            position = start + len(probe.ids)
        parts.append(_Part(tuple(ids[position:]), tuple(types[position:])))
        template = cls(tuple(parts), tuple(text_types))
        if template.build([probe.ids for probe in probes]) != (ids, types):
            raise CheckpointError("tokenizer.json: its post-processor does more than lay special tokens around texts")
        return template

    @property
    def largest_id(self) -> int:
        """The largest token id that it adds, -1 where it adds none."""
        return max((token for part in self.parts for token in part.ids), default=-1)

    @property
    def largest_type(self) -> int:
        """The largest token type that it gives."""
        return max((*self.text_types, *(kind for part in self.parts for kind in part.type_ids)))

    @property
    def special_tokens(self) -> int:
        """How many tokens it adds."""
        return sum(len(part.ids) for part in self.parts)

    def room(self, max_length: int, options: ScoreOptions) -> int:
        """How many tokens of text fit, where the model reads ``max_length`` at once and a request may ask for less.

        Raises ``InvalidRequest`` for a ``max_length`` of the request that is more than the model reads, or too small
        for some text beside the special tokens.
        """
        wanted = options.max_length
        if wanted is None:
            return max_length - self.special_tokens
        if wanted > max_length:
            raise InvalidRequest(
                f"{wanted} tokens are asked for at once, the model reads {max_length}: ask for {max_length} or fewer"
            )
        if wanted < self.special_tokens + _LEAST_ROOM:
            raise InvalidRequest(
                f"{wanted} tokens are asked for at once, of which {self.special_tokens} are special tokens: "
                f"ask for {self.special_tokens + _LEAST_ROOM} or more"
            )
        return wanted - self.special_tokens

    def build(self, texts: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
        """Token ids and type ids of the texts with the special tokens."""
        ids, types = list(self.parts[0].ids), list(self.parts[0].type_ids)
        for text, text_type, part in zip(texts, self.text_types, self.parts[1:], strict=True):
            ids += text
            ids += part.ids
            types += [text_type] * len(text)
            types += part.type_ids
        return ids, types


class TextTokenizer:
    """Texts to token ids, without special tokens. Safe to share between threads."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._process = current_process()

    def __call__(self, texts: Sequence[str]) -> dict[str, list[int]]:
        """The ids of each distinct text."""
        distinct = list(dict.fromkeys(texts))
        ids: dict[str, list[int]] = {}
        for start in range(0, len(distinct), _BATCH):
            batch = distinct[start : start + _BATCH]
            ids.update((text, encoding.ids) for text, encoding in zip(batch, self._encode(batch), strict=True))
        return ids

    def _encode(self, batch: list[str]) -> Iterable[Encoded]:
        if self._process == current_process():
            return self._tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        # A forked process lacks the library's threads: a batch would wait for them for ever, one text needs none.
        return (self._tokenizer.encode(text, add_special_tokens=False) for text in batch)

    def chunks(self, document: str, size: int, options: ScoreOptions) -> tuple[list[Chunk], bool]:
        """A document's windows of at most ``size`` tokens, and whether there would have been more.

        Its characters are looked up only here: that takes longer than finding the ids alone.
        """
        encoding = self._tokenizer.encode(document, add_special_tokens=False)
        ids, offsets = encoding.ids, encoding.offsets
        kept = cut(range(len(ids)), options.max_document_tokens, options.truncation_side)
        ends = [end - kept[0] for end in sentence_ends(document, offsets) if end > kept[0]]
        found = windows(len(kept), size, options.overlap_tokens, ends)
        wanted = 1 if options.chunk_score == "first" else options.max_chunks
        chosen = [range(kept[part.start], kept[part.stop - 1] + 1) for part in found[:wanted]]
        chunks = [Chunk(ids[part.start : part.stop], span(offsets, part)) for part in chosen]
        return chunks, len(chosen) < len(found)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A window of a document: its tokens, and the characters that they are of."""

    ids: Sequence[int]
    span: Span


class PairTokenizer:
    """A pair to one segment, query and document together: what a cross-encoder reads."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_length: int,
        truncation: Truncation,
        has_type_ids: bool,
        long_documents: LongDocuments = "truncate",
        truncation_side: TruncationSide = "right",
    ) -> None:
        self._long_documents = long_documents
        self._truncation_side = truncation_side
        self._text_ids = TextTokenizer(tokenizer)
        self.template = Template.of(tokenizer, texts=2)
        self._max_length = max_length
        self._truncation = truncation
        self._has_type_ids = has_type_ids

    def __call__(self, pairs: Sequence[Pair], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        """One encoding per pair, numbered from ``first``; each distinct text is tokenised once.

        Raises ``InputTooLong``.
        """
        options = _with_side(options, self._truncation_side)
        text_ids = self._text_ids([text for pair in pairs for text in pair])
        return [
            self._encode(index, pair, text_ids[pair.query], text_ids[pair.document], options)
            for index, pair in enumerate(pairs, first)
        ]

    def _encode(
        self, index: int, pair: Pair, query: Sequence[int], document: Sequence[int], options: ScoreOptions
    ) -> Encoding:
        side = options.truncation_side
        lengths = len(query), len(document)
        query = cut(query, options.max_query_tokens, side)
        document = cut(document, options.max_document_tokens, side)

        room = self.template.room(self._max_length, options)
        if options.windows(self._long_documents):
            if len(query) + len(document) > room and self._is_cut(len(query), len(document), room, options):
                is_capped = (len(query), len(document)) != lengths
                return self._encode_windows(index, pair.document, query, is_capped, room, options)
            whole = (Span(0, len(pair.document)),)
        else:
            whole = None
        if len(query) + len(document) > room and not options.truncate:
            total = len(query) + len(document) + self.template.special_tokens
            raise InputTooLong(
                f"document {index} has {total} tokens together with its query, the model reads "
                f"{options.max_length or self._max_length}: shorten it, or send truncate=true"
            )
        kept = kept_lengths(len(query), len(document), room, options.truncation or self._truncation)
        ids, types = self.template.build([cut(query, kept[0], side), cut(document, kept[1], side)])
        segment = _segment(ids, types if self._has_type_ids else [], f"document {index}")
        return Encoding(index, (segment,), truncated=kept != lengths, spans=whole)

    def _is_cut(self, query: int, document: int, room: int, options: ScoreOptions) -> bool:
        """Whether some of a document would be lost; else it is a long query that has to be cut."""
        return kept_lengths(query, document, room, options.truncation or self._truncation)[1] < document

    def _encode_windows(
        self, index: int, document: str, query: Sequence[int], is_capped: bool, room: int, options: ScoreOptions
    ) -> Encoding:
        kept = cut(query, query_room(len(query), room), options.truncation_side)
        chunks, loses = self._text_ids.chunks(document, room - len(kept), options)
        if (loses or len(kept) < len(query)) and not options.truncate:
            raise InputTooLong(
                f"document {index} and its query do not fit into {len(chunks)} windows of "
                f"{options.max_length or self._max_length} tokens: shorten them, raise max_chunks, or send "
                "truncate=true"
            )
        segments = []
        for chunk in chunks:
            ids, types = self.template.build([kept, chunk.ids])
            segments.append(Segment.of(ids, types if self._has_type_ids else []))
        truncated = is_capped or loses or len(kept) < len(query)
        return Encoding(index, tuple(segments), truncated, tuple(chunk.span for chunk in chunks))


class SideTokenizer:
    """A pair to two segments, the query and the document: what a bi-encoder reads.

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
    ) -> None:
        self._long_documents = long_documents
        self._truncation_side = truncation_side
        self._text_ids = TextTokenizer(tokenizer)
        self.template = Template.of(tokenizer, texts=1)
        self._max_length = max_length
        self._has_type_ids = has_type_ids
        self._query_prompt = query_prompt
        self._document_prompt = document_prompt

    def __call__(self, pairs: Sequence[Pair], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        """One encoding per pair, numbered from ``first``; each distinct text is tokenised once.

        Raises ``InputTooLong``.
        """
        options = _with_side(options, self._truncation_side)
        queries = [self._query_prompt + pair.query for pair in pairs]
        documents = [self._document_prompt + pair.document for pair in pairs]
        text_ids = self._text_ids(queries + documents)
        query_sides = {
            text: self._side(text_ids[text], options.max_query_tokens, "the query", options) for text in set(queries)
        }
        encodings = []
        for index, (pair, query, document) in enumerate(zip(pairs, queries, documents, strict=True), first):
            query_side, query_cut = query_sides[query]
            if options.windows(self._long_documents):
                sides, spans, is_cut = self._document_windows(index, pair.document, text_ids[document], options)
                encodings.append(Encoding(index, (query_side, *sides), query_cut or is_cut, (Span(0, 0), *spans)))
                continue
            document_side, document_cut = self._side(
                text_ids[document], options.max_document_tokens, f"document {index}", options
            )
            encodings.append(Encoding(index, (query_side, document_side), truncated=query_cut or document_cut))
        return encodings

    def _document_windows(
        self, index: int, document: str, ids: Sequence[int], options: ScoreOptions
    ) -> tuple[list[Segment], list[Span], bool]:
        """A document's windows, their spans, and whether something is in none; of a short one all of it."""
        room = self.template.room(self._max_length, options)
        capped = cut(ids, options.max_document_tokens, options.truncation_side)
        if len(capped) <= room:
            side, is_cut = self._side(ids, options.max_document_tokens, f"document {index}", options)
            return [side], [Span(0, len(document))], is_cut
        prompt = self._text_ids([self._document_prompt])[self._document_prompt] if self._document_prompt else []
        if len(prompt) >= room:
            raise InvalidRequest(
                f"{room} tokens of text are read at once, and the prompt before each window of document {index} has "
                f"{len(prompt)}: raise max_length"
            )
        chunks, loses = self._text_ids.chunks(document, room - len(prompt), options)
        if loses and not options.truncate:
            raise InputTooLong(
                f"document {index} does not fit into {len(chunks)} windows of "
                f"{options.max_length or self._max_length} tokens: shorten it, raise max_chunks, or send truncate=true"
            )
        sides = []
        for chunk in chunks:
            kept, types = self.template.build([[*prompt, *chunk.ids]])
            sides.append(Segment.of(kept, types if self._has_type_ids else []))
        return sides, [chunk.span for chunk in chunks], loses or len(capped) < len(ids)

    def _side(self, text: Sequence[int], cap: int | None, name: str, options: ScoreOptions) -> tuple[Segment, bool]:
        capped = cut(text, cap, options.truncation_side)
        room = self.template.room(self._max_length, options)
        if len(capped) > room and not options.truncate:
            raise InputTooLong(
                f"{name} has {len(capped) + self.template.special_tokens} tokens, the model reads "
                f"{options.max_length or self._max_length}: shorten it, or send truncate=true"
            )
        kept = cut(capped, room, options.truncation_side)
        ids, types = self.template.build([kept])
        return _segment(ids, types if self._has_type_ids else [], name), len(kept) != len(text)


def _with_side(options: ScoreOptions, as_loaded: TruncationSide) -> ScoreOptions:
    """The options with the checkpoint's truncation side where they do not say."""
    return replace(options, truncation_side=as_loaded) if options.truncation_side is None else options


def _segment(ids: list[int], types: list[int], name: str) -> Segment:
    if not ids:
        raise InvalidRequest(f"{name} has no tokens: this model needs some text")
    return Segment.of(ids, types)
