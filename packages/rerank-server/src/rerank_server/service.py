"""How a request becomes scores without ever holding the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from rerank_core.batching import micro_batches
from rerank_core.scorer import Output, PairModel
from rerank_core.scoring import distinct_segments, to_scores
from rerank_core.types import Encoding, Pair, ScoreOptions, Scores, Segment


class Service:
    """Tokenises in one thread and computes in another.

    Requests take turns, a micro-batch each, so that a short one need not wait for the end of a long one.
    """

    def __init__(self, model: PairModel) -> None:
        self.model = model
        self._tokenising = ThreadPoolExecutor(1, thread_name_prefix="tokenise")
        self._computing = ThreadPoolExecutor(1, thread_name_prefix="compute")

    async def score_pairs(self, pairs: Sequence[Pair], options: ScoreOptions) -> Scores:
        """One score per pair, in their order. Raises as ``Scorer.score``."""
        loop = asyncio.get_running_loop()
        encodings: list[Encoding] = await loop.run_in_executor(self._tokenising, self.model.tokenize, pairs, options)
        segments = sorted(distinct_segments(encodings), key=len, reverse=True)
        outputs: dict[Segment, Output] = {}
        for batch in micro_batches(segments, self.model.batch_tokens):
            said = await loop.run_in_executor(self._computing, self.model.forward, batch)
            outputs.update(zip(batch, said, strict=True))
        return to_scores(self.model, encodings, outputs, options)

    def close(self) -> None:
        """Let the threads end after what they are at."""
        self._tokenising.shutdown(wait=False, cancel_futures=True)
        self._computing.shutdown(wait=False, cancel_futures=True)
