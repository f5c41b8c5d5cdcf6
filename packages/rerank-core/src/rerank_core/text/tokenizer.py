"""Turns texts into token ids with the checkpoint's own tokenizer, configured once and only read afterwards.

A fast tokenizer that is reconfigured for a call silently truncates other threads' texts to that call's length, so
truncation is never the library's here: texts become ids without special tokens, ids are cut by ``text.truncation``,
and ``text.template`` lays the special tokens around them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rerank_core.errors import ModelError
from rerank_core.forking import current_process
from rerank_core.text.boundaries import boundaries_of
from rerank_core.text.truncation import cut, side_of
from rerank_core.text.windows import sentence_ends, span, windows
from rerank_core.types import ScoreOptions, Span, TruncationSide

if TYPE_CHECKING:
    from tokenizers import Encoding as TokenizerEncoding
    from tokenizers import Tokenizer

_BATCH = 256  # texts a call: one call for all would hold every intermediate object of a large request at once
_CHARACTERS = 6  # of a long text that are tokenised at first for each token that can be read; English has 4 to 5
_COMPARED = 16  # times the bound of a text's characters, where it only has to be known which of two is longer


@dataclass(frozen=True, slots=True)
class TextIds:
    """The token ids of a text, or of a part of it.

    ``is_cut``: the text has, or may have, more than these. ``is_final``: no more of it is ever tokenised.
    """

    ids: Sequence[int]
    is_cut: bool = False
    is_final: bool = True

    def length(self, cap: int | None = None) -> int:
        """Count the ids that a cap leaves."""
        return len(self.ids) if cap is None else min(cap, len(self.ids))

    def is_settled(self, cap: int | None) -> bool:
        """Return whether ``length`` stays the same if more of the text is tokenised."""
        return self.is_final or (cap is not None and len(self.ids) >= cap)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a text to tokenise. ``is_last``: it is the whole text, or all of it that may be tokenised."""

    text: str
    is_last: bool = True
    is_cut: bool = False


class TextTokenizer:
    """Turns texts into token ids, without special tokens. Safe to share between threads.

    Where only some tokens of a text can be read, only a part of it is tokenised, at boundaries that leave the tokens
    as they are. ``max_characters`` bounds that part, also where the tokenizer has no such boundaries: beyond it a text
    is cut. None: no bound, and a text without boundaries is tokenised whole.
    """

    def __init__(self, tokenizer: Tokenizer, max_characters: int | None = None) -> None:
        self._tokenizer = tokenizer
        self._process = current_process()
        self._boundaries = boundaries_of(tokenizer)
        self._max_characters = max_characters

    def __call__(
        self, limits: Mapping[str, int | None], side: TruncationSide = "right", beside: int = 0
    ) -> dict[str, TextIds]:
        """Tokenise texts: at least the first ``limit`` ids of each (the last where ``side`` is left), or all.

        All of them where the limit is None. ``beside``: the characters that ``max_characters`` does not count, those
        around texts that are ``bounded``. Raises ``ModelError`` where the tokenizer fails.
        """
        most = {text: self._most(limit) for text, limit in limits.items()}
        return self._ids(
            limits, side, {text: None if bound is None else bound + beside for text, bound in most.items()}
        )

    def bounded(self, text: str, limit: int | None, side: TruncationSide) -> str:
        """Cut a text to the characters that may be tokenised for ``limit`` tokens of it."""
        most = self._most(limit)
        if most is None or len(text) <= most:
            return text
        return text[:most] if side == "right" else text[-most:]

    def last_cut(self, text: str) -> int | None:
        """Find the last place in a text where words are divided whatever stands around it; None where none is known."""
        return None if self._boundaries is None else self._boundaries.last_cut(text)

    def first_cut(self, text: str) -> int | None:
        """Find the first such place."""
        return None if self._boundaries is None else self._boundaries.first_cut(text)

    def is_longer(
        self,
        first: str,
        second: str,
        known: dict[str, TextIds],
        caps: tuple[int | None, int | None],
        side: TruncationSide,
    ) -> bool:
        """Return whether the first text has more tokens than the second, each up to its cap.

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
        """Return how many characters of a text may be tokenised for ``limit`` tokens."""
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
        """Cut at least ``length`` characters of a text, and ``most`` at most."""
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

    def windows_of(self, document: str, size: int, options: ScoreOptions) -> DocumentWindows:
        """Cut a document into windows of at most ``size`` tokens.

        Its characters are looked up only here: that takes longer than finding the ids alone.
        """
        side, cap = side_of(options), options.max_document_tokens
        wanted = options.most_windows()
        piece, encoding = self._read_windows(document, size, wanted, options)
        shift = len(document) - len(piece.text) if side == "left" and piece.is_last else 0
        ids, offsets = encoding.ids, encoding.offsets
        kept = cut(range(len(ids)), cap, side)
        ends = [end - kept[0] for end in sentence_ends(piece.text, offsets) if kept and end > kept[0]]
        found = windows(len(kept), size, options.overlap_tokens, ends)
        chosen = [range(kept[part.start], kept[part.stop - 1] + 1) for part in found[:wanted]]
        spans = [span(offsets, part) for part in chosen]
        return DocumentWindows(
            [
                Window(ids[part.start : part.stop], Span(start + shift, end + shift))
                for part, (start, end) in zip(chosen, spans, strict=True)
            ],
            loses=len(chosen) < len(found) or (piece.is_last and piece.is_cut),
            is_capped=len(kept) < len(ids),
        )

    def _read_windows(
        self, document: str, size: int, wanted: int | None, options: ScoreOptions
    ) -> tuple[_Piece, TokenizerEncoding]:
        """Tokenise the part of a document that its windows are made of: all of it where every window is wanted."""
        side, cap = side_of(options), options.max_document_tokens
        limits = [limit + 1 for limit in (wanted and wanted * size, cap) if limit is not None]
        # Windows begin on the left; only a cap drops tokens there.
        limit = min(limits) if limits and (side == "right" or cap is None) else None
        most = None
        if options.truncate and self._max_characters is not None:
            most = max(self._max_characters, 4 * _CHARACTERS * (limit or 0))
        return self._read_offsets(document, limit, "right" if limit is not None else side, most)

    def span_of_kept(self, text: str, kept: int, side: TruncationSide) -> Span:
        """Find the characters of the first ``kept`` tokens of a text, of the last ones where ``side`` is left."""
        piece, encoding = self._read_offsets(text, kept, side, self._most(kept))
        places = cut(range(len(encoding.ids)), kept, side)
        if not places:
            return Span(0, 0)
        start, end = span(encoding.offsets, range(places[0], places[-1] + 1))
        shift = len(text) - len(piece.text) if side == "left" else 0
        return Span(start + shift, end + shift)

    def _read_offsets(
        self, text: str, limit: int | None, side: TruncationSide, most: int | None
    ) -> tuple[_Piece, TokenizerEncoding]:
        """Tokenise at least the first ``limit`` tokens of a text (the last where ``side`` is left), with offsets."""
        length = len(text) if limit is None else 64 + _CHARACTERS * limit
        while True:
            piece = self._piece(text, length, side, most, squeeze=False)
            with _named_failures([piece.text]):
                encoding = self._tokenizer.encode(piece.text, add_special_tokens=False)
            if piece.is_last or len(encoding.ids) >= (limit or 0):
                return piece, encoding
            length += max(length, len(piece.text))


@contextmanager
def _named_failures(texts: Sequence[str]) -> Iterator[None]:
    """Raise ``ModelError`` where the tokenizer fails. Its own message is left out: it may hold a part of the text."""
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
class DocumentWindows:
    """Windows of a document. ``loses``: there are more than these; ``is_capped``: a cap left tokens out."""

    found: list[Window]
    loses: bool
    is_capped: bool

    @property
    def spans(self) -> list[Span]:
        """The characters of each."""
        return [window.span for window in self.found]


@dataclass(frozen=True, slots=True)
class Window:
    """A window of a document: its tokens, and the characters that they are of."""

    ids: Sequence[int]
    span: Span
