"""The store of prefixes, as threads that share a model use it."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from rerank_core.engines.prefix_store import PrefixStore
from rerank_core.types import SharedPrefix


class State:
    nbytes = 10


def states(store: PrefixStore[State], shared: list[SharedPrefix]) -> list[State]:
    return list(store.states([(each, b"ids!") for each in shared], lambda ids: [State() for _ in ids]).values())


def test_what_does_not_fit_is_computed_again():
    store: PrefixStore[State] = PrefixStore(25)
    waiting = [SharedPrefix() for _ in range(4)]

    first, second = states(store, waiting), states(store, waiting)

    assert store.nbytes == 20
    assert [before is after for before, after in zip(first, second, strict=True)] == [True, True, False, False]
    waiting.clear()
    assert store.nbytes == 0


def test_a_state_larger_than_the_store_is_kept_where_nothing_else_is():
    store: PrefixStore[State] = PrefixStore(5)
    waiting = [SharedPrefix(), SharedPrefix()]

    first, second = states(store, waiting), states(store, waiting)

    assert store.nbytes == 10
    assert [before is after for before, after in zip(first, second, strict=True)] == [True, False]
    del waiting[0]
    assert states(store, waiting) == states(store, waiting)


@pytest.fixture
def eager_threads():
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_may_keep_prefixes_at_once(eager_threads):
    store: PrefixStore[State] = PrefixStore(10_000)
    waiting = [SharedPrefix() for _ in range(300)]

    def keep(shared: list[SharedPrefix]) -> int:
        return len(store.states([(each, b"ids!") for each in shared], lambda ids: [State() for _ in ids]))

    keep(waiting)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: keep([SharedPrefix() for _ in range(5)]), range(1000))) == {5}
    assert (len(store), store.nbytes) == (300, 3000)
