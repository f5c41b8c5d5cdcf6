import decimal
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_core import EngineError, InvalidRequest, Pair, ScoreOptions
from rerank_core.scoring import as_pairs, check_text, distinct_segments, score_options, sigmoid, to_scores
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import Encoding, Segment, Span

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def exact_sigmoid(raw: float) -> float:
    with decimal.localcontext() as context:
        context.prec = 60
        return float(1 / (1 + (-decimal.Decimal(raw)).exp()))


@given(st.floats(-800, 800))
def test_the_sigmoid_is_exact_to_double_precision(raw):
    assert math.isclose(sigmoid(raw), exact_sigmoid(raw), rel_tol=1e-15, abs_tol=5e-324)


@given(st.floats(-690, 690))
def test_the_sigmoid_is_one_over_one_plus_e_to_the_minus_raw(raw):
    assert sigmoid(raw) == 1.0 / (1.0 + math.exp(-raw))


@pytest.mark.parametrize(
    ("raw", "score"), [(0.0, 0.5), (1e4, 1.0), (-1e4, 0.0), (1.7e308, 1.0), (-1.7e308, 0.0), (-0.0, 0.5)]
)
def test_the_sigmoid_has_a_value_for_any_finite_number(raw, score):
    assert sigmoid(raw) == score


@given(FINITE, FINITE)
def test_the_sigmoid_never_turns_an_order_round(one, other):
    low, high = sorted((one, other))

    assert 0.0 <= sigmoid(low) <= sigmoid(high) <= 1.0


def test_the_sigmoid_never_turns_an_order_round_where_its_two_formulas_meet():
    around = [-700.0]
    for _ in range(50):
        around = [math.nextafter(around[0], -math.inf), *around, math.nextafter(around[-1], math.inf)]
    values = [sigmoid(raw) for raw in around]

    assert values == sorted(values)


class Said(OverlapModel):
    """A model that says what its outputs say."""

    def combine(self, encoding, outputs, options):
        winner = max(range(len(outputs)), key=outputs.__getitem__)
        return outputs[winner], winner


SEGMENT = Segment.of([1, 2, 3])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_an_error_and_never_a_result(bad):
    encodings = [Encoding(0, (SEGMENT,)), Encoding(1, (Segment.of([9]),))]

    with pytest.raises(EngineError, match=r"document 1 is -?(nan|inf), not a finite number"):
        to_scores(Said(), encodings, {SEGMENT: 1.0, Segment.of([9]): bad}, ScoreOptions())


def test_usage_counts_each_distinct_segment_once_and_each_cut_pair():
    encodings = [Encoding(0, (SEGMENT,)), Encoding(1, (SEGMENT,), truncated=True)]

    usage = to_scores(Said(), encodings, {SEGMENT: 1.0}, ScoreOptions()).usage

    assert (usage.pairs, usage.tokens, usage.truncated) == (2, 3, 1)


def test_a_score_names_the_part_of_the_document_that_it_comes_from():
    head, tail = Segment.of([1]), Segment.of([2])
    windows = Encoding(0, (head, tail), spans=(Span(0, 5), Span(3, 8)))
    whole = Encoding(1, (head,))

    scores = to_scores(Said(), [windows, whole], {head: -1.0, tail: 2.0}, ScoreOptions(raw=True))

    assert scores.values == (2.0, -1.0)
    assert scores.spans == (Span(3, 8), None)
    assert to_scores(Said(), [whole], {head: -1.0}, ScoreOptions()).spans is None


def test_distinct_segments_come_once_in_the_order_of_first_use():
    a, b = Segment.of([1]), Segment.of([2])

    assert distinct_segments([Encoding(0, (b, a)), Encoding(1, (b,)), Encoding(2, (a,))]) == [b, a]
    assert distinct_segments([Encoding(0, (Segment.of([1], [1]), Segment.of([1], [0])))]) == [
        Segment.of([1], [1]),
        Segment.of([1], [0]),
    ]


def test_the_everyday_arguments_win_over_the_options():
    given_options = ScoreOptions(max_query_tokens=5)

    assert score_options(None, raw=False, truncate=True) == ScoreOptions()
    assert score_options(given_options, raw=True, truncate=False) == replace(given_options, raw=True, truncate=False)
    assert score_options(ScoreOptions(raw=True, truncate=False), raw=False, truncate=True) == ScoreOptions(
        raw=True, truncate=False
    )


def test_the_query_goes_beside_each_document():
    assert as_pairs("q", ["a", "b"]) == [Pair("q", "a"), Pair("q", "b")]
    assert as_pairs("q", ()) == []


def test_messages_never_hold_the_text():
    with pytest.raises(InvalidRequest) as caught:
        check_text("the secret \ud83d half", "document 7")

    assert "secret" not in str(caught.value)
    assert "document 7 holds a lone surrogate (U+D83D at character 11)" in str(caught.value)


@pytest.mark.parametrize("wrong", [None, 3, b"bytes", ["list"]])
def test_what_is_not_a_string_is_named_by_its_type(wrong):
    with pytest.raises(InvalidRequest, match=f"the query is {type(wrong).__name__}, not a string"):
        as_pairs(wrong, [])
