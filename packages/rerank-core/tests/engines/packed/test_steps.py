"""The steps of a batch, each of which holds a bounded number of prefixes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_core.engines.packed.steps import steps

SEQUENCES = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), max_size=30)
SIZES = [0, 3, 8, 20, 50, 90]  # of the prefixes, in bytes


@given(SEQUENCES, st.integers(0, 100), st.integers(1, 60))
def test_a_step_keeps_to_both_bounds_unless_one_prefix_or_one_sequence_alone_is_larger(sequences, room, most) -> None:
    prefixes = [prefix for prefix, _ in sequences]
    nbytes = [SIZES[prefix] for prefix in prefixes]
    lengths = [length for _, length in sequences]

    found = list(steps(prefixes, nbytes, lengths, max_bytes=room, max_tokens=most))

    def held(step: list[int]) -> int:
        return sum(SIZES[prefix] for prefix in {prefixes[position] for position in step})

    def tokens(step: list[int]) -> int:
        return sum(lengths[position] for position in step)

    assert sorted(position for step in found for position in step) == list(range(len(sequences)))
    for step in found:
        assert held(step) <= room or len({prefixes[position] for position in step}) == 1
        assert tokens(step) <= most or len(step) == 1
    for step, following in pairwise(found):
        larger = [*step, following[0]]
        assert held(larger) > room or tokens(larger) > most


@pytest.mark.parametrize("most", [100, 2])
def test_sequences_of_one_prefix_stand_side_by_side_in_their_order(most: int) -> None:
    found = list(steps("abab", [1] * 4, [1] * 4, max_bytes=100, max_tokens=most))

    assert [position for step in found for position in step] == [0, 2, 1, 3]
