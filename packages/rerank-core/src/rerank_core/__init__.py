"""Scores how well passages answer a query.

    import rerank_core

    model = rerank_core.load()                       # BAAI/bge-reranker-v2-m3
    rerank_core.rerank(model, "what is a panda?", passages, top_n=3)

Importing this loads nothing heavy; ``load`` does.
"""

from typing import TYPE_CHECKING, Any

from rerank_core.checkpoints.sources import DEFAULT_MODEL
from rerank_core.deprecation import renamed
from rerank_core.errors import (
    CheckpointError,
    DeadlineExceeded,
    DeviceError,
    EngineError,
    InputTooLong,
    InvalidRequest,
    MissingExtra,
    ModelError,
    Overloaded,
    RerankError,
    TooManyDocuments,
    Unauthorized,
    Unavailable,
    UnknownModel,
)
from rerank_core.loading import load
from rerank_core.models.local import LocalModel
from rerank_core.pairs import score_pairs
from rerank_core.ranking import Ranking, rank, rerank
from rerank_core.scorer import AsyncScorer, Scorer, StepwiseModel
from rerank_core.types import Calibration, ModelInfo, Pair, RankedDocument, ScoreOptions, Scores, Sentence, Span, Usage

__all__ = [
    "DEFAULT_MODEL",
    "AsyncScorer",
    "Calibration",
    "CheckpointError",
    "DeadlineExceeded",
    "DeviceError",
    "EngineError",
    "InputTooLong",
    "InvalidRequest",
    "LocalModel",
    "MissingExtra",
    "ModelError",
    "ModelInfo",
    "Overloaded",
    "Pair",
    "RankedDocument",
    "Ranking",
    "RerankError",
    "ScoreOptions",
    "Scorer",
    "Scores",
    "Sentence",
    "Span",
    "StepwiseModel",
    "TooManyDocuments",
    "Unauthorized",
    "Unavailable",
    "UnknownModel",
    "Usage",
    "__version__",
    "load",
    "rank",
    "rerank",
    "score_pairs",
]


if TYPE_CHECKING:
    __version__: str
else:  # a type checker would believe in every name

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            return version("rerank-core")
        return renamed(__name__, name, {"PairModel": StepwiseModel})
