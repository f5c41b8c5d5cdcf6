"""A tokenizer for doubles: a word is a token, and one special token stands between two texts."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

SEPARATOR = 0  # no word has this id


@dataclass(frozen=True, slots=True)
class WordEncoding:
    """The part of ``tokenizers.Encoding`` that our tokenizers read."""

    ids: list[int]
    offsets: list[tuple[int, int]]
    sequence_ids: list[int | None]
    type_ids: list[int]


class WordTokenizer:
    """The part of ``tokenizers.Tokenizer`` that our tokenizers use."""

    model = None  # of no known kind: texts are tokenised whole

    def encode(self, text: str, pair: str | None = None, add_special_tokens: bool = True) -> WordEncoding:
        """Encode a text or two, with the separator between them."""
        ids, offsets = _words(text)
        sequences: list[int | None] = [0] * len(ids)
        if pair is not None:
            more_ids, more_offsets = _words(pair)
            ids = [*ids, SEPARATOR, *more_ids]
            offsets = [*offsets, (0, 0), *more_offsets]
            sequences += [None, *([1] * len(more_ids))]
        return WordEncoding(ids, offsets, sequences, [0] * len(ids))

    def encode_batch_fast(self, texts: Sequence[str], add_special_tokens: bool = True) -> list[WordEncoding]:
        """Encode each text."""
        return [self.encode(text) for text in texts]


def _words(text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Number the words, whatever their case and the punctuation around them, and find their characters."""
    found = list(re.finditer(r"\S+", text))
    ids = [zlib.crc32(match[0].strip(".,;:!?").lower().encode()) % 2**30 + 1 for match in found]
    return ids, [match.span() for match in found]
