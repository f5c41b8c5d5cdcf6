"""The pairs that every system scores: texts of known token counts, all distinct."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

QUERY_TOKENS = 12
SHORT = 32  # tokens of a pair of a small request


@dataclass(frozen=True, slots=True)
class PairSet:
    """One query and its passages; ``lengths`` are the pairs' tokens, special tokens included."""

    name: str
    query: str
    documents: tuple[str, ...]
    lengths: tuple[int, ...]


class Vocabulary:
    """Makes texts of an exact number of tokens out of words that are one token each."""

    def __init__(self, checkpoint: Path, seed: int = 0) -> None:
        self._tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._random = random.Random(seed)
        self._specials = self._tokenizer.num_special_tokens_to_add(is_pair=True)
        candidates = sorted(word.lstrip("▁") for word in self._tokenizer.get_vocab() if word.lstrip("▁").isalpha())
        sample = [word for word in candidates if word.isascii() and len(word) > 3]
        self._random.shuffle(sample)
        sample = sample[:4000]
        encoded = self._tokenizer.encode_batch(sample, add_special_tokens=False)
        self._words = [word for word, tokens in zip(sample, encoded, strict=True) if len(tokens.ids) == 1]

    def pairs(self, name: str, lengths: list[int]) -> PairSet:
        """One query, and a passage for each pair length."""
        query = self._text(QUERY_TOKENS)
        documents = tuple(self._text(length - QUERY_TOKENS - self._specials) for length in lengths)
        found = tuple(len(self._tokenizer.encode(query, document).ids) for document in documents)
        if found != tuple(lengths):
            raise AssertionError(f"{name}: wanted pairs of {lengths} tokens, made {found}")
        return PairSet(name, query, documents, found)

    def mixed(self, count: int, longest: int) -> PairSet:
        """Lengths as retrieval gives them: lognormal, median 140 tokens, sigma 0.6, in no order."""
        lengths = [min(longest, max(24, round(self._random.lognormvariate(4.94, 0.6)) + 16)) for _ in range(count)]
        return self.pairs("mixed", lengths)

    def equal(self, length: int, count: int) -> PairSet:
        """All of one length."""
        return self.pairs(str(length), [length] * count)

    def small(self, count: int) -> PairSet:
        """A small request: a few short pairs."""
        return self.pairs(f"{count} of {SHORT}", [SHORT] * count)

    def _text(self, tokens: int) -> str:
        return " ".join(self._random.choices(self._words, k=tokens))
