"""The shared prefix of sequences: what it leaves in each layer for the tokens behind it."""

from __future__ import annotations

from dataclasses import dataclass

from rerank_core.engines.packed.ops.continued import KeysValues

ID_BYTES = 4  # of a token id in ``TokenSequence.token_ids``


@dataclass(frozen=True, slots=True, eq=False)
class PrefixKeysValues:
    """The keys and values of a prefix in each layer. They hold their own memory, and depend on the prefix's ids only.

    Places are counted from the start of the sequence, so they serve every sequence that begins with these ids.
    """

    layers: tuple[KeysValues, ...]

    def __len__(self) -> int:
        """The number of its tokens."""
        return len(self.layers[0][0])

    @property
    def nbytes(self) -> int:
        """The memory that they take."""
        return sum(part.nbytes for layer in self.layers for part in layer)


def token_count(token_ids: bytes) -> int:
    """Return the number of tokens of packed ids."""
    return len(token_ids) // ID_BYTES
