"""Pairs of different queries, scored by whatever scores."""

import pytest
from rerank_core import InvalidRequest, Overloaded, ScoreOptions, score_pairs
from rerank_core.testing.doubles import FailingScorer, OverlapModel

PAIRS = [
    ("a panda", "a panda eats bamboo"),
    ("a train", "the train leaves"),
    ("a panda", "the train leaves"),
    ("a train", "a panda eats bamboo"),
    ("a panda", "a panda eats bamboo"),
]


def alone(scorer: OverlapModel, options: ScoreOptions) -> list[float]:
    return [scorer.score(query, [document], options=options).values[0] for query, document in PAIRS]


@pytest.mark.parametrize("options", [ScoreOptions(), ScoreOptions(raw=True)])
def test_each_pair_has_the_score_that_it_has_alone(options):
    scorer = OverlapModel()

    scores = score_pairs(scorer, PAIRS, options)

    assert list(scores.values) == alone(scorer, options)
    assert list(scores.raw_values) == alone(scorer, ScoreOptions(raw=True))
    assert (scores.model, scores.usage.pairs) == ("overlap", 5)


def test_a_real_model_gets_all_pairs_at_once(tiny_model):
    model = tiny_model("bert")

    scores = score_pairs(model, iter(PAIRS))

    assert scores == model.score_pairs(PAIRS)
    assert list(scores.values) == [model.score(query, [document]).values[0] for query, document in PAIRS]


def test_a_query_is_asked_once_however_many_pairs_it_has():
    scorer = OverlapModel()

    score_pairs(scorer, PAIRS)

    assert len(scorer.forwards) == 2


def test_the_calls_may_be_made_in_another_way():
    asked = []

    def backwards(work, queries):
        asked.extend(queries)
        return list(reversed([work(query) for query in reversed(queries)]))

    scores = score_pairs(OverlapModel(), PAIRS, map_queries=backwards)

    assert asked == ["a panda", "a train"]
    assert scores == score_pairs(OverlapModel(), PAIRS)


def test_spans_of_long_documents_stay_with_their_pairs():
    long = "a train leaves " + "nothing else happens " * 60 + "and a panda sleeps"
    scorer = OverlapModel(long_documents="chunk")

    spans = score_pairs(scorer, [("panda sleeps", "short"), ("train leaves", long), ("panda sleeps", long)]).spans

    assert spans[1] == scorer.score("train leaves", [long]).spans[0]
    assert spans[2] == scorer.score("panda sleeps", [long]).spans[0]
    assert spans[1].start == 0 < spans[2].start


def test_no_pairs_have_no_scores():
    assert score_pairs(OverlapModel(), []).values == ()


def test_what_is_no_pair_is_refused_and_what_the_scorer_raises_is_raised():
    with pytest.raises(InvalidRequest, match="pair 1 has 3 items"):
        score_pairs(OverlapModel(), [("a", "b"), ("a", "b", "c")])
    with pytest.raises(Overloaded):
        score_pairs(FailingScorer(Overloaded("full")), PAIRS)
