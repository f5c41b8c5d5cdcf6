"""What stands on the network of a checkpoint: a classification head, or the pooling of a text's hidden states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from rerank_core.checkpoints.chain import Chain
from rerank_core.checkpoints.labels import HeadColumns, two_logits
from rerank_core.checkpoints.sentence_transformers import Similarity
from rerank_core.errors import CheckpointError, InvalidRequest
from rerank_core.types import Kind

_SIMILARITIES: Mapping[Similarity, str] = {
    "cosine": "cosine",
    "dot": "dot product",
    "euclidean": "Euclidean distance with a minus before it",
    "manhattan": "Manhattan distance with a minus before it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """A head with one logit for each label: a cross-encoder's.

    - ``is_library_reranker``: whether the checkpoint says that it is a cross-encoder of sentence-transformers.
    - ``has_answers``: whether it is a language model whose recipe has two answers, of which each label is one.
    - ``chain``: the modules that give the logits; None: the network's own head does.
    - ``prompt``: what is put before the query.
    """

    kind: ClassVar[Kind] = "cross-encoder"

    labels: tuple[str, ...]
    is_library_reranker: bool = False
    has_answers: bool = False
    chain: Chain | None = None
    prompt: str = ""

    @property
    def description(self) -> str:
        """The head in a few words."""
        if self.chain is not None:
            return str(self.chain)
        return f"the network's own, with {len(self.labels)} outputs" if len(self.labels) > 1 else "the network's own"

    @property
    def prompts(self) -> Mapping[str, str]:
        """What is put before a ``query`` and before a ``document``."""
        return {"query": self.prompt, "document": ""}

    def columns(self, wanted: int | str | None, model: str) -> HeadColumns:
        """Choose the outputs that are the score; ``wanted`` is the label that the caller names.

        Raises ``CheckpointError`` where that cannot be known, and ``InvalidRequest`` for a label that there is not.
        """
        if wanted is None:
            if len(self.labels) == 1:
                return HeadColumns(0)
            pair = None
            if len(self.labels) == 2:
                pair = two_logits(self.labels, is_reranker=self.is_library_reranker, has_answers=self.has_answers)
            if pair is not None:
                return pair
            raise CheckpointError(
                f"{model} has {len(self.labels)} labels ({_listed(self.labels)}), a reranker has one, or two that "
                "say relevant and not relevant: say which one is the score with label="
            )
        if isinstance(wanted, str) and wanted in self.labels:
            return HeadColumns(self.labels.index(wanted))
        if isinstance(wanted, int) and 0 <= wanted < len(self.labels):
            return HeadColumns(wanted)
        raise InvalidRequest(
            f"{model} has no label {wanted!r}: use a number below {len(self.labels)} or one of {_listed(self.labels)}"
        )

    def raw_score(self, columns: HeadColumns) -> str:
        """Name the number that the raw score is."""
        if len(self.labels) == 1:
            return "logit"
        score = f"logit of {self.labels[columns.label][:100]}"
        return score if columns.against is None else f"{score} minus logit of {self.labels[columns.against][:100]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooling:
    """The hidden states of a text become one vector, and vectors are compared: a bi-encoder's.

    - ``chain``: how the vector is made of the hidden states.
    - ``similarity``, ``normalizes``: how vectors are compared, and whether they become unit vectors first.
    - ``dimensions``: the first numbers of a vector, which alone are compared; None: all.
    - ``prompts``: what is put before a ``query`` and before a ``document``.
    """

    kind: ClassVar[Kind] = "bi-encoder"

    chain: Chain
    similarity: Similarity = "cosine"
    normalizes: bool = False
    dimensions: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)

    @property
    def description(self) -> str:
        """The head in a few words."""
        first = f"the first {self.dimensions} dimensions" if self.dimensions is not None else None
        parts = [str(self.chain), "Normalize" if self.normalizes else None, first]
        return ", ".join(filter(None, parts))

    @property
    def raw_score(self) -> str:
        """Name the number that the raw score is."""
        return _SIMILARITIES[self.similarity]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogits:
    """The output rows of one token or two, at the last position of a prompt: a language model's.

    The raw score is the logit of ``true_id``, less that of ``false_id`` where there is one. An engine multiplies with
    the one row ``W[true_id] - W[false_id]``, whose difference is taken in float32; ``W`` is ``lm_head.weight``, or the
    token embeddings where the checkpoint ties the two.
    """

    kind: ClassVar[Kind] = "language-model"
    chain: ClassVar[None] = None

    true_id: int
    false_id: int | None = None

    @property
    def prompts(self) -> Mapping[str, str]:
        """Nothing: the texts stand in a prompt, see ``Checkpoint.prompt``."""
        return {}

    @property
    def description(self) -> str:
        """The head in a few words."""
        return f"the output of the last token, {self.raw_score}"

    @property
    def raw_score(self) -> str:
        """Name the number that the raw score is."""
        score = f"logit of token {self.true_id}"
        return score if self.false_id is None else f"{score} minus logit of token {self.false_id}"


Head: TypeAlias = Classification | Pooling | TokenLogits


def _listed(labels: tuple[str, ...]) -> str:
    return ", ".join(label[:100] for label in labels[:20]) + (", ..." if len(labels) > 20 else "")
