"""A third kind of model, whose scores depend on the whole list, and an engine that shares a prefix."""

from __future__ import annotations

import pytest
from rerank_core import ScoreOptions, Scorer, StepwiseModel, rerank, score_pairs
from rerank_core.models import local
from rerank_core.models.local import LocalModel
from rerank_core.scorer import is_independent
from rerank_core.testing.doubles import OverlapModel
from rerank_core.testing.listwise import WINDOW, WordEngine, listwise_model
from rerank_core.types import TokenSequence

RAW = ScoreOptions(raw=True)
DOCUMENTS = ["a giant panda", "a panda", "a train"]


@pytest.fixture
def model() -> LocalModel:
    return listwise_model()


def test_a_listwise_model_is_a_scorer_and_says_that_it_is_not_independent(model: LocalModel) -> None:
    assert isinstance(model, Scorer)
    assert isinstance(model, StepwiseModel)
    assert not is_independent(model)
    assert is_independent(OverlapModel())


def test_a_score_depends_on_the_other_documents(model: LocalModel) -> None:
    assert model.score("giant panda", DOCUMENTS, RAW).values == (1.0, -1.0, -3.0)
    assert model.score("giant panda", DOCUMENTS[1:], RAW).values == (1.0, -1.0)
    assert [document.index for document in rerank(model, "giant panda", DOCUMENTS[::-1])] == [2, 1, 0]


def test_a_list_is_never_divided_where_pairs_are(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = model.score("giant panda", DOCUMENTS)
    monkeypatch.setattr(local, "_PAIRS_AT_ONCE", 1)

    assert model.score("giant panda", DOCUMENTS) == whole


def test_a_list_longer_than_the_network_reads_has_scores_in_its_own_order(model: LocalModel) -> None:
    many = [f"giant {'panda' if number % 3 else 'train'} {number}" for number in range(2 * WINDOW + 3)]

    scores = model.score("giant panda", many, RAW)

    windows = [many[start : start + WINDOW] for start in range(0, len(many), WINDOW)]
    assert scores.values == tuple(
        value for window in windows for value in model.score("giant panda", window, RAW).values
    )
    assert scores.usage.pairs == len(many)


@pytest.mark.parametrize("score", [score_pairs, LocalModel.score_pairs])
def test_the_documents_of_a_query_are_one_list_wherever_its_pairs_stand(model: LocalModel, score) -> None:
    pairs = [("giant panda", DOCUMENTS[0]), ("train", DOCUMENTS[2]), *(("giant panda", text) for text in DOCUMENTS[1:])]

    scores = score(model, pairs, RAW)

    first, *others = model.score("giant panda", DOCUMENTS, RAW).values
    assert scores.values == (first, *model.score("train", [DOCUMENTS[2]], RAW).values, *others)
    assert scores.usage.pairs == 4


def test_equal_lists_go_through_the_network_once(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    forward = WordEngine.forward

    def counted(engine, batch):
        computed.append(len(batch.lengths))
        return forward(engine, batch)

    monkeypatch.setattr(WordEngine, "forward", counted)
    window = [f"panda {number}" for number in range(WINDOW)]

    values = model.score("panda", window * 2).values

    assert values[:WINDOW] == values[WINDOW:]
    assert computed == [1]


def test_a_shared_prefix_costs_once() -> None:
    one, other = TokenSequence.of([1, 2, 3, 4], prefix=3), TokenSequence.of([1, 2, 3, 5, 6], prefix=3)
    engine = WordEngine()

    assert (engine.cost([one]), engine.cost([other]), engine.cost([one, other])) == (4, 5, 6)
    assert engine.cost([one, TokenSequence.of([7, 2, 3, 5], prefix=3)]) == 8
