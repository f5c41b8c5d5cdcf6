import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_core.errors import (
    DeadlineExceeded,
    EngineError,
    InputTooLong,
    InvalidRequest,
    ModelError,
    Overloaded,
    RerankError,
    Unauthorized,
    Unavailable,
)
from rerank_integrations.http.balancer import Endpoint
from rerank_integrations.http.retries import Attempts, may_succeed_later, pause

A, B = (Endpoint(f"http://{name}", given=f"http://{name}") for name in "ab")


@pytest.mark.parametrize("kind", [Unavailable, Overloaded])
def test_what_may_succeed_later_is_asked_again(kind: type[RerankError]) -> None:
    assert may_succeed_later(kind("no"))


@pytest.mark.parametrize(
    "kind", [DeadlineExceeded, EngineError, InputTooLong, InvalidRequest, ModelError, RerankError, Unauthorized]
)
def test_what_will_not_is_asked_once(kind: type[RerankError]) -> None:
    assert not may_succeed_later(kind("no"))


@given(failures=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_a_pause_is_anything_up_to_a_bound_that_doubles(failures: int, chance: float) -> None:
    bounds = {1: 0.5, 2: 1.0, 3: 2.0, 4: 4.0}

    assert pause(failures, None, chance) == chance * bounds.get(failures, 8.0)


@given(failures=st.integers(1, 10_000), retry_after=st.floats(0, 600), chance=st.floats(0, 1, exclude_max=True))
def test_what_the_server_says_is_never_cut_short_and_a_little_spread(
    failures: int, retry_after: float, chance: float
) -> None:
    assert retry_after <= pause(failures, retry_after, chance) <= retry_after * 1.1


def test_each_server_is_asked_once_before_any_is_asked_again() -> None:
    attempts = Attempts([A, B], 1, 0.0)
    assert attempts.ready(0.0) == [A, B]

    attempts.failed(A, 5.0, 1.0, 0.0)
    assert attempts.ready(1.0) == [B]
    assert attempts.wait(1.0) == 0

    attempts.failed(B, 2.0, 1.0, 0.0)
    assert attempts.ready(1.0) == []
    assert attempts.wait(1.0) == 2.0
    assert attempts.ready(3.0) == [B]


def test_a_server_is_asked_so_often_and_no_more() -> None:
    attempts = Attempts([A, B], 2, 0.0)

    for _ in range(3):
        attempts.failed(A, 0.0, 0.0, 0.0)
    assert attempts.ready(0.0) == [B]
    for _ in range(3):
        attempts.failed(B, 0.0, 0.0, 0.0)

    assert attempts.wait(0.0) is None
    assert attempts.made == 6


def test_nobody_waits_longer_than_our_server_ever_says() -> None:
    attempts = Attempts([A], 3, 0.0)

    attempts.failed(A, 86_400.0, 0.0, 0.0)

    assert attempts.wait(0.0) is None
