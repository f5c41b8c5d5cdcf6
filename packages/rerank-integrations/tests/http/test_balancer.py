from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from rerank_integrations.http.balancer import Balancer, Endpoint

A, B, C = (Endpoint(f"http://{name}", given=f"http://{name}") for name in "abc")


def next_of(balancer: Balancer, among: list[Endpoint], now: float = 0.0) -> Endpoint:
    with balancer.acquire(among, now) as endpoint:
        return endpoint


def test_the_one_with_the_fewest_requests_in_hand_is_taken() -> None:
    balancer = Balancer([A, B, C])

    with balancer.acquire([A], 0), balancer.acquire([A], 0), balancer.acquire([B], 0):
        assert [balancer.outstanding(one) for one in balancer] == [2, 1, 0]
        assert next_of(balancer, [A, B, C]) == C
        assert next_of(balancer, [A, B]) == B
    assert [balancer.outstanding(one) for one in balancer] == [0, 0, 0]


def test_ties_go_in_turn() -> None:
    balancer = Balancer([A, B, C])

    assert [next_of(balancer, [A, B, C]) for _ in range(6)] == [A, B, C] * 2


def test_a_request_that_fails_is_no_longer_in_hand() -> None:
    balancer = Balancer([A])

    with pytest.raises(KeyError), balancer.acquire([A], 0):
        raise KeyError

    assert balancer.outstanding(A) == 0


def test_one_that_failed_comes_last_while_it_rests() -> None:
    balancer = Balancer([A, B])
    balancer.failed(A, 100.0, None)

    with balancer.acquire([B], 101.0):
        assert next_of(balancer, [A, B], 101.0) == B
        assert next_of(balancer, [A], 101.0) == A
        assert next_of(balancer, [A, B], 104.0) == A


def test_one_that_failed_is_tried_by_a_single_request() -> None:
    """Else all that come at once would wait for a lost server."""
    balancer = Balancer([A, B])
    balancer.failed(A, 100.0, None)

    with ExitStack() as stack:
        taken = [stack.enter_context(balancer.acquire([A, B], 200.0)) for _ in range(5)]
        assert sorted(one.url for one in taken) == [A.url, *[B.url] * 4]

        balancer.answered(A, 200.0)
        assert next_of(balancer, [A, B], 200.0) == A


@pytest.mark.parametrize(
    ("failures", "retry_after", "seconds"),
    [
        (1, None, 3),
        (2, None, 6),
        (3, None, 12),
        (9, None, 30),
        (9999, None, 30),
        (1, 7.0, 7),
        (1, 600.0, 30),
    ],
)
def test_rest_is_longer_with_each_failure_up_to_a_bound(
    failures: int, retry_after: float | None, seconds: float
) -> None:
    balancer = Balancer([A, B])

    for _ in range(failures):
        balancer.failed(A, 100.0, retry_after)

    with balancer.acquire([B], 0):
        assert next_of(balancer, [A, B], 100.0 + seconds - 0.01) == B
        assert next_of(balancer, [A, B], 100.0 + seconds) == A


def test_the_first_failure_first_failure_until_it_works_again() -> None:
    balancer = Balancer([A])

    assert [balancer.failed(A, 0.0, None) for _ in range(3)] == [True, False, False]
    balancer.answered(A, 200.0)
    assert balancer.failed(A, 0.0, None)


def test_threads_share_one_and_nothing_is_lost() -> None:
    balancer = Balancer([A, B, C])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: next_of(balancer, [A, B, C]), range(500)))

    assert [balancer.outstanding(one) for one in balancer] == [0, 0, 0]


def test_a_sign_of_life_stands_for_a_moment() -> None:
    balancer = Balancer([A, B])
    assert not balancer.was_alive(A, 100.0)

    balancer.is_alive(A, 100.0)
    balancer.answered(B, 100.2)

    assert [balancer.was_alive(one, 100.4) for one in (A, B)] == [True, True]
    assert [balancer.was_alive(one, 100.6) for one in (A, B)] == [False, True]


def test_a_server_that_is_outrun_again_and_again_is_left_out_until_it_answers() -> None:
    """Once or twice is chance: a healthy server also has slow requests."""
    balancer = Balancer([A, B])

    assert [balancer.outrun(A, 100.0) for _ in range(2)] == [False, False]
    balancer.answered(A, 100.0)
    assert [balancer.outrun(A, 100.0) for _ in range(4)] == [False, False, True, False]
    assert [next_of(balancer, [A, B], 101.0) for _ in range(2)] == [B, B]

    balancer.answered(A, 101.0)
    assert A in [next_of(balancer, [A, B], 101.0) for _ in range(2)]
