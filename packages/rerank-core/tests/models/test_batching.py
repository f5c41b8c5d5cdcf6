from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from rerank_core.models.batching import micro_batches
from rerank_core.types import TokenSequence

SEQUENCES = st.lists(st.integers(1, 30).map(lambda length: TokenSequence.of(range(length))))
BUDGETS = st.integers(1, 60)


def total(sequences):
    return sum(map(len, sequences))


@given(SEQUENCES, BUDGETS)
def test_batches_laid_end_to_end_are_the_sequences_in_their_order(sequences, budget):
    assert [sequence for batch in micro_batches(sequences, budget, total) for sequence in batch] == sequences


@given(SEQUENCES, BUDGETS)
def test_a_batch_keeps_to_the_budget_unless_it_is_a_single_sequence(sequences, budget):
    for batch in micro_batches(sequences, budget, total):
        assert batch
        assert sum(map(len, batch)) <= budget or len(batch) == 1


@given(SEQUENCES, BUDGETS)
def test_no_two_neighbouring_batches_would_have_fitted_into_one(sequences, budget):
    batches = list(micro_batches(sequences, budget, total))

    for batch, following in pairwise(batches):
        assert sum(map(len, batch)) + len(following[0]) > budget
