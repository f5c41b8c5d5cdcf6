"""A model in this process: a task and an engine, put together."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeAlias, Unpack, final

from rerank_core.errors import DeviceError, OutOfMemory
from rerank_core.forking import PerProcess, current_process, running
from rerank_core.inputs import (
    DeprecatedOptions,
    as_options,
    as_pair_list,
    as_pairs,
    check_instruction,
    score_options,
)
from rerank_core.models.batching import SharedPrefixes, batch_order, micro_batches
from rerank_core.models.highlighting import check_highlight, highlight
from rerank_core.models.prefetch import prefetch
from rerank_core.models.scoring import distinct_sequences, to_scores
from rerank_core.pairs import encode_pairs, score_by_query
from rerank_core.progress import FinishedPairs, progress_bar
from rerank_core.scorer import Output
from rerank_core.types import Encoding, ModelInfo, Pair, Scored, ScoreOptions, Scores, SharedPrefix, TokenSequence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rerank_core.engines.base import Engine
    from rerank_core.models.task import Task

# That are tokenised at once, where pairs are independent; first few, for which a fast device waits.
_FIRST_PAIRS, _PAIRS_AT_ONCE = 64, 256

_Waiting: TypeAlias = dict[TokenSequence, SharedPrefix | None]
"""Sequences that are not computed yet; they hold their prefixes."""

logger = logging.getLogger(__name__)


@final
class LocalModel:
    """A ``Scorer`` and a ``StepwiseModel``. May be shared between threads: one forward pass runs at a time.

    May be loaded before a fork, on a CPU: parent and children score the same. A copy shares the weights. Pickled, it
    is its name and the options that it was loaded with; unpickled, it is loaded again, and raises as ``load``.
    """

    def __init__(
        self,
        task: Task[Any],
        engine: Engine,
        info: ModelInfo,
        fingerprint: Callable[[], str],
        *,
        reload: partial[LocalModel] | None = None,
    ) -> None:
        self._task = task
        self._engine = engine
        self._info = info
        self._fingerprint = fingerprint
        self._reload = reload
        self._process = current_process()
        self._lock = PerProcess(threading.Lock)
        self._most_tokens = sys.maxsize  # less once memory has run out

    def __repr__(self) -> str:
        """Its name, and how it runs here."""
        info = self._info
        return (
            f"LocalModel({info.name!r}, kind={info.kind!r}, engine={info.engine!r}, device={info.device!r}, "
            f"dtype={info.dtype!r})"
        )

    def __copy__(self) -> Self:
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        return copy

    def __deepcopy__(self, memo: object) -> Self:
        return self.__copy__()

    def __reduce__(self) -> tuple[Callable[..., LocalModel], tuple[object, ...]]:
        if self._reload is None:
            raise TypeError(f"{self._info.name} was not made by rerank_core.load, so it cannot be pickled")
        return self._reload.func, self._reload.args

    def configuration(self) -> dict[str, Any] | None:
        """Return the settings that load it again, as JSON has them: its name, and the options of ``rerank_core.load``.

        None for a model that ``load`` did not make.
        """
        if self._reload is None:
            return None
        model, options = self._reload.args
        return {"model": model, **json.loads(options)}

    @property
    def info(self) -> ModelInfo:
        """A description of the model, and of how it runs here."""
        return self._info

    @property
    def independent(self) -> bool:
        """See ``StepwiseModel.independent``."""
        return self._task.independent

    @property
    def batch_tokens(self) -> int:
        """See ``StepwiseModel.batch_tokens``."""
        return min(self._engine.batch_tokens, self._most_tokens)

    def fingerprint(self) -> str:
        """See ``StepwiseModel.fingerprint``. Reads the checkpoint's files, so it takes seconds for a large one."""
        return self._fingerprint()

    def score(
        self,
        query: str,
        documents: Iterable[str],
        options: ScoreOptions | None = None,
        *,
        progress: bool = False,
        **deprecated: Unpack[DeprecatedOptions],
    ) -> Scores:
        """See ``Scorer.score``. ``progress`` shows a bar on a terminal or in a notebook, and nothing elsewhere."""
        return self._score(as_pairs(query, documents), score_options(options, deprecated), progress=progress)

    def score_pairs(
        self, pairs: Iterable[Sequence[str]], options: ScoreOptions | None = None, *, progress: bool = False
    ) -> Scores:
        """Return one score per pair, in their order; the pairs may have different queries. Raises as ``score``.

        A pair is a ``Pair``, a tuple, a list or a row of an array: a query and a document. ``progress`` as in
        ``score``.
        """
        known, options = as_pair_list(pairs), as_options(options)
        if self.independent:
            return self._score(known, options, progress=progress)
        return score_by_query(self, known, options, progress=progress)

    def _score(self, pairs: Sequence[Pair], options: ScoreOptions, *, progress: bool) -> Scores:
        check_highlight(self, options)
        scores = self._score_with_bar(pairs, options, "pair", progress)
        return highlight(
            scores, pairs, options, lambda found, plain: self._score_with_bar(found, plain, "sentence", progress)
        )

    def _score_with_bar(self, pairs: Sequence[Pair], options: ScoreOptions, unit: str, progress: bool) -> Scores:
        with progress_bar(len(pairs), unit=unit, shown=progress) as advance:
            return self._score_in_batches(pairs, options, FinishedPairs(advance))

    def _score_in_batches(self, pairs: Sequence[Pair], options: ScoreOptions, finished: FinishedPairs) -> Scores:
        encodings: list[Encoding] = []
        outputs: dict[TokenSequence, Output] = {}
        prefixes, waiting = SharedPrefixes(), _Waiting()
        for part in self._encoded(pairs, options):
            encodings += part
            finished.add(part)
            for sequence in distinct_sequences(part):
                if sequence not in outputs and sequence not in waiting:
                    waiting[sequence] = prefixes.of(sequence)
            batches = self._batches(waiting)
            is_small = 2 * self.cost(list(batches[-1])) < self.batch_tokens
            waiting = batches.pop() if is_small else _Waiting()  # it waits for company
            while batches:
                outputs |= self._compute(batches.popleft())
                finished.update(outputs)
        if waiting:
            outputs |= self._compute(waiting)
        finished.update(outputs)
        return to_scores(self, encodings, outputs, options)

    def _batches(self, waiting: _Waiting) -> deque[_Waiting]:
        """Make at least one batch. Each alone holds its prefixes, so that they go with the last batch that has them."""
        batches = micro_batches(batch_order(waiting), self.batch_tokens, self.cost)
        return deque({sequence: waiting[sequence] for sequence in batch} for batch in batches) or deque([_Waiting()])

    def _compute(self, batch: _Waiting) -> dict[TokenSequence, Output]:
        return dict(zip(batch, self.forward(list(batch), list(batch.values())), strict=True))

    def _encoded(self, pairs: Sequence[Pair], options: ScoreOptions) -> Iterator[list[Encoding]]:
        """Yield the pairs' encodings in parts, each tokenised while the one before is in the network."""
        first, size = (_FIRST_PAIRS, _PAIRS_AT_ONCE) if self.independent else (max(1, len(pairs)),) * 2
        starts = [0, *range(first, len(pairs), size)] if pairs else []
        parts = [slice(start, end) for start, end in zip(starts, [*starts[1:], len(pairs)], strict=False)]
        return prefetch(lambda part: encode_pairs(self.encode, pairs[part], options, part.start), parts)

    def encode(self, query: str, documents: Sequence[str], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        """See ``StepwiseModel.encode``."""
        check_instruction(options, self._info)
        with running():
            return self._task.encode(query, documents, options, first)

    def cost(self, sequences: Sequence[TokenSequence]) -> int:
        """See ``StepwiseModel.cost``."""
        return self._engine.cost(sequences)

    def forward(self, sequences: Sequence[TokenSequence], shared: Sequence[SharedPrefix | None] = ()) -> list[Output]:
        """See ``StepwiseModel.forward``."""
        if self._info.device != "cpu" and self._process != current_process():
            raise DeviceError(
                f"{self._info.name} was loaded on {self._info.device} before this process was forked, and a device "
                "does not compute for a forked process: load the model after the fork, or start processes with "
                "multiprocessing's 'spawn'"
            )
        with running(), self._lock.get():
            return self._task.outputs(self._rows(sequences, shared))

    def _rows(self, sequences: Sequence[TokenSequence], shared: Sequence[SharedPrefix | None]) -> NDArray[np.float32]:
        """Compute the engine's rows; where memory is short, those of one half after the other."""
        import numpy as np

        from rerank_core.engines.base import Batch

        tokens = self.cost(sequences)
        if len(sequences) == 1 or tokens <= self._most_tokens:
            try:
                return self._engine.forward(Batch.of(sequences, shared))
            except OutOfMemory:
                if len(sequences) == 1:
                    raise
            self._most_tokens = tokens // 2
            logger.warning("out of memory with %d tokens: batches have at most %d from now on", tokens, tokens // 2)
        middle = len(sequences) // 2
        return np.concatenate(
            [self._rows(sequences[:middle], shared[:middle]), self._rows(sequences[middle:], shared[middle:])]
        )

    def scores(self, encoding: Encoding, outputs: Sequence[Output], options: ScoreOptions) -> list[Scored]:
        """See ``StepwiseModel.scores``."""
        return self._task.scores(encoding, outputs, options)
