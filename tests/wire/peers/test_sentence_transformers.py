"""sentence-transformers, as of 6.2: tests/cross_encoder/test_cross_encoder.py (predict and rank), in process."""

from pathlib import Path

import pytest
import rerank_core
from rerank_core import CheckpointError, InvalidRequest, Pair, ScoreOptions
from rerank_core.models.scoring import sigmoid
from rerank_core.testing.checkpoints import write_tiny_checkpoint
from rerank_core.types import RankedDocument

QUERY = "A man is eating pasta."
CORPUS = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "A man is riding a horse.",
    "A woman is playing violin.",
    "A cheetah is running behind its prey.",
]


@pytest.fixture(scope="module")
def model(tiny: Path) -> rerank_core.Scorer:
    return rerank_core.load(str(tiny))


def test_rank_gives_each_document_once_by_descending_score(model: rerank_core.Scorer) -> None:
    ranks = rerank_core.rerank(model, QUERY, CORPUS)

    scores = [rank.score for rank in ranks]
    assert sorted(rank.index for rank in ranks) == list(range(len(CORPUS)))
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(("top_n", "count"), [(None, 6), (1, 1), (3, 3), (99, 6)])
def test_rank_takes_a_number_of_the_best(model: rerank_core.Scorer, top_n: int | None, count: int) -> None:
    ranks = rerank_core.rerank(model, QUERY, CORPUS, top_n=top_n)

    assert ranks == rerank_core.rerank(model, QUERY, CORPUS)[:count]


def test_rank_puts_what_answers_first(minilm: Path) -> None:
    ranks = rerank_core.rerank(rerank_core.load(str(minilm)), QUERY, CORPUS)

    assert {rank.index for rank in ranks[:2]} == {0, 1}


def test_pairs_may_be_of_different_queries(tiny: Path) -> None:
    model = rerank_core.load(str(tiny))
    pairs = [(QUERY, CORPUS[0]), (CORPUS[2], CORPUS[4])]

    expected = tuple(model.score(query, [document]).values[0] for query, document in pairs)

    assert model.score_pairs([Pair(*pair) for pair in pairs]).values == expected


def test_one_pair_scores_as_it_does_among_others(model: rerank_core.Scorer) -> None:
    together = model.score(QUERY, CORPUS).values

    assert tuple(model.score(QUERY, [document]).values[0] for document in CORPUS) == together


def test_the_activation_is_the_sigmoid_or_none(model: rerank_core.Scorer) -> None:
    raw = model.score(QUERY, CORPUS, ScoreOptions(raw=True)).values

    assert model.score(QUERY, CORPUS).values == tuple(map(sigmoid, raw))


def test_scores_are_floats_whatever_the_dtype(tiny: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        scores = rerank_core.load(str(tiny), dtype=dtype, engine="reference").score(QUERY, CORPUS)
        assert all(type(value) is float for value in scores.values)


def test_max_length_cuts_what_is_read(tiny: Path) -> None:
    long = " ".join(CORPUS) * 5
    model = rerank_core.load(str(tiny))

    short = rerank_core.load(str(tiny), max_length=16).score(QUERY, [long])

    assert short == model.score(QUERY, [long], options=ScoreOptions(max_length=16))
    assert short.usage.tokens == 16


def test_no_documents_are_no_scores(model: rerank_core.Scorer) -> None:
    assert model.score(QUERY, []).values == ()
    assert rerank_core.rerank(model, QUERY, []) == []


def test_what_is_not_text_is_refused(model: rerank_core.Scorer) -> None:
    for documents in (CORPUS[0], [None], [1], [CORPUS]):
        with pytest.raises(InvalidRequest):
            model.score(QUERY, documents)  # type: ignore[arg-type]


def test_differs_a_model_of_several_labels_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    """There ``predict`` gives a row a pair, and only ``rank`` refuses it."""
    directory = write_tiny_checkpoint(tmp_path / "labels", "bert", labels=3)

    with pytest.raises(CheckpointError, match="3"):
        rerank_core.load(str(directory))


def test_differs_rank_names_positions_and_returns_no_texts(model: rerank_core.Scorer) -> None:
    """There it is a dictionary with ``corpus_id``, and ``text`` where asked for: the caller's list has the texts."""
    (best, *_) = rerank_core.rerank(model, QUERY, CORPUS)

    assert best == RankedDocument(best.index, model.score(QUERY, CORPUS).values[best.index])
