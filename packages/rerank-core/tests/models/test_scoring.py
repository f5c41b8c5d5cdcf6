import decimal
import math
from collections import deque
from dataclasses import replace
from enum import StrEnum

import numpy as np
import pandas
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_core import EngineError, InvalidRequest, Pair, ScoreOptions
from rerank_core.inputs import as_pair_list, as_pairs, score_options
from rerank_core.models.scoring import distinct_sequences, sigmoid, to_scores
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import Encoding, Scored, Span, TokenSequence
from rerank_core.valid_text import check_text

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

    def scores(self, encoding, outputs, options):
        winner = max(range(len(outputs)), key=outputs.__getitem__)
        return [Scored(outputs[winner], encoding.spans[winner] if encoding.spans else None)]


SEQUENCE = TokenSequence.of([1, 2, 3])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_an_error_and_never_a_result(bad):
    encodings = [Encoding((0,), (SEQUENCE,)), Encoding((1,), (TokenSequence.of([9]),))]

    with pytest.raises(EngineError, match=r"document 1 is -?(nan|inf), not a finite number"):
        to_scores(Said(), encodings, {SEQUENCE: 1.0, TokenSequence.of([9]): bad}, ScoreOptions())


def test_usage_counts_each_distinct_sequence_once_and_each_cut_pair():
    encodings = [Encoding((0,), (SEQUENCE,)), Encoding((1,), (SEQUENCE,), truncated=1)]

    usage = to_scores(Said(), encodings, {SEQUENCE: 1.0}, ScoreOptions()).usage

    assert (usage.pairs, usage.tokens, usage.truncated) == (2, 3, 1)


def test_a_score_names_the_part_of_the_document_that_it_comes_from():
    head, tail = TokenSequence.of([1]), TokenSequence.of([2])
    windows = Encoding((0,), (head, tail), spans=(Span(0, 5), Span(3, 8)))
    whole = Encoding((1,), (head,))

    scores = to_scores(Said(), [windows, whole], {head: -1.0, tail: 2.0}, ScoreOptions(raw=True))

    assert scores.values == (2.0, -1.0)
    assert scores.spans == (Span(3, 8), None)
    assert to_scores(Said(), [whole], {head: -1.0}, ScoreOptions()).spans is None


def test_distinct_sequences_come_once_in_the_order_of_first_use():
    a, b = TokenSequence.of([1]), TokenSequence.of([2])

    assert distinct_sequences([Encoding((0,), (b, a)), Encoding((1,), (b,)), Encoding((2,), (a,))]) == [b, a]
    assert distinct_sequences([Encoding((0,), (TokenSequence.of([1], [1]), TokenSequence.of([1], [0])))]) == [
        TokenSequence.of([1], [1]),
        TokenSequence.of([1], [0]),
    ]


def test_no_options_are_the_default():
    assert score_options(None, {}) == ScoreOptions()
    assert score_options(ScoreOptions(raw=True), {}) == ScoreOptions(raw=True)


def test_keywords_of_the_last_release_work_and_warn_where_they_are_written():
    model, options = OverlapModel(), ScoreOptions(max_query_tokens=5)
    wanted = model.score("a panda", ["a panda eats"], replace(options, raw=True, truncate=False))

    with pytest.warns(DeprecationWarning, match=r"score\(\.\.\., raw=True, truncate=False\) is now") as caught:
        assert model.score("a panda", ["a panda eats"], options=options, raw=True, truncate=False) == wanted
    assert [warning.filename for warning in caught] == [__file__]


def test_an_option_that_is_set_stays_set_whatever_a_keyword_of_the_last_release_says():
    strict = ScoreOptions(raw=True, truncate=False)

    with pytest.warns(DeprecationWarning, match="is now"):
        assert score_options(strict, {"raw": False, "truncate": True}) == strict


def test_a_keyword_that_never_was_is_a_type_error():
    with pytest.raises(TypeError, match=r"score\(\) got an unexpected keyword argument 'top_n'"):
        OverlapModel().score("a", ["b"], top_n=3)


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


@pytest.mark.parametrize(
    "documents",
    [
        ("a", "b"),
        iter(["a", "b"]),
        map(str.lower, "AB"),
        (letter for letter in "ab"),
        {1: "a", 2: "b"}.values(),
        {"a": 1, "b": 2}.keys(),
        deque("ab"),
        np.array(["a", "b"]),
        np.array(["a", "b"], dtype=object),
        pandas.Series(["a", "b"], index=[7, 3]),
        pyarrow.array(["a", "b"]),
        pyarrow.chunked_array([["a"], ["b"]]),
    ],
    ids=lambda documents: type(documents).__name__,
)
def test_documents_come_from_any_iterable_with_an_order(documents):
    pairs = as_pairs("q", documents)

    assert pairs == [Pair("q", "a"), Pair("q", "b")]
    assert {type(text) for pair in pairs for text in pair} == {str}


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ("ab", "documents is one string: pass a list of strings"),
        (b"ab", "documents is one bytes"),
        ({"a": "b"}, "documents is a dict, whose keys would be taken: pass a list"),
        ({"a"}, "documents is a set, which has no order"),
        (frozenset("a"), "documents is a frozenset, which has no order"),
        (None, "documents is NoneType: pass a list of strings"),
        (7, "documents is int: pass a list"),
        (np.array("a"), "documents is ndarray: pass a list"),
        (np.array([["a"], ["b"]]), "document 0 is ndarray, not a string"),
        (pandas.DataFrame({"a": ["b"]}), "documents is a DataFrame, whose column names would be taken"),
        (pyarrow.table({"a": ["b"]}), "documents is a Table, whose column names would be taken"),
        (pyarrow.array(["a", None]), "document 1 is NoneType, not a string"),
        (np.array(["a", float("nan")], dtype=object), "document 1 is float, not a string"),
        (np.array([b"a"]), "document 0 is bytes_, not a string"),
    ],
    ids=str,
)
def test_what_surely_is_no_list_of_documents_is_refused_with_a_way_out(documents, message):
    with pytest.raises(InvalidRequest, match=message):
        as_pairs("q", documents)


def test_a_subclass_of_str_counts_for_what_it_holds():
    class Name(StrEnum):
        PANDA = "panda"

    class Odd(str):
        def encode(self, *_):
            raise AssertionError

        def __str__(self):
            return "something else"

        __eq__ = lambda *_: False  # noqa: E731
        __hash__ = str.__hash__

    ((query, document),) = as_pairs(np.str_("q"), [Odd("text")])
    assert (query, document, type(query), type(document)) == ("q", "text", str, str)
    assert as_pairs(Name.PANDA, []) == []


TWO = [Pair("q", "a"), Pair("r", "b")]


@pytest.mark.parametrize(
    "pairs",
    [
        TWO,
        [("q", "a"), ["r", "b"]],
        zip("qr", "ab", strict=True),
        (pair for pair in TWO),
        np.array([["q", "a"], ["r", "b"]]),
        np.array([["q", "a"], ["r", "b"]], dtype=object),
        pandas.DataFrame({"query": ["q", "r"], "document": ["a", "b"]}).itertuples(index=False),
        {("q", "a"): 1, ("r", "b"): 2}.keys(),
        [iter(("q", "a")), iter(("r", "b"))],
    ],
    ids=lambda pairs: type(pairs).__name__,
)
def test_pairs_are_what_everybody_writes(pairs):
    assert as_pair_list(pairs) == TWO


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("ab", "pairs is one string: pass a list of pairs"),
        (None, "pairs is NoneType"),
        ({("q", "a"): 1}, "pairs is a dict"),
        ({("q", "a")}, "pairs is a set, which has no order"),
        (("q", "a"), "pair 0 is one string: pass a list of two strings"),
        (["ab"], "pair 0 is one string"),
        ([TWO[0], "ab"], "pair 1 is one string"),
        ([TWO[0], ("q",)], "pair 1 has 1 items: pass two, a query and a document"),
        ([("q", "a", "b")], "pair 0 has 3 items"),
        ([()], "pair 0 has 0 items"),
        ([{"query": "q", "document": "a"}], "pair 0 is a dict, whose keys would be taken"),
        ([{"q"}], "pair 0 is a set, which has no order"),
        ([TWO[0], None], "pair 1 is NoneType"),
        ([7], "pair 0 is int"),
        ([b"ab"], "pair 0 is one bytes"),
        ([("q", "a"), (1, "b")], "the query of pair 1 is int, not a string"),
        ([("q", "a"), ("r", None)], "document 1 is NoneType, not a string"),
        (pandas.DataFrame({"qq": ["q"], "dd": ["a"]}), "pairs is a DataFrame, whose column names would be taken"),
    ],
    ids=str,
)
def test_what_is_no_pair_is_named_by_its_place(pairs, message):
    with pytest.raises(InvalidRequest, match=message):
        as_pair_list(pairs)
