"""A listwise double: a third kind of model and a second engine, whose scores depend on the whole list."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rerank_core.engines.prefix_store import PrefixStore
from rerank_core.engines.target import Target, Unsupported
from rerank_core.models.local import LocalModel
from rerank_core.testing.word_tokenizer import SEPARATOR, WordTokenizer
from rerank_core.types import Encoding, ModelInfo, Scored, ScoreOptions, TokenSequence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rerank_core.checkpoints.checkpoint import Checkpoint
    from rerank_core.engines.base import Batch, Plan

WINDOW = 8  # documents that the network reads at once


class Listwise:
    """A task: the network reads the query and up to ``WINDOW`` documents at once, and has a score for each.

    The query is a prefix that all windows of a list share.
    """

    independent: ClassVar[bool] = False

    def __init__(self) -> None:
        self._tokenizer = WordTokenizer()

    def encode(self, query: str, documents: Sequence[str], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        """See ``Task.encode``. Nothing is truncated."""
        prefix = [*self._tokenizer.encode(query).ids, SEPARATOR]
        encodings = []
        for start in range(0, len(documents), WINDOW):
            window = documents[start : start + WINDOW]
            ids = [token for text in window for token in (*self._tokenizer.encode(text).ids, SEPARATOR)]
            sequence = TokenSequence.of([*prefix, *ids], prefix=len(prefix))
            positions = range(first + start, first + start + len(window))
            encodings.append(Encoding(tuple(positions), (sequence,)))
        return encodings

    def outputs(self, rows: NDArray[np.float32]) -> list[list[float]]:
        """Return the numbers of each row."""
        values: list[list[float]] = rows.tolist()
        return values

    def scores(self, encoding: Encoding, outputs: Sequence[list[float]], options: ScoreOptions) -> list[Scored]:
        """Return the first numbers of the row, one for each document."""
        (row,) = outputs
        return [Scored(raw) for raw in row[: len(encoding.documents)]]


@dataclass(frozen=True, slots=True)
class QueryWords:
    """What ``WordEngine`` computes of a prefix: the words of the query."""

    words: frozenset[int]

    @property
    def nbytes(self) -> int:
        """A token's bytes for each word."""
        return 4 * len(self.words)


class WordEngine:
    """An engine that counts: words that a document shares with the query, minus those that its rivals share.

    It computes a prefix once, and keeps it for later batches. ``computed`` lists the prefixes that it has computed, as
    token ids; ``store`` has those that it keeps.
    """

    name: ClassVar[str] = "words"
    device = "cpu"
    batch_tokens = 64

    def __init__(self, max_prefix_bytes: int = 2**20) -> None:
        self.store: PrefixStore[QueryWords] = PrefixStore(max_prefix_bytes)
        self.computed: list[bytes] = []

    @classmethod
    def plan(cls, checkpoint: Checkpoint, target: Target) -> Plan:
        """See ``Engine.plan``."""
        raise Unsupported("it counts words, and runs no checkpoint")

    def cost(self, sequences: Sequence[TokenSequence]) -> int:
        """See ``Engine.cost``."""
        prefixes = {sequence.token_ids[: 4 * sequence.prefix]: sequence.prefix for sequence in sequences}
        return sum(len(sequence) - sequence.prefix for sequence in sequences) + sum(prefixes.values())

    def forward(self, batch: Batch) -> NDArray[np.float32]:
        """See ``Engine.forward``: one row a sequence, with a number for each document of a full window."""
        import numpy as np

        rows = np.zeros((len(batch.lengths), WINDOW), dtype=np.float32)
        sequences = np.split(batch.token_ids, np.cumsum(batch.lengths)[:-1])
        ids = [tokens[:prefix].tobytes() for tokens, prefix in zip(sequences, batch.prefixes, strict=True)]
        prefixes = list(zip(batch.shared, ids, strict=True))
        queries = self.store.states(prefixes, self._queries)
        for row, tokens, length, prefix in zip(rows, sequences, batch.prefixes, prefixes, strict=True):
            shared = [len(queries[prefix].words & document) for document in _texts(tokens[length:].tolist())]
            row[: len(shared)] = [2 * own - sum(shared) for own in shared]
        return rows

    def _queries(self, prefixes: Sequence[bytes]) -> list[QueryWords]:
        self.computed += prefixes
        return [QueryWords(frozenset(_texts(array("i", ids))[0])) for ids in prefixes]


def listwise_model(name: str = "listwise") -> LocalModel:
    """Make a model of the two. Its fingerprint is its name."""
    info = ModelInfo(name=name, engine=WordEngine.name, device="cpu", dtype="float32", max_length=512)
    return LocalModel(Listwise(), WordEngine(), info, lambda: name)


def _texts(ids: Sequence[int]) -> list[set[int]]:
    """Divide tokens into texts, each of which ends with a separator."""
    texts: list[set[int]] = [set()]
    for token in ids:
        if token == SEPARATOR:
            texts.append(set())
        else:
            texts[-1].add(token)
    return texts[:-1]
