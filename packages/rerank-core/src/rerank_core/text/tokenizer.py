"""From text to token ids: the checkpoint's own tokenizer, configured once and only read afterwards.

A fast tokenizer that is reconfigured for a call silently truncates other threads' texts to that call's length, so
truncation is never the library's here: texts become ids without special tokens, ids are cut by ``text.truncation``,
and the template that the tokenizer itself applies is laid around them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rerank_core.errors import CheckpointError, InputTooLong, InvalidRequest, ModelError
from rerank_core.forking import current_process
from rerank_core.text.boundaries import boundaries_of
from rerank_core.text.truncation import cut, kept_lengths, query_too_long
from rerank_core.text.windows import query_room, sentence_ends, span, windows
from rerank_core.types import Encoding, LongDocuments, Pair, ScoreOptions, Segment, Span, Truncation, TruncationSide

if TYPE_CHECKING:
    from tokenizers import Encoding as TokenizerEncoding
    from tokenizers import Tokenizer

_LEAST_ROOM = 4  # tokens of text: a window has three quarters of a query, and some document beside it
_BATCH = 256  # texts a call: one call for all would hold every intermediate object of a large request at once
_CHARACTERS = 6  # of a long text that are tokenised at first for each token that can be read; English has 4 to 5
_COMPARED = 16  # times the bound of a text's characters, where it only has to be known which of two is longer


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


@dataclass(frozen=True, slots=True)
class TextIds:
    """The token ids of a text, or of a part of it.

    ``is_cut``: the text has, or may have, more than these. ``is_final``: no more of it is ever tokenised.
    """

    ids: Sequence[int]
    is_cut: bool = False
    is_final: bool = True

    def length(self, cap: int | None = None) -> int:
        """The number of ids that a cap leaves."""
        return len(self.ids) if cap is None else min(cap, len(self.ids))

    def is_settled(self, cap: int | None) -> bool:
        """Whether ``length`` stays the same if more of the text is tokenised."""
        return self.is_final or (cap is not None and len(self.ids) >= cap)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a text to tokenise. ``is_last``: it is the whole text, or all of it that may be tokenised."""

    text: str
    is_last: bool = True
    is_cut: bool = False


class TextTokenizer:
    """Texts to token ids, without special tokens. Safe to share between threads.

    Where only some tokens of a text can be read, only a part of it is tokenised, at boundaries that leave the tokens
    as they are. ``max_characters`` bounds that part, also where the tokenizer has no such boundaries: beyond it a text
    is cut. None: no bound, and a text without boundaries is tokenised whole.
    """

    def __init__(self, tokenizer: Tokenizer, max_characters: int | None = None) -> None:
        self._tokenizer = tokenizer
        self._process = current_process()
        self._boundaries = boundaries_of(tokenizer)
        self._max_characters = max_characters

    def __call__(self, limits: Mapping[str, int | None], side: TruncationSide = "right") -> dict[str, TextIds]:
        """The ids of each text: the first ``limit`` at least (the last where ``side`` is left), if it has so many.

        All of them where the limit is None. Raises ``ModelError`` where the tokenizer fails.
        """
        return self._ids(limits, side, {text: self._most(limit) for text, limit in limits.items()})

    def is_longer(
        self,
        first: str,
        second: str,
        known: dict[str, TextIds],
        caps: tuple[int | None, int | None],
        side: TruncationSide,
    ) -> bool:
        """Whether the first text has more tokens than the second, each up to its cap.

        Tokenises more of both until that is certain, and adds the ids to ``known``.
        """
        limit = 2 * max(len(known[first].ids), len(known[second].ids))
        most = self._max_characters and _COMPARED * self._max_characters
        started = False
        while True:
            one, two = known[first], known[second]
            lengths = one.length(caps[0]), two.length(caps[1])
            settled = (
                one.is_settled(caps[0]) and (started or not one.is_cut),
                two.is_settled(caps[1]) and (started or not two.is_cut),
            )
            if all(settled) or (settled[0] and lengths[1] >= lengths[0]) or (settled[1] and lengths[0] > lengths[1]):
                return lengths[0] > lengths[1]
            wanted = [text for text, done in zip((first, second), settled, strict=True) if not done]
            known.update(self._ids(dict.fromkeys(wanted, limit), side, dict.fromkeys(wanted, most)))
            limit, started = 2 * limit, True

    def _most(self, limit: int | None) -> int | None:
        """The characters of a text that may be tokenised for ``limit`` tokens."""
        if self._max_characters is None or limit is None:
            return None
        return max(self._max_characters, 4 * _CHARACTERS * limit)

    def _ids(
        self, limits: Mapping[str, int | None], side: TruncationSide, most: Mapping[str, int | None]
    ) -> dict[str, TextIds]:
        found: dict[str, TextIds] = {}
        lengths = {text: len(text) if limit is None else 64 + _CHARACTERS * limit for text, limit in limits.items()}
        while lengths:
            pieces = {text: self._piece(text, length, side, most[text]) for text, length in lengths.items()}
            texts = list(pieces)
            for start in range(0, len(texts), _BATCH):
                batch = texts[start : start + _BATCH]
                for text, ids in zip(batch, self._encode([pieces[text].text for text in batch]), strict=True):
                    found[text] = TextIds(ids, pieces[text].is_cut, pieces[text].is_last)
            lengths = {
                text: length + max(length, len(pieces[text].text))
                for text, length in lengths.items()
                if not pieces[text].is_last and len(found[text].ids) < (limits[text] or 0)
            }
        return found

    def _encode(self, texts: list[str]) -> list[Sequence[int]]:
        with _named_failures(texts):
            if self._process == current_process():
                return [encoded.ids for encoded in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
            # A forked process lacks the library's threads: a batch would wait for them for ever, one text needs none.
            return [self._tokenizer.encode(text, add_special_tokens=False).ids for text in texts]

    def _piece(self, text: str, length: int, side: TruncationSide, most: int | None, *, squeeze: bool = True) -> _Piece:
        """At least ``length`` characters of a text, and ``most`` at most."""
        if 2 * length < len(text) and self._boundaries is not None:
            find = self._boundaries.prefix if side == "right" else self._boundaries.suffix
            part = find(text, length, most)
            if squeeze and (part is None or len(part) > 2 * length):  # the white space in it may be what is long
                near = most if most is not None else len(text)
                region = (0, near) if side == "right" else (max(0, len(text) - near), len(text))
                text = self._boundaries.squeeze(text, *region)
                part = find(text, length, most)
            if part is not None and (most is None or len(part) <= most):
                return _Piece(part, is_last=False, is_cut=True)
        if most is None or len(text) <= most:
            return _Piece(text)
        return _Piece(text[:most] if side == "right" else text[-most:], is_cut=True)

    def chunks(self, document: str, size: int, options: ScoreOptions) -> Chunks:
        """A document's windows of at most ``size`` tokens.

        Its characters are looked up only here: that takes longer than finding the ids alone.
        """
        side, cap = _side_of(options), options.max_document_tokens
        wanted = 1 if options.chunk_score == "first" else options.max_chunks
        piece, encoding = self._read_windows(document, size, wanted, options)
        shift = len(document) - len(piece.text) if side == "left" and piece.is_last else 0
        ids, offsets = encoding.ids, encoding.offsets
        kept = cut(range(len(ids)), cap, side)
        ends = [end - kept[0] for end in sentence_ends(piece.text, offsets) if kept and end > kept[0]]
        found = windows(len(kept), size, options.overlap_tokens, ends)
        chosen = [range(kept[part.start], kept[part.stop - 1] + 1) for part in found[:wanted]]
        spans = [span(offsets, part) for part in chosen]
        return Chunks(
            [
                Chunk(ids[part.start : part.stop], Span(start + shift, end + shift))
                for part, (start, end) in zip(chosen, spans, strict=True)
            ],
            loses=len(chosen) < len(found) or (piece.is_last and piece.is_cut),
            is_capped=len(kept) < len(ids),
        )

    def _read_windows(
        self, document: str, size: int, wanted: int | None, options: ScoreOptions
    ) -> tuple[_Piece, TokenizerEncoding]:
        """The part of a document that its windows are made of: all of it where every window is wanted."""
        side, cap = _side_of(options), options.max_document_tokens
        limits = [limit + 1 for limit in (wanted and wanted * size, cap) if limit is not None]
        # Windows begin on the left; only a cap drops tokens there.
        limit = min(limits) if limits and (side == "right" or cap is None) else None
        length = len(document) if limit is None else 64 + _CHARACTERS * limit
        most = None
        if options.truncate and self._max_characters is not None:
            most = max(self._max_characters, 4 * _CHARACTERS * (limit or 0))
        while True:
            piece = self._piece(document, length, "right" if limit is not None else side, most, squeeze=False)
            with _named_failures([piece.text]):
                encoding = self._tokenizer.encode(piece.text, add_special_tokens=False)
            if piece.is_last or len(encoding.ids) >= (limit or 0):
                return piece, encoding
            length += max(length, len(piece.text))


@contextmanager
def _named_failures(texts: Sequence[str]) -> Iterator[None]:
    """Raises ``ModelError`` where the tokenizer fails. Its own message is left out: it may hold a part of the text."""
    try:
        yield
    except BaseException as error:
        # A panic in Rust is no Exception, and its class cannot be imported.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ModelError(
                f"the tokenizer failed on {len(texts)} texts of {sum(map(len, texts))} characters "
                f"({type(error).__name__}): tokenizer.json may be damaged, or the text too long for it"
            ) from error
        raise


@dataclass(frozen=True, slots=True)
class Chunks:
    """Windows of a document. ``loses``: there are more than these; ``is_capped``: a cap left tokens out."""

    found: list[Chunk]
    loses: bool
    is_capped: bool


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
        max_characters: int | None = None,
    ) -> None:
        self._long_documents = long_documents
        self._truncation_side = truncation_side
        self._text_ids = TextTokenizer(tokenizer, max_characters)
        self.template = Template.of(tokenizer, texts=2)
        self._max_length = max_length
        self._truncation = truncation
        self._has_type_ids = has_type_ids

    def __call__(self, pairs: Sequence[Pair], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        """One encoding per pair, numbered from ``first``; each distinct text is tokenised once.

        Raises ``InputTooLong``.
        """
        options = _with_side(options, self._truncation_side)
        room = self.template.room(self._max_length, options)
        limits = {pair.document: _limit(room, options.max_document_tokens, options) for pair in pairs}
        for query in {pair.query for pair in pairs}:
            limits[query] = _larger(limits.get(query, 0), _limit(room, options.max_query_tokens, options))
        text_ids = self._text_ids(limits, _side_of(options))
        return [self._encode(index, pair, text_ids, room, options) for index, pair in enumerate(pairs, first)]

    def _encode(
        self, index: int, pair: Pair, text_ids: dict[str, TextIds], room: int, options: ScoreOptions
    ) -> Encoding:
        side = options.truncation_side
        whole_query, whole_document = text_ids[pair.query], text_ids[pair.document]
        query = cut(whole_query.ids, options.max_query_tokens, side)
        document = cut(whole_document.ids, options.max_document_tokens, side)
        fits = len(query) + len(document) <= room

        if options.windows(self._long_documents):
            if not fits and self._is_cut(len(query), len(document), room, options):
                is_capped = len(query) < len(whole_query.ids)
                return self._encode_windows(index, pair.document, query, is_capped, room, options)
            whole = (Span(0, len(pair.document)),)
        else:
            whole = None
        if not fits and not options.truncate:
            total = len(query) + len(document) + self.template.special_tokens
            raise InputTooLong(
                f"document {index} has {total} tokens together with its query, the model reads "
                f"{options.max_length or self._max_length}: shorten it, or send truncate=true"
            )
        kept = self._kept(pair, text_ids, room, options)
        ids, types = self.template.build([cut(query, kept[0], side), cut(document, kept[1], side)])
        segment = _segment(ids, types if self._has_type_ids else [], f"document {index}")
        is_cut = _is_cut(whole_query, kept[0]) or _is_cut(whole_document, kept[1])
        return Encoding(index, (segment,), truncated=is_cut, spans=whole)

    def _kept(self, pair: Pair, text_ids: dict[str, TextIds], room: int, options: ScoreOptions) -> tuple[int, int]:
        """The tokens that are kept of each text, of which more than ``room`` are known where it has more.

        So ``kept_lengths`` gives the same as for their true lengths: it asks for more than ``room`` only to know which
        is longer, where both are and an odd token is left.
        """
        caps = options.max_query_tokens, options.max_document_tokens
        truncation = options.truncation or self._truncation
        query, document = text_ids[pair.query].length(caps[0]), text_ids[pair.document].length(caps[1])
        if truncation == "only_second" and query >= room and not text_ids[pair.query].is_settled(caps[0]):
            raise query_too_long(f"{query} tokens or more", room)
        if truncation == "longest_first" and min(query, document) > room and room % 2:
            is_longer = self._text_ids.is_longer(pair.query, pair.document, text_ids, caps, _side_of(options))
            query, document = (room + 2, room + 1) if is_longer else (room + 1, room + 2)
        return kept_lengths(query, document, room, truncation)

    def _is_cut(self, query: int, document: int, room: int, options: ScoreOptions) -> bool:
        """Whether some of a document would be lost; else it is a long query that has to be cut."""
        return kept_lengths(query, document, room, options.truncation or self._truncation)[1] < document

    def _encode_windows(
        self, index: int, document: str, query: Sequence[int], is_capped: bool, room: int, options: ScoreOptions
    ) -> Encoding:
        kept = cut(query, query_room(len(query), room), options.truncation_side)
        chunks = self._text_ids.chunks(document, room - len(kept), options)
        is_cut = chunks.loses or len(kept) < len(query)
        if is_cut and not options.truncate:
            raise InputTooLong(
                f"document {index} and its query do not fit into {len(chunks.found)} windows of "
                f"{options.max_length or self._max_length} tokens: shorten them, raise max_chunks, or send "
                "truncate=true"
            )
        segments = []
        for chunk in chunks.found:
            ids, types = self.template.build([kept, chunk.ids])
            segments.append(Segment.of(ids, types if self._has_type_ids else []))
        truncated = is_cut or is_capped or chunks.is_capped
        return Encoding(index, tuple(segments), truncated, tuple(chunk.span for chunk in chunks.found))


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
        """One encoding per pair, numbered from ``first``; each distinct text is tokenised once.

        Raises ``InputTooLong``.
        """
        options = _with_side(options, self._truncation_side)
        queries = [self._query_prompt + pair.query for pair in pairs]
        documents = [self._document_prompt + pair.document for pair in pairs]
        room = self.template.room(self._max_length, options)
        limits: dict[str, int | None] = dict.fromkeys(documents, _limit(room, options.max_document_tokens, options))
        for query in set(queries):
            limits[query] = _larger(limits.get(query, 0), _limit(room, options.max_query_tokens, options))
        text_ids = self._text_ids(limits, _side_of(options))
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
        self, index: int, document: str, ids: TextIds, options: ScoreOptions
    ) -> tuple[list[Segment], list[Span], bool]:
        """A document's windows, their spans, and whether something is in none; of a short one all of it."""
        room = self.template.room(self._max_length, options)
        if ids.length(options.max_document_tokens) <= room:
            side, is_cut = self._side(ids, options.max_document_tokens, f"document {index}", options)
            return [side], [Span(0, len(document))], is_cut
        prompt: Sequence[int] = ()
        if self._document_prompt:
            prompt = self._text_ids({self._document_prompt: None})[self._document_prompt].ids
        if len(prompt) >= room:
            raise InvalidRequest(
                f"{room} tokens of text are read at once, and the prompt before each window of document {index} has "
                f"{len(prompt)}: raise max_length"
            )
        chunks = self._text_ids.chunks(document, room - len(prompt), options)
        if chunks.loses and not options.truncate:
            raise InputTooLong(
                f"document {index} does not fit into {len(chunks.found)} windows of "
                f"{options.max_length or self._max_length} tokens: shorten it, raise max_chunks, or send truncate=true"
            )
        sides = []
        for chunk in chunks.found:
            kept, types = self.template.build([[*prompt, *chunk.ids]])
            sides.append(Segment.of(kept, types if self._has_type_ids else []))
        return sides, [chunk.span for chunk in chunks.found], chunks.loses or chunks.is_capped

    def _side(self, text: TextIds, cap: int | None, name: str, options: ScoreOptions) -> tuple[Segment, bool]:
        capped = cut(text.ids, cap, options.truncation_side)
        room = self.template.room(self._max_length, options)
        if len(capped) > room and not options.truncate:
            raise InputTooLong(
                f"{name} has {len(capped) + self.template.special_tokens} tokens, the model reads "
                f"{options.max_length or self._max_length}: shorten it, or send truncate=true"
            )
        kept = cut(capped, room, options.truncation_side)
        ids, types = self.template.build([kept])
        return _segment(ids, types if self._has_type_ids else [], name), _is_cut(text, len(kept))


def _limit(room: int, cap: int | None, options: ScoreOptions) -> int | None:
    """The tokens of a text that have to be known: one more than can be read, so that it is known to be cut.

    All of them, None, where too many are an error that says their number.
    """
    if not options.truncate:
        return None
    return 1 + (room if cap is None else min(room, cap))


def _larger(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


def _is_cut(text: TextIds, kept: int) -> bool:
    return text.is_cut or kept < len(text.ids)


def _side_of(options: ScoreOptions) -> TruncationSide:
    return options.truncation_side or "right"


def _with_side(options: ScoreOptions, as_loaded: TruncationSide) -> ScoreOptions:
    """The options with the checkpoint's truncation side where they do not say."""
    return replace(options, truncation_side=as_loaded) if options.truncation_side is None else options


def _segment(ids: list[int], types: list[int], name: str) -> Segment:
    if not ids:
        raise InvalidRequest(f"{name} has no tokens: this model needs some text")
    return Segment.of(ids, types)
