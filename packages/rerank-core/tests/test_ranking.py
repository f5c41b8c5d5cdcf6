import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_core import InvalidRequest, RankedDocument, ScoreOptions, Scores, Span, Usage, rank, rerank
from rerank_core.testing.doubles import FailingScorer, OverlapModel

FEW_VALUES = st.lists(st.sampled_from([-1.0, 0.0, -0.0, 0.25, 1.0]) | st.floats(-1, 1))


def scores_of(*values: float, spans: tuple[Span | None, ...] | None = None) -> Scores:
    return Scores(values=values, model="m", usage=Usage(pairs=len(values), tokens=0, truncated=0), spans=spans)


@given(FEW_VALUES)
def test_the_best_comes_first_and_ties_keep_the_callers_order(values):
    ranked = rank(scores_of(*values))

    assert sorted(document.index for document in ranked) == list(range(len(values)))
    assert all(document.score == values[document.index] for document in ranked)
    for better, worse in pairwise(ranked):
        assert better.score > worse.score or (better.score == worse.score and better.index < worse.index)


@given(FEW_VALUES, st.integers(1, 10), st.floats(-1, 1))
def test_top_n_takes_the_head_of_what_the_threshold_leaves(values, top_n, threshold):
    everything = rank(scores_of(*values))

    assert (
        rank(scores_of(*values), top_n=top_n, threshold=threshold)
        == [document for document in everything if document.score >= threshold][:top_n]
    )


def test_a_score_at_the_threshold_is_kept():
    below = math.nextafter(0.5, 0)

    assert rank(scores_of(below, 0.5), threshold=0.5) == [RankedDocument(1, 0.5)]


@pytest.mark.parametrize("top_n", [0, -1])
def test_a_top_n_below_one_is_refused(top_n):
    with pytest.raises(InvalidRequest, match=f"top_n is {top_n}: use at least 1"):
        rank(scores_of(1.0), top_n=top_n)


def test_a_wrong_top_n_is_refused_before_anything_is_scored():
    never_asked = FailingScorer(AssertionError("it was asked"))  # type: ignore[arg-type]

    with pytest.raises(InvalidRequest, match="top_n is 0"):
        rerank(never_asked, "query", ["document"], top_n=0)


def test_the_part_of_a_document_that_won_stays_with_it():
    ranked = rank(scores_of(0.1, 0.9, spans=(None, Span(3, 7))))

    assert [document.span for document in ranked] == [Span(3, 7), None]


def test_the_threshold_is_on_the_scale_that_is_returned():
    scorer = OverlapModel()
    documents = ["nothing", "a panda", "a giant panda"]
    raw = scorer.score("giant panda", documents, ScoreOptions(raw=True)).values

    kept = rerank(scorer, "giant panda", documents, threshold=raw[1], options=ScoreOptions(raw=True))
    assert [document.index for document in kept] == [2, 1]

    normalised = rerank(scorer, "giant panda", documents, threshold=0.9)
    assert [(document.index, document.score > 0.9) for document in normalised] == [(2, True)]


def test_raw_is_the_short_form_of_its_option():
    scorer, documents = OverlapModel(), ["nothing", "a giant panda"]

    short = rerank(scorer, "giant panda", documents, raw=True, options=ScoreOptions(max_length=32))

    assert short == rerank(scorer, "giant panda", documents, options=ScoreOptions(raw=True, max_length=32))
    assert short != rerank(scorer, "giant panda", documents)


def test_each_result_has_its_document_where_that_is_known():
    documents = {"a": "nothing", "b": "a giant panda"}
    scorer = OverlapModel()
    scores = scorer.score("giant panda", documents.values())

    assert [best.document for best in rerank(scorer, "giant panda", iter(documents.values()))] == [
        "a giant panda",
        "nothing",
    ]
    assert [best.document for best in rank(scores, list(documents.values()))] == ["a giant panda", "nothing"]
    assert [best.document for best in rank(scores, documents.values())] == ["a giant panda", "nothing"]
    assert [best.document for best in rank(scores)] == [None, None]
    with pytest.raises(InvalidRequest, match="there are 2 scores and 1 documents"):
        rank(scores, ["nothing"])


def test_numbers_from_elsewhere_can_be_ranked_too():
    assert rank([0.25, 0.5, 0.25], ["a", "b", "c"], top_n=2) == [RankedDocument(1, 0.5), RankedDocument(0, 0.25)]
    assert rank(np.array([0.25, 0.5], dtype=np.float32))[0] == RankedDocument(1, 0.5)
    assert rank([]) == []
    with pytest.raises(InvalidRequest, match="score 1 is not a number"):
        rank([0.5, math.nan])


@pytest.mark.parametrize("ask", [rerank, OverlapModel.score])
def test_options_that_are_no_options_are_refused_with_what_is(ask):
    with pytest.raises(InvalidRequest, match=r"options is a dict: pass ScoreOptions, such as ScoreOptions\(raw=True\)"):
        ask(OverlapModel(), "panda", ["a panda"], options={"raw": True})


def test_a_ranking_is_a_list_and_a_table():
    ranking = rerank(OverlapModel(), "giant panda", ["nothing", "a <b>giant</b>\n panda", "x" * 500], raw=True)

    assert isinstance(ranking, list)
    assert ranking == list(ranking)
    assert repr(ranking[:1]).startswith("Ranking of 1 document, best first\n")
    assert ranking[0] in ranking
    assert pickle.loads(pickle.dumps(ranking)) == ranking
    assert repr(ranking) == (
        "Ranking of 3 documents, best first\n"
        "  index    score  document\n"
        "      1   0.9766  a <b>giant</b> panda\n"
        "      0  -1.0078  nothing\n"
        f"      2  -1.0078  {'x' * 77}..."
    )
    assert repr(rank(scores_of())) == "Ranking of 0 documents, best first"
    assert repr(rank(scores_of(*[0.5] * 30))).splitlines()[-1] == "... 10 more"


def test_a_notebook_shows_a_ranking_without_running_what_a_document_says():
    page = rerank(OverlapModel(), "panda", ["<script>alert(1)</script> panda", "no"])._repr_html_()

    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; panda" in page
    assert page.count("<tr>") == 3
    assert "... 5 more" in rank(scores_of(*[0.5] * 25))._repr_html_()


def test_a_ranking_shows_the_best_sentence_or_the_part_that_won():
    text = "Trains are fast. The giant panda eats. It rains."
    plain = Scores(values=(0.5,), model="m", usage=Usage(pairs=1, tokens=0, truncated=0), spans=(Span(39, 48),))
    ranking = rerank(OverlapModel(), "giant panda", [text], options=ScoreOptions(highlight="sentences"))

    assert repr(ranking).splitlines()[-1].endswith("  The giant panda eats.")
    assert repr(rank(plain, [text])).splitlines()[-1].endswith("  It rains.")


def test_a_threshold_that_is_not_a_number_is_refused():
    """Everything compares as less than it, so it would drop every document in silence."""
    with pytest.raises(InvalidRequest, match="threshold is not a number"):
        rerank(OverlapModel(), "panda", ["a panda"], threshold=float("nan"))


def test_documents_whose_scores_have_all_become_one_keep_the_order_of_their_raw_scores():
    saturated = Scores(
        values=(1.0, 1.0, 1.0, 0.5), raw_values=(40.0, 60.0, 50.0, 0.0), model="m",
        usage=Usage(pairs=4, tokens=0, truncated=0),
    )  # fmt: skip

    assert [document.index for document in rank(saturated)] == [1, 2, 0, 3]
    assert [document.index for document in rank(saturated, top_n=1)] == [1]
    assert [document.index for document in rank(saturated, threshold=1.0)] == [1, 2, 0]


def test_an_answer_is_the_same_whether_its_raw_scores_are_known_or_not():
    known = Scores(values=(0.5,), raw_values=(0.0,), model="m", usage=Usage(pairs=1, tokens=0, truncated=0))

    assert known == Scores(values=(0.5,), model="m", usage=known.usage)
