"""DeBERTa's disentangled attention: content and relative position have queries and keys of their own.

The score of tokens i and j is (q_i·k_j + q_i·K_r + k_j·Q_r) / sqrt(width · terms), where r is the row of the distance
i - j, and K and Q are projections of one table of relative positions ("DeBERTa", He et al. 2021).

BERT's relative positions are the same with one row a distance, which all heads share: a table of the layer's own is K,
and Q where keys have a term too ("Improve Transformer Models with Better Relative Position Embeddings", Huang et al.
2020).
"""

from __future__ import annotations

import torch
from torch import Tensor


def distance_buckets(*, buckets: int, furthest: int, positions: int) -> Tensor:
    """Give each distance, from 1 - ``positions`` to ``positions`` - 1, its row in the table of relative positions.

    Near distances have a row each; with ``buckets``, those beyond half of them share rows, more and more with the
    logarithm of the distance. Without (0), those beyond ``furthest`` share the last.
    """
    distances = torch.arange(1 - positions, positions)
    span = buckets or furthest
    if not buckets:
        return (distances + span).clamp(0, 2 * span - 1)
    middle = buckets // 2
    beyond = distances.abs().clamp(min=middle)
    logarithms = torch.log(beyond / middle) / torch.log(torch.tensor((furthest - 1) / middle))
    shared = torch.ceil(logarithms * (middle - 1)).long() + middle
    found = torch.where(distances.abs() <= middle, distances, shared * distances.sign())
    return (found + span).clamp(0, 2 * span - 1)


class DisentangledBias:
    """One layer's terms of relative positions.

    ``keys``, ``queries``: of relative positions [heads or 1, rows, width], None where the family's variant has no such
    term. ``buckets`` [2 · positions - 1]: the row of each distance, from the lowest on; they never fall.
    """

    def __init__(
        self, keys: Tensor | None, queries: Tensor | None, buckets: Tensor, *, scale: float, device: str
    ) -> None:
        self._scale = scale
        self._keys = keys
        self._queries = queries
        self._buckets = buckets.to(device)
        self._rows: list[int] = buckets.tolist()

    @property
    def scale(self) -> float:
        """See ``Bias``."""
        return self._scale

    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        """See ``Bias``."""
        queries, keys, middle = query.shape[1], key.shape[1], len(self._rows) // 2
        # Only the rows of distances that there are.
        used = slice(self._rows[middle - keys + 1], self._rows[middle + queries - 1] + 1)
        place = torch.arange(max(queries, keys), device=query.device)
        distances = place[:queries, None] - place[:keys]
        rows = (self._buckets[distances + middle] - used.start).expand(len(query), -1, -1)
        bias = torch.zeros(rows.shape, dtype=query.dtype, device=query.device)
        if self._keys is not None:
            bias += torch.gather(query @ self._keys[:, used].transpose(1, 2), 2, rows)
        if self._queries is not None and queries == 1:  # one row for each key
            bias += (key * self._queries[:, self._buckets[distances[0] + middle]]).sum(-1)[:, None]
        elif self._queries is not None:  # for each key first, so that a row is gathered for all queries
            of_keys = torch.gather(key @ self._queries[:, used].transpose(1, 2), 2, rows.transpose(1, 2))
            bias += of_keys.transpose(1, 2)
        return bias.mul_(self._scale)
