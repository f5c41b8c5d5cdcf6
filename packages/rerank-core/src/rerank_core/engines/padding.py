"""Padded batches, for networks that cannot read sequences laid end to end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerank_core.engines.base import Batch


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """Sequences one below another, filled up behind their ends: int64 [sequences, longest].

    ``attention_mask``: 1 for a token, 0 for padding.
    """

    token_ids: NDArray[np.int64]
    type_ids: NDArray[np.int64] | None
    attention_mask: NDArray[np.int64]


def groups_of(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Group sequences of like lengths, longest first: one alone, or at most so many tokens with their padding."""
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if group and (len(group) + 1) * lengths[group[0]] > tokens:
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def padded(batch: Batch, group: Sequence[int], padding: int) -> PaddedBatch:
    """Fill up some of a batch's sequences with a padding id, to the length of the longest."""
    ends = np.cumsum(batch.lengths)
    shape = len(group), int(max(batch.lengths[list(group)]))
    token_ids = np.full(shape, padding, dtype=np.int64)
    type_ids = None if batch.type_ids is None else np.zeros(shape, dtype=np.int64)
    attention_mask = np.zeros(shape, dtype=np.int64)
    for row, index in enumerate(group):
        length = batch.lengths[index]
        tokens = slice(ends[index] - length, ends[index])
        token_ids[row, :length] = batch.token_ids[tokens]
        attention_mask[row, :length] = 1
        if type_ids is not None and batch.type_ids is not None:
            type_ids[row, :length] = batch.type_ids[tokens]
    return PaddedBatch(token_ids, type_ids, attention_mask)
