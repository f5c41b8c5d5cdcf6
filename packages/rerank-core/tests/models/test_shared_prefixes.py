"""A prefix is computed once for all documents of its query, and freed with the last of them."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
import weakref
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_core import EngineError, Pair, ScoreOptions
from rerank_core.engines.base import Batch
from rerank_core.errors import OutOfMemory
from rerank_core.models import local
from rerank_core.models.batching import SharedPrefixes, batch_order, micro_batches
from rerank_core.models.scoring import distinct_sequences
from rerank_core.testing.listwise import WordEngine
from rerank_core.testing.prompted import prompted_model
from rerank_core.types import SharedPrefix, TokenSequence

RAW = ScoreOptions(raw=True)
QUERY = "giant panda of the far mountains"
DOCUMENTS = [f"panda {'bamboo ' * (number % 7)}{number}" for number in range(100)]  # many batches of 64 tokens


@pytest.fixture(autouse=True)
def no_collection_of_garbage() -> Iterator[None]:
    """What is freed must be freed at once, not by the next collection of garbage."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Watched(WordEngine):
    """Notes the size of each batch, and how many prefixes were kept behind it; may fail."""

    def __init__(self, **options: int) -> None:
        super().__init__(**options)
        self.batches: list[int] = []
        self.kept: list[int] = []
        self.fails = False
        self.room = 10**9

    def forward(self, batch):
        rows = super().forward(batch)
        self.batches.append(len(batch.lengths))
        self.kept.append(len(self.store))
        if self.fails and len(self.batches) > 1:
            raise EngineError("broken")
        if len(batch.lengths) > self.room:
            raise OutOfMemory("too much")
        return rows


def alone(query: str, document: str) -> float:
    (value,) = prompted_model().score(query, [document], RAW).values
    return value


def test_a_prefix_is_computed_once_for_all_documents_of_a_query_also_over_many_batches() -> None:
    engine = Watched()

    scores = prompted_model(engine).score(QUERY, DOCUMENTS, RAW)

    assert len(engine.batches) > 5
    assert len(engine.computed) == 1
    assert scores.values == tuple(alone(QUERY, document) for document in DOCUMENTS)
    assert scores.usage.tokens == sum(7 + len(document.split()) + 1 for document in DOCUMENTS)
    assert len(engine.store) == 0


def test_a_request_that_is_tokenised_in_parts_shares_its_prefix_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_PAIRS_AT_ONCE", 3)
    engine = Watched()

    prompted_model(engine).score(QUERY, DOCUMENTS)

    assert len(engine.computed) == 1


def test_of_many_queries_each_is_computed_once_and_freed_behind_its_last_document() -> None:
    engine = Watched()
    pairs = [Pair(f"giant panda {number}", document) for number in range(20) for document in DOCUMENTS[:20]]

    scores = prompted_model(engine).score_pairs(pairs, RAW)

    assert Counter(engine.computed).most_common(1)[0][1] == 1
    assert len(engine.computed) == 20
    assert max(engine.kept) <= 5
    assert scores.values == tuple(alone(*pair) for pair in pairs)


def test_two_calls_share_nothing() -> None:
    engine = Watched()
    model = prompted_model(engine)

    model.score(QUERY, DOCUMENTS)
    model.score(QUERY, DOCUMENTS)

    assert len(engine.computed) == 2
    assert len(engine.store) == 0


def test_threads_that_score_at_the_same_time_have_their_own_prefixes() -> None:
    engine = Watched()
    model = prompted_model(engine)

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda number: model.score(f"panda {number % 3}", DOCUMENTS, RAW).values, range(12)))

    wanted = [tuple(alone(f"panda {number}", document) for document in DOCUMENTS) for number in range(3)]
    assert found == wanted * 4
    assert len(engine.computed) == 12
    assert len(engine.store) == 0


def test_an_error_frees_what_was_computed() -> None:
    engine = Watched()
    engine.fails = True

    with contextlib.suppress(EngineError):
        prompted_model(engine).score(QUERY, DOCUMENTS)

    assert len(engine.batches) == 2
    assert engine.kept == [1, 1]
    assert len(engine.store) == 0


def test_where_memory_is_short_both_halves_share_the_prefix_and_it_is_freed() -> None:
    engine = Watched()
    engine.room = 3

    scores = prompted_model(engine).score(QUERY, DOCUMENTS, RAW)

    assert max(engine.batches) > 3
    assert len(engine.computed) == 1
    assert scores.values == tuple(alone(QUERY, document) for document in DOCUMENTS)
    assert len(engine.store) == 0


@pytest.mark.parametrize(("max_prefix_bytes", "computed"), [(0, 11), (20, 11), (30, 11), (48, 2)])
def test_what_the_store_has_no_room_for_is_computed_again_with_the_same_rows(
    max_prefix_bytes: int, computed: int
) -> None:
    """The prefixes of two requests, whose documents are in the same ten batches. Each has 24 bytes."""
    engine, held = WordEngine(max_prefix_bytes=max_prefix_bytes), (SharedPrefix(), SharedPrefix())
    model = prompted_model(engine)
    requests = [distinct_sequences(model.encode(query, DOCUMENTS, RAW)) for query in (QUERY, QUERY[::-1])]

    for start in range(0, len(DOCUMENTS), 10):
        batch = [sequence for request in requests for sequence in request[start : start + 10]]
        rows = engine.forward(Batch.of(batch, [shared for shared in held for _ in range(10)]))
        assert rows.tolist() == [WordEngine().forward(Batch.of([sequence])).tolist()[0] for sequence in batch]

    assert len(engine.computed) == computed
    del held
    assert engine.store.nbytes == 0


def test_a_prefix_that_is_larger_than_the_store_is_kept_where_it_is_the_only_one() -> None:
    engine = Watched(max_prefix_bytes=20)

    prompted_model(engine).score(QUERY, DOCUMENTS)

    assert len(engine.batches) > 2
    assert len(engine.computed) == 1
    assert len(engine.store) == 0


def test_copies_and_pickles_of_a_batch_s_prefix_hold_nothing() -> None:
    engine = WordEngine()
    held = SharedPrefix()
    sequence = TokenSequence.of([1, 2, 0, 5, 0], prefix=3)
    engine.forward(Batch.of([sequence], [held]))
    copies = copy.deepcopy(held), copy.copy(held), pickle.loads(pickle.dumps(held))
    assert not {held} & set(copies)

    del held

    assert len(engine.store) == 0


def test_a_prefix_of_other_tokens_is_never_taken_for_the_one_that_is_kept() -> None:
    engine, held = WordEngine(), SharedPrefix()
    one, other = TokenSequence.of([1, 2, 0, 1, 0], prefix=3), TokenSequence.of([3, 2, 0, 1, 0], prefix=3)

    rows = [engine.forward(Batch.of([sequence], [held]))[0, 0] for sequence in (one, other, one)]

    assert rows == [1.0, 0.0, 1.0]


def test_equal_tokens_with_other_prefixes_are_other_sequences() -> None:
    one, other = TokenSequence.of([1, 2, 3, 4], prefix=2), TokenSequence.of([1, 2, 3, 4], prefix=3)

    assert len({one, other}) == 2
    assert (one.prefix_ids, other.prefix_ids) == (one.token_ids[:8], one.token_ids[:12])


def test_a_shared_prefix_lives_as_long_as_it_is_held_and_the_latest_until_the_next() -> None:
    prefixes = SharedPrefixes()
    first, second, bare = (TokenSequence.of([number, 9], prefix=1) for number in (1, 2, 3))
    living = weakref.WeakSet[SharedPrefix]()

    held = prefixes.of(first)
    assert prefixes.of(first) is held is not None
    living.add(held)
    del held
    assert len(living) == 1
    prefixes.of(second)
    assert len(living) == 0
    assert prefixes.of(TokenSequence.of([1, 9])) is None
    assert prefixes.of(bare) is not prefixes.of(second)


# ---------------------------------------------------------------------------- batches

PREFIXED = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 12), st.integers(1, 20), st.integers(0, 99)), max_size=40
).map(
    lambda found: list(
        dict.fromkeys(
            TokenSequence.of([*[name] * prefix, *[number] * rest], prefix=prefix)
            for name, prefix, rest, number in found
        )
    )
)
BUDGETS = st.integers(1, 60)


@given(PREFIXED, BUDGETS)
def test_batches_keep_to_the_budget_with_each_prefix_counted_once(sequences, budget) -> None:
    cost = WordEngine().cost
    batches = list(micro_batches(batch_order(sequences), budget, cost))

    assert [sequence for batch in batches for sequence in batch] == batch_order(sequences)
    assert all(len(batch) == 1 or cost(batch) <= budget for batch in batches)
    for batch, following in pairwise(batches):
        assert cost([*batch, following[0]]) > budget


@given(PREFIXED)
def test_sequences_of_one_prefix_stand_together_the_longest_first(sequences) -> None:
    ordered = batch_order(sequences)

    assert Counter(ordered) == Counter(sequences)
    prefixes = [sequence.prefix_ids for sequence in ordered]
    changes = sum(one != other for one, other in pairwise(prefixes))
    assert changes == max(0, len(set(prefixes)) - 1)
    for prefix in set(prefixes):
        lengths = [len(sequence) for sequence in ordered if sequence.prefix_ids == prefix]
        assert lengths == sorted(lengths, reverse=True)
    assert not ordered or len(ordered[0]) == max(map(len, ordered))


def test_an_engine_that_shares_nothing_has_the_batches_of_whole_sequences() -> None:
    sequences = distinct_sequences(prompted_model().encode(QUERY, DOCUMENTS, RAW))

    batches = list(micro_batches(sequences, 64, lambda sequences: sum(map(len, sequences))))

    assert all(sum(map(len, batch)) <= 64 for batch in batches)
