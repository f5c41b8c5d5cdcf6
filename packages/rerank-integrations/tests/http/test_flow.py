"""Flows of requests, with servers that follow a script, by a clock that moves only where somebody waits."""

import json
import logging
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_core.errors import (
    DeadlineExceeded,
    EngineError,
    InvalidRequest,
    ModelError,
    Overloaded,
    RerankError,
    Unavailable,
    UnknownModel,
)
from rerank_core.types import ScoreOptions, Scores
from rerank_integrations.http.balancer import Balancer, Endpoint
from rerank_integrations.http.flow import (
    Answer,
    HedgedRequest,
    RequestFlows,
    SendRequest,
    ServerSilent,
    Sleep,
    TransportFailure,
    is_final,
)
from rerank_integrations.http.protocol import NotARerankServer, Question

A, B = (Endpoint(f"http://{name}", given=f"http://{name}") for name in "ab")
THREE = Question("a query", ["one", "two", "three"], ScoreOptions())

UNREACHABLE = TransportFailure("unreachable", "connection refused")
CUT_OFF = TransportFailure("cut off", "ReadError: reset")
LATE = TransportFailure("late", "too slow")
STUCK = TransportFailure("stuck", "is stopped")
CLOSED = TransportFailure("cut off", "ReadError: reset", on_used_connection=True)


def refusal(kind: type[RerankError], status: int, retry_after: str | None = None) -> Answer:
    return Answer(status, json.dumps({"message": "no", "code": kind.code}).encode(), retry_after)


FULL = refusal(Overloaded, 429)
LOADING = refusal(Unavailable, 503)
UNREADABLE = Answer(200, b"{}")


class World:
    """Runs flows. A server answers with what its script holds next, else well. An answer takes ``takes``
    seconds, and one that is late all the time there is."""

    def __init__(
        self,
        *endpoints: Endpoint,
        timeout: float | None = 100.0,
        max_retries: int = 3,
        chance: float = 0.5,
        limit: int = 9,
        hedge_after: float | None = None,
    ) -> None:
        self.now = 1000.0
        self.takes = 0.0
        self.limit = limit
        self.steps: list[SendRequest | Sleep] = []
        self.scripts: dict[Endpoint, deque[Any]] = {endpoint: deque() for endpoint in endpoints}
        self.balancer = Balancer(endpoints)
        self.flows = RequestFlows(
            self.balancer,
            timeout=timeout,
            max_retries=max_retries,
            hedge_after=hedge_after,
            now=lambda: self.now,
            chance=lambda: chance,
        )
        self.slow: set[Endpoint] = set()

    def score(self, question: Question = THREE) -> Scores:
        flow = self.flows.score(question)
        outcome = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as end:
                return end.value
            self.steps.append(step)
            if isinstance(step, Sleep):
                self.now += step.seconds
                outcome = None
            elif isinstance(step, HedgedRequest):
                outcome = self.race(step)
            else:
                outcome = self.outcome(step)
                if outcome is LATE or (step.seconds is not None and step.seconds < self.takes):
                    outcome = LATE
                    self.now += step.seconds
                else:
                    self.now += self.takes

    def race(self, race: HedgedRequest) -> list[Any]:
        """A server that is slow answers after all others."""
        self.steps[-1] = race.first
        if race.first.endpoint not in self.slow:
            return [(race.first, self.outcome(race.first))]
        self.now += race.after
        second = race.second()
        if second is None:
            return [(race.first, self.outcome(race.first))]
        self.steps.append(second)
        ended = [(second, self.outcome(second))]
        return ended if is_final(ended[0][1]) else [*ended, (race.first, self.outcome(race.first))]

    def outcome(self, ask: SendRequest) -> Any:
        """As the driver has it."""
        said = self.answer(ask)
        return ask.read(said) if isinstance(said, Answer) else said

    def answer(self, ask: SendRequest) -> Answer | TransportFailure:
        assert self.balancer.outstanding(ask.endpoint) == 1
        if self.scripts[ask.endpoint]:
            return self.scripts[ask.endpoint].popleft()
        if ask.path == "/info":
            info = {"model_id": "m", "max_client_batch_size": self.limit, "max_body_bytes": 10_000}
            return Answer(200, json.dumps(info).encode())
        documents = json.loads(ask.body)["documents"]
        results = [{"index": i, "relevance_score": len(text)} for i, text in enumerate(documents)]
        usage = {"total_tokens": len(documents), "truncated": 0}
        return Answer(200, json.dumps({"model": "m", "usage": usage, "results": results}).encode())

    @property
    def asked(self) -> list[tuple[Endpoint, str]]:
        return [(step.endpoint, step.path) for step in self.steps if isinstance(step, SendRequest)]

    @property
    def waited(self) -> list[float]:
        return [step.seconds for step in self.steps if isinstance(step, Sleep)]


@pytest.fixture
def one() -> World:
    """One server, of which the limits are known."""
    return ready(World(A))


@pytest.fixture
def two() -> World:
    return ready(World(A, B))


def ready(world: World) -> World:
    world.score(Question("q", [], ScoreOptions()))
    world.steps.clear()
    return world


def test_the_limits_are_asked_for_once_and_hold_for_all_servers() -> None:
    world = World(A, B, limit=2)

    world.score()
    world.score()

    assert world.asked == [
        (A, "/info"), (B, "/v1/rerank"), (A, "/v1/rerank"), (B, "/v1/rerank"), (A, "/v1/rerank")
    ]  # fmt: skip
    assert world.waited == []


def test_parts_come_back_whole(one: World) -> None:
    world = World(A, B, limit=1)

    assert world.score().values == one.score().values == (3.0, 3.0, 5.0)
    assert world.score().usage == one.score().usage


@pytest.mark.parametrize("failure", [UNREACHABLE, CUT_OFF, STUCK, FULL, LOADING])
def test_another_server_is_asked_at_once(two: World, failure: Any) -> None:
    two.scripts[B].append(failure)  # whose turn it is

    assert two.score().values == (3.0, 3.0, 5.0)
    assert two.asked == [(B, "/v1/rerank"), (A, "/v1/rerank")]
    assert two.waited == []


def test_another_server_is_asked_also_where_none_is_asked_again() -> None:
    world = World(A, B, max_retries=0)
    world.scripts[A].append(UNREACHABLE)
    world.scripts[B].extend([FULL])

    with pytest.raises(Overloaded, match=r"no \(asked 2 times at 2 addresses\)"):
        world.score()
    assert world.asked == [(A, "/info"), (B, "/info")]


@pytest.mark.parametrize("failure", [UNREACHABLE, CUT_OFF, FULL, LOADING], ids=["unreachable", "cut off", "429", "503"])
def test_a_server_alone_is_asked_again_after_growing_pauses(one: World, failure: Any) -> None:
    one.scripts[A].extend([failure] * 3)

    one.score()

    assert one.waited == [0.25, 0.5, 1.0]
    assert len(one.asked) == 4


def test_attempts_are_bounded_and_the_last_error_counts_them(one: World) -> None:
    one.scripts[A].extend([LOADING] * 9)

    with pytest.raises(Unavailable, match=r"^no \(asked 4 times\)$"):
        one.score()
    assert len(one.asked) == 4


def test_a_request_that_may_be_asked_once_has_an_error_in_its_own_words() -> None:
    world = ready(World(A, max_retries=0))
    world.scripts[A].append(refusal(Overloaded, 429, "7"))

    with pytest.raises(Overloaded, match=r"^no$") as caught:
        world.score()
    assert caught.value.retry_after == 7


def test_the_server_says_when_to_come_again(one: World) -> None:
    one.scripts[A].extend([refusal(Overloaded, 429, "7"), refusal(Unavailable, 503, "2")])

    one.score()

    assert one.waited == pytest.approx([7.35, 2.1])


def test_every_server_has_its_own_time_to_come_again(two: World) -> None:
    two.scripts[B].extend([refusal(Overloaded, 429, "20"), CUT_OFF])
    two.scripts[A].extend([refusal(Overloaded, 429, "8"), refusal(Overloaded, 429, "4")])

    two.score()

    assert [endpoint for endpoint, _ in two.asked] == [B, A, A, A]
    assert two.waited == pytest.approx([8.4, 4.2])


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    world = ready(World(A, max_retries=9))
    world.takes = 1.0
    world.scripts[A].extend([refusal(Overloaded, 429, "20")] * 9)

    with pytest.raises(Overloaded) as caught:
        world.score()

    assert world.waited == [21.0] * 4
    assert str(caught.value) == "no (asked 5 times; the next attempt is due in 21 s, timeout=100 leaves 11 s)"


def test_a_wait_that_would_pass_the_deadline_says_so_at_once() -> None:
    world = ready(World(A, timeout=5.0))
    world.takes = 1.0
    world.scripts[A].append(refusal(Unavailable, 503, "30"))

    with pytest.raises(Unavailable) as caught:
        world.score()

    assert str(caught.value) == "no (the next attempt is due in 31.5 s, timeout=5 leaves 4 s)"
    assert not isinstance(caught.value, DeadlineExceeded)
    assert caught.value.retry_after == 30
    assert world.waited == []


def test_attempts_go_on_until_the_deadline_and_never_past_it() -> None:
    world = ready(World(A, timeout=10.0, max_retries=1000))
    world.scripts[A].extend([LOADING] * 1000)
    began = world.now

    with pytest.raises(Unavailable, match=r"the next attempt is due in .* s, timeout=10 leaves "):
        world.score()

    assert world.now - began <= 10.0
    assert len(world.asked) > 4


def test_one_deadline_is_for_all_parts_and_attempts() -> None:
    world = World(A, timeout=10.0, limit=1)
    world.takes = 2.0
    world.scripts[A].append(refusal(Unavailable, 503, "1"))

    with pytest.raises(DeadlineExceeded, match=r"/v1/rerank was not answered within 10 s: .*documents 2 to 2"):
        world.score()

    assert [step.seconds for step in world.steps if isinstance(step, SendRequest)] == pytest.approx(
        [10, 6.95, 4.95, 2.95, 0.95]
    )


def test_a_late_answer_is_past_the_deadline_and_not_waited_for_again(two: World) -> None:
    two.scripts[B].append(LATE)
    two.balancer.is_alive(B, two.now + 1.0)  # as the driver notes while it waits

    with pytest.raises(DeadlineExceeded, match="POST http://b/v1/rerank was not answered within 100 s: send fewer"):
        two.score()
    assert two.asked == [(B, "/v1/rerank")]

    two.score()
    two.score()
    assert two.asked[1:] == [(A, "/v1/rerank")] * 2


def test_without_a_timeout_nothing_ends_but_the_connection(one: World) -> None:
    world = ready(World(A, timeout=None))
    world.scripts[A].append(refusal(Unavailable, 503, "500"))

    world.score()

    assert world.waited == [525.0]
    assert {step.seconds for step in world.steps if isinstance(step, SendRequest)} == {None}
    assert {step.connect for step in world.steps if isinstance(step, SendRequest)} == {10.0}


def test_the_connections_leave_time_for_each_other_and_for_the_answer() -> None:
    world = ready(World(A, B, timeout=6.0))
    world.scripts[B].append(UNREACHABLE)

    world.score()

    first, second = world.steps
    assert (first.connect, second.connect) == (2.0, 2.5)


@pytest.mark.parametrize(
    "failure",
    [
        refusal(InvalidRequest, 400), refusal(ModelError, 500), refusal(EngineError, 500),
        refusal(DeadlineExceeded, 504), Answer(504, b"<html>"), Answer(403, b"<html>"), refusal(UnknownModel, 404),
    ],
)  # fmt: skip
def test_what_every_server_would_say_is_asked_once(two: World, failure: Answer) -> None:
    two.scripts[B].append(failure)

    with pytest.raises(RerankError):
        two.score()

    assert two.asked == [(B, "/v1/rerank")]
    assert two.waited == []


FOREIGN = [
    pytest.param(Answer(200, b"<html>Sign in</html>"), ModelError, id="not JSON"),
    pytest.param(Answer(200, b"{}"), ModelError, id="another shape"),
    pytest.param(
        Answer(200, b'{"model": "m", "usage": {"total_tokens": 1, "truncated": 0}, "results": []}'),
        ModelError,
        id="scores that are missing",
    ),
    pytest.param(Answer(200, b"{}", unusable="is encoded as 'gzip', unasked"), ModelError, id="encoded unasked"),
    pytest.param(Answer(308, b""), NotARerankServer, id="moved"),
    pytest.param(Answer(404, b"<html>nginx</html>"), NotARerankServer, id="404 of a proxy"),
    pytest.param(Answer(500, b"oops"), ModelError, id="500 of a proxy"),
]
"""Answers that no rerank-server gives, with the error of each."""


@pytest.mark.parametrize(("answer", "error"), FOREIGN)
def test_an_answer_that_cannot_be_read_is_a_failure_of_its_server_and_another_is_asked(
    two: World, caplog: pytest.LogCaptureFixture, answer: Answer, error: type[RerankError]
) -> None:
    two.scripts[B].append(answer)

    for _ in range(3):
        assert two.score().values == (3.0, 3.0, 5.0)

    assert [endpoint for endpoint, _ in two.asked] == [B, A, A, A], "its circuit breaker is open"
    assert two.waited == []
    assert "http://b is avoided until it answers again" in caplog.text


@pytest.mark.parametrize(("answer", "error"), FOREIGN)
def test_an_answer_that_cannot_be_read_is_the_error_where_nobody_answers_better(
    two: World, one: World, answer: Answer, error: type[RerankError]
) -> None:
    """It is not asked for again: the same server would say the same."""
    two.scripts[A].append(answer)
    two.scripts[B].append(answer)
    one.scripts[A].append(answer)

    with pytest.raises(error, match=r"\(asked 2 times at 2 addresses\)$"):
        two.score()
    with pytest.raises(error) as alone:
        one.score()

    assert [endpoint for endpoint, _ in two.asked] == [B, A]
    assert [endpoint for endpoint, _ in one.asked] == [A]
    assert type(alone.value) is error


def test_a_server_with_room_later_is_waited_for_where_the_other_cannot_be_read(two: World) -> None:
    two.scripts[B].append(Answer(200, b"{}"))
    two.scripts[A].append(refusal(Overloaded, 429, "4"))

    assert two.score().values == (3.0, 3.0, 5.0)
    assert [endpoint for endpoint, _ in two.asked] == [B, A, A]
    assert two.waited == pytest.approx([4.2])


def test_an_info_that_cannot_be_read_is_asked_for_elsewhere() -> None:
    world = World(A, B)
    world.scripts[A].append(Answer(200, b'{"model_id": "m"}'))

    assert world.score().values == (3.0, 3.0, 5.0)
    assert world.asked[:2] == [(A, "/info"), (B, "/info")]


def test_a_server_that_is_lost_is_left_out_and_comes_back(two: World) -> None:
    two.scripts[B].append(UNREACHABLE)

    for _ in range(4):
        two.score()
    assert [endpoint for endpoint, _ in two.asked] == [B, A, A, A, A]

    two.now += 3.0
    two.score()
    two.score()
    assert [endpoint for endpoint, _ in two.asked[5:]] == [B, A]


def test_a_server_that_rests_is_asked_where_no_other_is_left(two: World) -> None:
    two.scripts[B].append(UNREACHABLE)
    two.score()
    two.scripts[A].append(UNREACHABLE)

    two.score()

    assert [endpoint for endpoint, _ in two.asked] == [B, A, A, B]
    assert two.waited == []


def test_a_lost_server_is_told_once_until_it_works_again(two: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    two.scripts[B].extend([UNREACHABLE, CUT_OFF])
    for _ in range(3):
        two.score()
        two.now += 30.0
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("http://b is avoided until it answers again: http://b cannot be reached")

    two.scripts[A].append(UNREACHABLE)
    two.score()
    two.score()
    assert len(caplog.records) == 2


def test_a_full_server_and_a_server_alone_are_no_news(two: World, one: World, caplog: pytest.LogCaptureFixture) -> None:
    two.scripts[B].append(FULL)
    two.score()
    one.scripts[A].append(UNREACHABLE)
    one.score()

    assert caplog.records == []


def test_a_conversation_that_is_left_has_nothing_in_hand(two: World) -> None:
    flow = two.flows.score(THREE)
    asked = flow.send(None)
    assert isinstance(asked, SendRequest)
    assert two.balancer.outstanding(asked.endpoint) == 1

    flow.close()

    assert two.balancer.outstanding(asked.endpoint) == 0


def test_a_clock_that_wakes_too_early_only_waits_again(one: World) -> None:
    flow = one.flows.score(THREE)
    asked = flow.send(None)
    assert isinstance(asked, SendRequest)

    first = flow.send(asked.read(LOADING))
    one.now += first.seconds / 2
    second = flow.send(None)

    assert second == Sleep(first.seconds / 2)


def test_conversations_at_once_go_to_the_server_with_the_fewest(two: World) -> None:
    begun = [two.flows.score(THREE) for _ in range(4)]

    asked = [flow.send(None).endpoint for flow in begun]
    assert asked == [B, A, B, A]

    begun[0].close()
    begun[2].close()
    assert [two.flows.score(THREE).send(None).endpoint] == [B]


@given(
    outcomes=st.lists(
        st.sampled_from(
            [
                UNREACHABLE,
                CUT_OFF,
                CLOSED,
                STUCK,
                FULL,
                LOADING,
                refusal(Overloaded, 429, "3"),
                UNREADABLE,
                None,
            ]
        ),
        max_size=40,
    ),
    timeout=st.floats(0.5, 60),
    max_retries=st.integers(0, 4),
    seed=st.integers(0, 2**32),
)
def test_whatever_happens_it_ends_in_time_after_few_attempts_with_scores_or_an_error(
    outcomes: list[Any], timeout: float, max_retries: int, seed: int
) -> None:
    world = World(A, B, timeout=timeout, max_retries=max_retries, chance=random.Random(seed).random())
    left = deque(outcomes)
    well: Callable[[SendRequest], Any] = world.answer
    world.answer = lambda ask: (left.popleft() if left else None) or well(ask)
    began = world.now

    with suppress(Unavailable, ModelError):
        assert world.score().values == (3.0, 3.0, 5.0)

    assert world.now - began <= timeout + 1e-6
    for path in ("/info", "/v1/rerank"):
        most = max_retries + 2  # one of them in place of one that met a closed connection
        assert all(world.asked.count((endpoint, path)) <= most for endpoint in (A, B))
    assert [world.balancer.outstanding(endpoint) for endpoint in (A, B)] == [0, 0]


@pytest.mark.parametrize(
    ("endpoints", "timeout", "after", "seconds"),
    [((A, B), 100.0, 0.75, 1.25), ((A, B), 2.0, 0.5, 0.5), ((A,), 100.0, 0.75, 10.0), ((A, B), None, 0.75, 1.25)],
)
def test_a_request_that_waits_is_followed_by_a_question_whether_the_server_lives(
    endpoints: tuple[Endpoint, ...], timeout: float | None, after: float, seconds: float
) -> None:
    """With little time for it all, half of it is left for another server; a server alone may take longer."""
    ask = RequestFlows(
        Balancer(endpoints), timeout=timeout, max_retries=0, now=lambda: 0.0, chance=lambda: 0.0
    ).score(THREE).send(None)  # fmt: skip

    assert isinstance(ask, SendRequest)
    assert ask.check is not None
    assert ask.check.after == after
    probe = ask.check.request
    assert (probe.endpoint, probe.method, probe.path, probe.seconds) == (A, "GET", "/livez", seconds)
    assert probe.fresh
    assert probe.check is None


def test_with_almost_no_time_nothing_but_the_answer_is_waited_for() -> None:
    world = World(A, B, timeout=0.9)
    world.score()

    assert [step.check for step in world.steps if isinstance(step, SendRequest)] == [None, None]


def test_a_stuck_server_is_left_out_and_told_and_comes_back(two: World, caplog: pytest.LogCaptureFixture) -> None:
    two.scripts[B].append(STUCK)

    two.score()
    two.score()
    assert [endpoint for endpoint, _ in two.asked] == [B, A, A]
    assert (
        "http://b is avoided until it answers again: POST http://b/v1/rerank is not answered, and neither is /livez"
        in (caplog.text)
    )

    two.now += 3.0
    two.score()
    two.score()
    assert [endpoint for endpoint, _ in two.asked[3:]] == [B, A]


def test_a_server_that_stays_stuck_alone_is_unavailable(one: World) -> None:
    one.scripts[A].extend([STUCK] * 4)

    with pytest.raises(Unavailable, match=r"the server is stopped \(asked 4 times\)"):
        one.score()


def test_a_connection_that_was_closed_while_idle_is_no_failure_and_the_next_one_is_new() -> None:
    world = ready(World(A, max_retries=0))
    world.scripts[A].append(CLOSED)

    world.score()

    assert [step.fresh for step in world.steps] == [False, True]
    assert world.waited == []
    world.scripts[A].extend([CLOSED, CUT_OFF])
    with pytest.raises(Unavailable, match="was cut off"):
        world.score()


def test_a_server_that_closes_every_connection_is_asked_no_more_often_than_others() -> None:
    world = ready(World(A, max_retries=1))
    world.scripts[A].extend([CLOSED] * 9)

    with pytest.raises(Unavailable):
        world.score()

    assert len(world.asked) == 3


def hedging(*slow: Endpoint, **options: Any) -> World:
    world = ready(World(A, B, hedge_after=0.5, **options))
    world.slow |= set(slow)
    return world


def test_a_second_server_is_asked_where_the_first_is_slow() -> None:
    world = hedging(B)

    assert world.score().values == (3.0, 3.0, 5.0)
    assert world.asked == [(B, "/v1/rerank"), (A, "/v1/rerank")]
    assert [world.balancer.outstanding(one) for one in (A, B)] == [0, 0]


def test_no_second_server_is_asked_where_the_first_is_quick_or_nobody_else_is_there() -> None:
    world = hedging()
    world.score()
    assert world.asked == [(B, "/v1/rerank")]

    alone = ready(World(A, hedge_after=0.5))
    alone.score()
    assert alone.asked == [(A, "/v1/rerank")]


@pytest.mark.parametrize("failure", [UNREACHABLE, FULL, LOADING, STUCK, Answer(200, b"<html>"), Answer(404, b"")])
def test_a_second_server_that_fails_leaves_the_first_its_time(failure: Any) -> None:
    world = hedging(B)
    world.scripts[A].append(failure)

    assert world.score().values == (3.0, 3.0, 5.0)
    assert world.asked == [(B, "/v1/rerank"), (A, "/v1/rerank")]


def test_where_both_fail_both_are_asked_again_later() -> None:
    world = hedging(B, max_retries=1)
    world.scripts[A].append(FULL)
    world.scripts[B].append(CUT_OFF)

    assert world.score().values == (3.0, 3.0, 5.0)
    assert world.waited == [0.25]


def test_an_error_of_the_request_itself_ends_a_race_at_once() -> None:
    world = hedging(B)
    world.scripts[A].append(refusal(InvalidRequest, 400))

    with pytest.raises(InvalidRequest, match="no"):
        world.score()


def test_a_server_that_is_outrun_three_times_in_a_row_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    world = hedging(B)
    for _ in range(10):
        world.score()

    assert [endpoint for endpoint, _ in world.asked].count(B) == 3
    (record,) = caplog.records
    assert "http://b is avoided until it answers again: it was slower than hedge_after=0.5 s" in record.getMessage()


@pytest.mark.parametrize("lives", [True, False])
def test_a_server_that_says_nothing_until_the_time_is_over_is_told_from_one_that_is_slow(lives: bool) -> None:
    world = World(A)
    world.score()
    world.now += 10.0
    world.scripts[A].append(LATE)
    if lives:
        world.balancer.is_alive(A, world.now + 1.0)  # as the driver notes while it waits

    with pytest.raises(DeadlineExceeded, match=r"within 100 s") as caught:
        world.score()

    assert isinstance(caught.value, ServerSilent) is not lives
    assert ("stopped or stuck" in str(caught.value)) is not lives
