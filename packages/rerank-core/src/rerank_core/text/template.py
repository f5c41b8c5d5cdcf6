"""The special tokens that a checkpoint's tokenizer lays around texts, found by looking at an example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rerank_core.errors import CheckpointError, InvalidRequest
from rerank_core.text.truncation import length_read
from rerank_core.types import ScoreOptions

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LEAST_ROOM = 4  # tokens of text: a window has three quarters of a query, and some document beside it


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
        """Find what the tokenizer's own post-processor lays around one text or two.

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
        if template.build([probe.ids for probe in probes]) != (ids, types):  # pragma: no cover (in the full tier)
            raise CheckpointError("tokenizer.json: its post-processor does more than lay special tokens around texts")
        return template

    @property
    def largest_id(self) -> int:
        """The largest token id that it adds; -1 where it adds none."""
        return max((token for part in self.parts for token in part.ids), default=-1)

    @property
    def largest_type(self) -> int:
        """The largest token type that it gives."""
        return max((*self.text_types, *(kind for part in self.parts for kind in part.type_ids)))

    @property
    def special_tokens(self) -> int:
        """The number of tokens that it adds."""
        return sum(len(part.ids) for part in self.parts)

    def room(self, max_length: int, options: ScoreOptions) -> int:
        """Count the tokens of text that fit, where the model reads ``max_length`` and a request may ask for less.

        Raises ``InvalidRequest`` for a ``max_length`` of the request that is more than the model reads, or too small
        for some text beside the special tokens.
        """
        wanted = length_read(max_length, options)
        if options.max_length is not None and wanted < self.special_tokens + _LEAST_ROOM:
            raise InvalidRequest(
                f"{wanted} tokens are asked for at once, of which {self.special_tokens} are special tokens: "
                f"ask for {self.special_tokens + _LEAST_ROOM} or more",
                option="max_length",
            )
        return wanted - self.special_tokens

    def build(self, texts: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
        """Build the token ids and type ids of the texts with the special tokens."""
        ids, types = list(self.parts[0].ids), list(self.parts[0].type_ids)
        for text, text_type, part in zip(texts, self.text_types, self.parts[1:], strict=True):
            ids += text
            ids += part.ids
            types += [text_type] * len(text)
            types += part.type_ids
        return ids, types
