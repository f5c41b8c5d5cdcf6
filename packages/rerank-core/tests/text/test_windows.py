"""Windows of a long document: which tokens, which characters, which score."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_core.text.windows import count_windows, query_room, sentence_ends, span, window_score, windows
from rerank_core.types import ScoreOptions, Span

numbers = st.integers(1, 300)


@given(length=st.integers(1, 2000), size=numbers, overlap=st.none() | st.integers(0, 400), ends=st.sets(numbers))
def test_every_token_is_in_a_window_and_none_is_too_long(length, size, overlap, ends) -> None:
    found = windows(length, size, overlap, sorted(ends))

    assert all(0 < len(window) <= size for window in found)
    assert set().union(*found) == set(range(length))
    assert [window.start for window in found] == sorted({window.start for window in found})


@given(length=st.integers(1, 2000), size=st.integers(8, 300), overlap=st.integers(0, 400), ends=st.sets(numbers))
def test_neighbours_share_what_they_should_and_the_count_is_bounded(length, size, overlap, ends) -> None:
    found = windows(length, size, overlap, sorted(ends))
    shared = min(overlap, size // 2)

    assert all(one.stop - other.start == shared for one, other in pairwise(found))
    assert len(found) <= 1 + math.ceil(max(0, length - size) / (size - size // 8 - shared))


@pytest.mark.parametrize("size", [0, -3])
def test_windows_of_no_tokens_are_refused_and_not_made_without_end(size) -> None:
    with pytest.raises(ValueError, match=f"a window has {size} tokens"):
        windows(10, size)


def test_what_fits_is_one_window() -> None:
    assert windows(10, 10) == [range(10)]


def test_a_window_ends_with_a_sentence_that_is_near() -> None:
    assert windows(200, 100, 10, [40, 95]) == [range(95), range(85, 185), range(175, 200)]


def test_a_window_is_not_shortened_for_a_sentence_that_is_far() -> None:
    assert windows(150, 100, 0, [40]) == [range(100), range(100, 150)]


def test_windows_overlap_by_at_most_half():
    assert windows(150, 100, 99) == windows(150, 100, 50) == [range(100), range(50, 150)]


def test_a_query_leaves_a_quarter_to_the_document() -> None:
    assert (query_room(10, 100), query_room(75, 100), query_room(500, 100)) == (10, 75, 75)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three", ["One.", " Two!", " Three"]),
        ('He said "go." Then 3.14 was it.', ['He said "go."', " Then 3.14 was it."]),
        ("一。二！三", ["一。", "二！", "三"]),
        ("هل؟ نعم۔ لا", ["هل؟", " نعم۔", " لا"]),
        ("A heading\n\nA text", ["A heading", "\n\nA text"]),
    ],
)
def test_sentences_end_where_each_script_ends_them(text: str, sentences: list[str]) -> None:
    offsets = [(place, place + 1) for place in range(len(text))]
    cuts = [0, *sentence_ends(text, offsets), len(text)]

    assert [text[start:end] for start, end in pairwise(cuts) if start < end] == sentences


def test_a_sentence_ends_behind_the_last_token_of_its_last_character() -> None:
    offsets = [(0, 1), (1, 2), (1, 2), (3, 4)]  # the second character is two tokens

    assert sentence_ends("a! b", offsets) == [3]
    assert span(offsets, range(1, 4)) == Span(1, 4)


def test_the_best_window_the_first_or_the_mean_of_the_best_decides() -> None:
    values = [1.0, 5.0, 3.0, -2.0]

    assert window_score(values, ScoreOptions()) == (5.0, 1)
    assert window_score(values, ScoreOptions(chunk_score="first")) == (1.0, 0)
    assert window_score(values, ScoreOptions(chunk_score="mean", best_chunks=2)) == (4.0, 1)
    assert window_score([7.0], ScoreOptions(chunk_score="mean")) == (7.0, 0)


@pytest.mark.parametrize("how", ["max", "first", "mean"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_window_without_a_finite_score_is_not_hidden_by_the_others(how, bad):
    """The best of the others would look like a score, and a mean of inf and -inf would be a bare error."""
    score, window = window_score([1.0, bad, -math.inf], ScoreOptions(chunk_score=how))

    assert not math.isfinite(score)
    assert window == 1


@given(
    length=st.integers(0, 2000),
    size=numbers,
    overlap=st.none() | st.integers(0, 400),
    most=st.none() | st.integers(1, 9),
)
def test_windows_are_counted_as_they_are_divided(length, size, overlap, most) -> None:
    found = windows(length, size, overlap)[:most]

    assert count_windows(length, size, overlap, most) == (len(found), sum(map(len, found)))
