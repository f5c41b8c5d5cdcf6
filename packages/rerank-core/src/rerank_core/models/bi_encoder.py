"""The bi-encoder: query and document go through the network apart, the score compares the two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rerank_core.checkpoints.sentence_transformers import Similarity
from rerank_core.text.windows import window_score
from rerank_core.types import Encoding, Pair, Scored, ScoreOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rerank_core.text.pair_tokenizers import BiEncoderTokenizer


class BiEncoder:
    """Raw score: the similarity of the two embeddings, larger for more alike.

    ``similarity``: the cosine, the dot product, or the Euclidean or Manhattan distance with a minus before it.
    ``normalizes``: embeddings become unit vectors first, which the cosine does anyway. ``dimensions``: only the first
    so many numbers of these are compared; None: all.
    """

    independent: ClassVar[bool] = True

    def __init__(
        self,
        tokenizer: BiEncoderTokenizer,
        *,
        similarity: Similarity = "cosine",
        normalizes: bool = True,
        dimensions: int | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._similarity = similarity
        self._normalizes = normalizes
        self._dimensions = dimensions

    def encode(self, query: str, documents: Sequence[str], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        """See ``Task.encode``. Equal texts become equal sequences, so each is embedded once."""
        return self._tokenizer([Pair(query, document) for document in documents], options, first)

    def outputs(self, rows: NDArray[np.float32]) -> list[NDArray[np.float64]]:
        """Return the embeddings in double precision."""
        import numpy as np

        vectors = list(rows.astype(np.float64))
        is_cosine = self._similarity == "cosine"  # whose unit vectors are those of the dimensions that are compared
        if self._normalizes and not is_cosine:
            vectors = [_unit(vector) for vector in vectors]
        vectors = [vector[: self._dimensions] for vector in vectors]
        return [_unit(vector) for vector in vectors] if is_cosine else vectors

    def scores(self, encoding: Encoding, outputs: Sequence[NDArray[np.float64]], options: ScoreOptions) -> list[Scored]:
        """Compare the query, which is the first sequence, with the document, or with the windows of a long one."""
        query, *parts = outputs
        raw, winner = window_score([self._compare(query, part) for part in parts], options)
        return [Scored(raw, encoding.spans[winner + 1] if encoding.spans else None)]

    def _compare(self, query: NDArray[np.float64], document: NDArray[np.float64]) -> float:
        import numpy as np

        if self._similarity == "euclidean":
            return -float(np.sqrt(np.square(query - document).sum()))
        if self._similarity == "manhattan":
            return -float(np.abs(query - document).sum())
        return float((query * document).sum())


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    with np.errstate(all="ignore"):  # whatever the program around us has set: what is not finite is found later
        unit: NDArray[np.float64] = vector / np.sqrt(np.square(vector).sum())
    return unit
