import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_core.errors import InvalidRequest
from rerank_integrations.batch.groups import ranked, whole_groups
from rerank_integrations.batch.jsonl import Lines


def lines(values: list[object], first: int = 1) -> Lines:
    numbers = list(range(first, first + len(values)))
    return Lines([b"{}"] * len(values), numbers, [{"query": value} for value in values])


@given(st.lists(st.integers(1, 5), max_size=8), st.integers(1, 7))
def test_groups_are_whole_however_the_chunks_fall(sizes: list[int], chunk: int) -> None:
    values: list[object] = [f"q{number}" for number, size in enumerate(sizes) for _ in range(size)]
    chunks = (lines(values[start : start + chunk], start + 1) for start in range(0, len(values), chunk))

    portions = list(whole_groups(chunks, "query"))

    assert [number for rows, _ in portions for number in rows.numbers] == list(range(1, len(values) + 1))
    assert [len(group) for _, groups in portions for group in groups] == sizes
    for rows, groups in portions:
        assert [place for group in groups for place in group] == list(range(len(rows)))


def test_a_query_that_comes_back_is_an_error_with_its_place() -> None:
    with pytest.raises(InvalidRequest, match="line 4 has a 'query' that other rows had before it") as raised:
        list(whole_groups(iter([lines(["secret", "secret"]), lines(["b", "secret"], 3)]), "query"))

    assert "secret" not in str(raised.value)


def test_one_and_true_and_the_word_are_three_queries() -> None:
    ((_, first), (_, second)) = whole_groups(iter([lines([1, "1", None, True])]), "query")

    assert [*first, *second] == [range(1), range(1, 2), range(2)]


def test_best_first_ties_as_they_came_and_without_a_score_last() -> None:
    scores = [9.0, 0.1, None, 0.5, 0.1, -2.0]

    assert ranked(scores, range(1, 6), None) == [3, 1, 4, 5, 2]
    assert ranked(scores, range(1, 6), 2) == [3, 1]
