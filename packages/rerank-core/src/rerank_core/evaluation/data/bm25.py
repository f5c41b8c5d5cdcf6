"""The first stage: BM25 over a collection's documents (bm25s)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

K1, B = 0.9, 0.4

# Scripts that write no spaces: their words are found by single characters and pairs of them.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_PIECES = re.compile(rf"[{_UNSPACED}]+|[^\W{_UNSPACED}]+")
_FIRST_UNSPACED = re.compile(rf"[{_UNSPACED}]")


def terms(text: str) -> list[str]:
    """Split a text into the terms of BM25: words in lower case, all of them, unstemmed, so that languages are alike.

    A run of a script without spaces gives its characters and its pairs of neighbours.
    """
    found: list[str] = []
    for piece in _PIECES.findall(text.lower()):
        if _FIRST_UNSPACED.match(piece):
            found += piece
            found += (piece[start : start + 2] for start in range(len(piece) - 1))
        else:
            found.append(piece)
    return found


class BM25:
    """An index over documents, texts by id. Building it reads all of them."""

    def __init__(self, documents: Mapping[str, str]) -> None:
        import bm25s

        self._ids = list(documents)
        self._numbers = {identity: number for number, identity in enumerate(self._ids)}
        counted = [terms(text) for text in documents.values()]
        self._index = None
        if any(counted):  # bm25s fails where nothing is to be counted
            self._index = bm25s.BM25(k1=K1, b=B, method="lucene")
            self._index.index(counted, show_progress=False)

    def retrieve(self, query: str, depth: int) -> list[str]:
        """Return the ids of the ``depth`` best documents that share a term, best first, ties in the corpus' order."""
        import numpy as np

        scores = self._scores(query)
        best = np.argsort(-scores, kind="stable")[:depth]
        return [self._ids[number] for number in best if scores[number] > 0]

    def score(self, query: str, ids: Sequence[str]) -> list[float]:
        """Return one score per document of the index, in the order of ``ids``."""
        scores = self._scores(query)
        return [float(scores[self._numbers[identity]]) for identity in ids]

    def _scores(self, query: str) -> NDArray[np.float32]:
        import numpy as np

        asked = terms(query)
        if self._index is None or not asked:
            return np.zeros(len(self._ids), dtype=np.float32)
        scores: NDArray[np.float32] = self._index.get_scores(asked)
        return scores
