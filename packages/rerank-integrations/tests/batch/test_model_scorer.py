"""A model that can be sent to another process."""

import pickle
from pathlib import Path

import pytest
from rerank_core.errors import CheckpointError
from rerank_core.types import Pair, ScoreOptions
from rerank_integrations.adapters.local import ModelScorer, local_scorer


def test_pickled_it_is_a_name_and_options(checkpoint: Path) -> None:
    scorer = ModelScorer(str(checkpoint), max_length=32)
    scorer.score("panda", ["a panda"])

    sent = pickle.dumps(scorer)

    assert len(sent) < 1000
    assert repr(pickle.loads(sent)) == repr(scorer) == f"ModelScorer({str(checkpoint)!r}, max_length=32)"


def test_its_model_is_loaded_once_in_a_process(checkpoint: Path) -> None:
    """A Spark task has a copy of its own."""
    scorer = ModelScorer(str(checkpoint))

    assert pickle.loads(pickle.dumps(scorer)).model is scorer.model
    assert ModelScorer(str(checkpoint), max_length=32).model is not scorer.model


def test_it_scores_as_the_model_does(checkpoint: Path) -> None:
    scorer, model = ModelScorer(str(checkpoint)), local_scorer(str(checkpoint))

    assert scorer.score("panda", ["a panda", "x"], ScoreOptions(raw=True)) == model.score(
        "panda", ["a panda", "x"], ScoreOptions(raw=True)
    )
    pairs = [Pair("panda", "a panda"), Pair("x", "y")]
    assert scorer.score_pairs(pairs).values == tuple(
        model.score(query, [document]).values[0] for query, document in pairs
    )


def test_a_model_that_is_not_there_is_an_error_when_it_is_needed(tmp_path: Path) -> None:
    scorer = ModelScorer(str(tmp_path))

    with pytest.raises(CheckpointError):
        scorer.score("panda", ["a panda"])
