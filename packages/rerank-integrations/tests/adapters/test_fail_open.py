import logging
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from rerank_core.errors import (
    DeadlineExceeded,
    EngineError,
    InputTooLong,
    InvalidRequest,
    MissingExtra,
    Overloaded,
    RerankError,
    TooManyDocuments,
    Unauthorized,
    Unavailable,
)
from rerank_integrations.adapters.fail_open import FailOpen, OnError, may_pass
from rerank_integrations.http.environment import UnusableEnvironment
from rerank_integrations.http.flow import ServerSilent
from rerank_integrations.http.protocol import NotARerankServer

log = logging.getLogger("a search")


@pytest.mark.parametrize(
    "kind",
    [
        RerankError,
        Unavailable,
        Overloaded,
        DeadlineExceeded,
        EngineError,
        MissingExtra,
        Unauthorized,
        NotARerankServer,
        UnusableEnvironment,
    ],
)
def test_a_search_can_do_without_a_reranker_that_fails(kind: type[RerankError]) -> None:
    assert may_pass(kind("no"))


@pytest.mark.parametrize("kind", [InvalidRequest, InputTooLong, TooManyDocuments])
def test_what_the_caller_must_change_is_an_error_all_the_same(kind: type[RerankError]) -> None:
    assert not may_pass(kind("no"))
    with pytest.raises(kind):
        FailOpen().accept(kind("no"), "passthrough", log)


def test_an_error_is_raised_where_that_is_wanted() -> None:
    with pytest.raises(Overloaded):
        FailOpen().accept(Overloaded("no"), "raise", log)


def test_an_outage_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    outage = FailOpen()

    def succeed() -> None:
        with outage.attempt("passthrough"):
            pass

    succeed()
    for failures in (3, 2):
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(lambda _: outage.accept(Overloaded("no room"), "passthrough", log), range(failures)))
        succeed()
        succeed()

    assert [(record.levelname, record.name) for record in caplog.records] == [("WARNING", "a search")] * 2
    assert caplog.messages[0].endswith("the retriever's own order is used: no room")


def test_it_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(FailOpen())) == FailOpen()


@pytest.fixture
def calls(clock: Any) -> Callable[..., int]:
    """Makes calls of a scorer that fails with these errors, and says how many of them reached it."""
    fail_open = FailOpen(now=clock)

    def make(*errors: RerankError | None, on_error: OnError = "passthrough") -> int:
        reached = 0
        for error in errors:
            with suppress(RerankError), fail_open.attempt(on_error):
                reached += 1
                if error is not None:
                    raise error
        return reached

    return make


DOWN, SLOW, FULL = Unavailable("no"), DeadlineExceeded("no"), Overloaded("no")


def test_after_a_failure_the_scorer_is_left_alone_and_one_call_tries_it_later(calls: Any, clock: Any) -> None:
    assert calls(DOWN, None, None) == 1

    clock.now += 3.0
    assert calls(DOWN, None, None) == 1  # and longer from now on
    clock.now += 3.0
    assert calls(None) == 0
    clock.now += 3.0
    assert calls(None, None, None) == 3


@pytest.mark.parametrize("error", [DOWN, ServerSilent("no")])
def test_a_lost_or_silent_server_is_left_alone_at_once(calls: Any, error: RerankError) -> None:
    assert calls(error, None) == 1


@pytest.mark.parametrize("errors", [(SLOW, SLOW, SLOW), (FULL, SLOW, FULL)])
def test_one_that_lives_and_does_not_manage_is_left_alone_after_three_calls_in_a_row(calls: Any, errors: Any) -> None:
    """One large search that runs out of time does not keep the small ones from being reranked."""
    assert calls(*errors[:2], None, *errors, None) == 6


@pytest.mark.parametrize("error", [EngineError("no"), Unauthorized("no"), InputTooLong("no"), NotARerankServer("no")])
def test_an_error_that_comes_at_once_costs_nothing_and_the_scorer_is_asked_again(calls: Any, error: Any) -> None:
    assert calls(error, error, error, None) == 4


def test_a_server_that_says_when_to_come_back_is_asked_then(calls: Any, clock: Any) -> None:
    assert calls(Unavailable("loading", retry_after=10.0)) == 1

    clock.now += 9.9
    assert calls(None) == 0
    clock.now += 0.1
    assert calls(None) == 1


def test_a_try_that_takes_too_long_leaves_the_scorer_alone_again(calls: Any, clock: Any) -> None:
    assert calls(DOWN) == 1

    clock.now += 3.0
    assert calls(SLOW, None) == 1


def test_a_request_that_is_wrong_says_nothing_of_a_lost_scorer(calls: Any, clock: Any) -> None:
    assert calls(DOWN) == 1

    clock.now += 3.0
    assert calls(InputTooLong("no"), DOWN, None) == 2
    assert calls(SLOW, InvalidRequest("no"), SLOW, None) == 0


def test_requests_that_are_wrong_do_not_hide_that_a_scorer_does_not_manage(calls: Any) -> None:
    assert calls(SLOW, InputTooLong("no"), SLOW, InputTooLong("no"), SLOW, None) == 5


def test_a_failure_behind_a_success_opens_the_circuit_whatever_an_earlier_one_said(clock: Any) -> None:
    fail_open = FailOpen(now=clock)
    early = fail_open.attempt("passthrough")
    early.__enter__()
    with suppress(Unavailable), fail_open.attempt("passthrough"):
        raise Unavailable("loading", retry_after=30.0)
    early.__exit__(None, None, None)
    clock.now += 1.0

    with suppress(Unavailable), fail_open.attempt("passthrough"):
        raise DOWN

    with pytest.raises(Unavailable), fail_open.attempt("passthrough"):
        pytest.fail("the scorer was called")


def test_a_call_from_before_the_failure_does_not_hold_up_the_one_that_tries_the_scorer(clock: Any) -> None:
    fail_open = FailOpen(now=clock)
    early = fail_open.attempt("passthrough")
    early.__enter__()
    with suppress(Unavailable), fail_open.attempt("passthrough"):
        raise DOWN
    clock.now += 3.0

    with fail_open.attempt("passthrough"):
        pass


def test_an_error_of_a_callers_own_class_is_said_again_as_one_of_ours(clock: Any) -> None:
    class Down(Unavailable):
        def __init__(self, host: str, port: int) -> None:
            super().__init__(f"{host}:{port} is down")

    fail_open = FailOpen(now=clock)
    with pytest.raises(Down), fail_open.attempt("passthrough"):
        raise Down("here", 80)

    with pytest.raises(Unavailable, match="here:80 is down"), fail_open.attempt("passthrough"):
        pytest.fail("the scorer was called")


def test_errors_that_are_wanted_are_never_spared(calls: Any) -> None:
    assert calls(DOWN, DOWN, DOWN, on_error="raise") == 3


def test_what_is_raised_instead_of_a_call_is_the_last_failure(clock: Any) -> None:
    fail_open = FailOpen(now=clock)
    with pytest.raises(Unavailable), fail_open.attempt("passthrough"):
        raise DOWN

    with pytest.raises(Unavailable, match=r"^no$") as caught, fail_open.attempt("passthrough"):
        pytest.fail("the scorer was called")

    assert caught.value is not DOWN


def test_a_single_call_tries_the_scorer_and_all_others_go_on_without(clock: Any) -> None:
    fail_open = FailOpen(now=clock)
    with suppress(Unavailable), fail_open.attempt("passthrough"):
        raise DOWN
    clock.now += 3.0

    with fail_open.attempt("passthrough"):
        for _ in range(3):
            with pytest.raises(Unavailable), fail_open.attempt("passthrough"):
                pytest.fail("a second call")
    with fail_open.attempt("passthrough"), fail_open.attempt("passthrough"):
        pass


def test_a_call_that_is_broken_off_leaves_its_place_to_the_next(clock: Any) -> None:
    fail_open = FailOpen(now=clock)
    with suppress(Unavailable), fail_open.attempt("passthrough"):
        raise DOWN
    clock.now += 3.0

    with pytest.raises(KeyboardInterrupt), fail_open.attempt("passthrough"):
        raise KeyboardInterrupt

    with fail_open.attempt("passthrough"):
        pass


def test_calls_that_fail_together_are_one_failure(clock: Any) -> None:
    """Else a moment with many searches would leave a server alone for half a minute."""
    fail_open = FailOpen(now=clock)
    begun = [fail_open.attempt("passthrough") for _ in range(8)]
    for call in begun:
        call.__enter__()
    for call in begun:
        assert not call.__exit__(Unavailable, DOWN, None)

    clock.now += 3.0
    with fail_open.attempt("passthrough"):
        pass
