"""The bi-encoder: query and document go through the network apart, the score compares the two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rerank_core.chunking import chunk_score
from rerank_core.forking import running
from rerank_core.local_model import LocalModel
from rerank_core.types import Encoding, ModelInfo, Pair, ScoreOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rerank_core.engines.base import Engine
    from rerank_core.tokenization import SideTokenizer


class BiEncoder(LocalModel):
    """Raw score: the cosine of the two embeddings."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: SideTokenizer,
        info: ModelInfo,
        fingerprint: Callable[[], str],
        *,
        reload: partial[LocalModel] | None = None,
    ) -> None:
        super().__init__(engine, info, fingerprint, reload=reload)
        self._tokenizer = tokenizer

    def tokenize(self, pairs: Sequence[Pair], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        """See ``PairModel.tokenize``. Equal texts become equal segments, so each is embedded once."""
        with running():
            return self._tokenizer(pairs, options, first)

    def _outputs(self, rows: NDArray[np.float32]) -> list[NDArray[np.float64]]:
        """Unit vectors, in double precision."""
        import numpy as np

        vectors = rows.astype(np.float64)
        with np.errstate(all="ignore"):  # whatever the program around us has set: what is not finite is found later
            return [vector / np.sqrt(np.square(vector).sum()) for vector in vectors]

    def combine(
        self, encoding: Encoding, outputs: Sequence[NDArray[np.float64]], options: ScoreOptions
    ) -> tuple[float, int]:
        """The cosine of the query, which is the first segment, and the document, of a long one its windows together."""
        query, *parts = outputs
        cosines = [float((query * part).sum()) for part in parts]
        score, winner = chunk_score(cosines, options)
        return score, winner + 1
