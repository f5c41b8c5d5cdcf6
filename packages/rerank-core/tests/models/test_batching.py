from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from rerank_core.models.batching import micro_batches
from rerank_core.types import Segment

SEGMENTS = st.lists(st.integers(1, 30).map(lambda length: Segment.of(range(length))))
BUDGETS = st.integers(1, 60)


@given(SEGMENTS, BUDGETS)
def test_batches_laid_end_to_end_are_the_segments_in_their_order(segments, budget):
    assert [segment for batch in micro_batches(segments, budget) for segment in batch] == segments


@given(SEGMENTS, BUDGETS)
def test_a_batch_keeps_to_the_budget_unless_it_is_a_single_segment(segments, budget):
    for batch in micro_batches(segments, budget):
        assert batch
        assert sum(map(len, batch)) <= budget or len(batch) == 1


@given(SEGMENTS, BUDGETS)
def test_no_two_neighbouring_batches_would_have_fitted_into_one(segments, budget):
    batches = list(micro_batches(segments, budget))

    for batch, following in pairwise(batches):
        assert sum(map(len, batch)) + len(following[0]) > budget
