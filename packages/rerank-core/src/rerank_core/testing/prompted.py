"""A double of a language model that reranks: its prompt begins with the query, which all documents share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rerank_core.models.local import LocalModel
from rerank_core.testing.listwise import WordEngine
from rerank_core.testing.word_tokenizer import SEPARATOR, WordTokenizer
from rerank_core.types import Encoding, ModelInfo, Scored, ScoreOptions, TokenSequence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rerank_core.engines.base import Engine


class Prompted:
    """A task: a document is one sequence, the query before it is the prefix. The score counts the words in both."""

    independent: ClassVar[bool] = True

    def __init__(self) -> None:
        self._tokenizer = WordTokenizer()

    def encode(self, query: str, documents: Sequence[str], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        """See ``Task.encode``. Nothing is truncated."""
        prefix = [*self._tokenizer.encode(query).ids, SEPARATOR]
        return [
            Encoding(
                (place,),
                (TokenSequence.of([*prefix, *self._tokenizer.encode(text).ids, SEPARATOR], prefix=len(prefix)),),
            )
            for place, text in enumerate(documents, start=first)
        ]

    def outputs(self, rows: NDArray[np.float32]) -> list[float]:
        """Return the first number of each row."""
        values: list[float] = rows[:, 0].tolist()
        return values

    def scores(self, encoding: Encoding, outputs: Sequence[float], options: ScoreOptions) -> list[Scored]:
        """Return the output."""
        return [Scored(raw) for raw in outputs]


def prompted_model(engine: Engine | None = None) -> LocalModel:
    """Make a model of the task and an engine, by default a ``WordEngine``. Its fingerprint is its name."""
    engine = engine or WordEngine()
    info = ModelInfo(
        name="prompted", kind="language-model", engine=engine.name, device="cpu", dtype="float32", max_length=512
    )
    return LocalModel(Prompted(), engine, info, lambda: info.name)
