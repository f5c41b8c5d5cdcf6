"""A second engine: one class and one line in the table of engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import rerank_core
from rerank_core import CheckpointError, ScoreOptions, engines
from rerank_core.checkpoints.checkpoint import Checkpoint
from rerank_core.checkpoints.heads import Classification
from rerank_core.engines.base import Batch
from rerank_core.engines.failures import translates_failures
from rerank_core.engines.target import Target, Unsupported
from rerank_core.types import TokenSequence


@dataclass(frozen=True)
class LengthPlan:
    labels: int

    def load(self, calibration_batch: Batch, *, trust_remote_code: bool) -> LengthEngine:
        return LengthEngine(self.labels)


class LengthEngine:
    """Every logit is the number of tokens."""

    name = "length"
    device = "cpu"
    batch_tokens = 100

    def __init__(self, labels: int) -> None:
        self._labels = labels

    @classmethod
    def plan(cls, checkpoint: Checkpoint, target: Target) -> LengthPlan:
        if target.dtype != "float32" or not isinstance(checkpoint.head, Classification):
            raise Unsupported("it counts the tokens of pairs in float32")
        return LengthPlan(len(checkpoint.head.labels))

    def cost(self, sequences: Sequence[TokenSequence]) -> int:
        return sum(map(len, sequences))

    @translates_failures
    def forward(self, batch: Batch) -> np.ndarray:
        return np.repeat(batch.lengths[:, None], self._labels, axis=1).astype(np.float32)


LENGTH = {"length": f"{__name__}:LengthEngine"}


@pytest.fixture(autouse=True)
def in_the_table(monkeypatch):
    monkeypatch.setattr(engines, "ENGINES", engines.ENGINES | LENGTH)


def test_an_engine_in_the_table_scores_what_is_loaded_with_it(tiny):
    model = rerank_core.load(str(tiny("bert")), engine="length", device="cpu")

    assert (model.info.engine, model.info.engine_reason) == ("length", "as asked for")
    assert model.batch_tokens == 100
    scores = model.score("panda", ["bamboo", "a panda eats bamboo"], ScoreOptions(raw=True))
    assert scores.values == (5.0, 8.0)
    assert scores.usage.tokens == 13


def test_what_it_does_not_run_is_refused_with_its_reason(tiny):
    with pytest.raises(CheckpointError, match=r"the length engine does not run .*: it counts the tokens of pairs"):
        rerank_core.load(str(tiny("bert", "bi-encoder")), engine="length", device="cpu")


def test_auto_passes_it_over_where_it_does_not_run_a_checkpoint(tiny, monkeypatch):
    monkeypatch.setattr(engines, "ENGINES", LENGTH | engines.ENGINES)

    assert rerank_core.load(str(tiny("bert")), device="cpu").info.engine == "length"
    other = rerank_core.load(str(tiny("bert", "bi-encoder")), device="cpu").info
    assert other.engine == "packed"
    assert "length does not: it counts the tokens of pairs in float32" in other.engine_reason
