"""Retries, failover and deadlines over real sockets. Waits take no time: the scorer's clock moves instead."""

import asyncio
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rerank_core.errors import (
    DeadlineExceeded,
    EngineError,
    InputTooLong,
    InvalidRequest,
    Overloaded,
    RerankError,
    Unauthorized,
    Unavailable,
)
from rerank_core.testing.contract import DOCUMENTS, QUERY
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import Scores
from rerank_integrations.client import HTTPScorer

EXPECTED = OverlapModel().score(QUERY, DOCUMENTS)

Ask = Callable[[HTTPScorer], Scores]


class Hurried(HTTPScorer):
    """Notes how long it would have waited, and goes on as if it had."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.waited: list[float] = []
        super().__init__(*arguments, **options)

    def _now(self) -> float:
        return sum(self.waited)

    def _random(self) -> float:
        return 0.5

    def _sleep(self, seconds: float) -> None:
        self.waited.append(seconds)

    async def _async_sleep(self, seconds: float) -> None:
        self.waited.append(seconds)


def score(scorer: HTTPScorer) -> Scores:
    return scorer.score(QUERY, DOCUMENTS)


def ascore(scorer: HTTPScorer) -> Scores:
    return asyncio.run(scorer.ascore(QUERY, DOCUMENTS))


@pytest.fixture(params=[score, ascore])
def ask(request: pytest.FixtureRequest) -> Iterator[Ask]:
    return request.param


def asked(seen: list[dict[str, Any]]) -> int:
    return sum(one["path"] == "/v1/rerank" for one in seen)


@pytest.mark.parametrize("error", [Overloaded, Unavailable])
def test_a_full_server_is_asked_again_when_it_says(
    url: str, script: deque[Any], seen: list[dict[str, Any]], ask: Ask, error: type[Unavailable]
) -> None:
    script.append(error("no", retry_after=20.0))

    with Hurried(url) as scorer:
        assert ask(scorer) == EXPECTED

        assert scorer.waited == [21.0]
    assert asked(seen) == 2


def test_a_connection_lost_in_the_middle_is_asked_again(url: str, script: deque[Any], ask: Ask) -> None:
    script.extend([None, None, (502, {}, b"")])

    with Hurried(url) as scorer:
        assert ask(scorer) == EXPECTED
        assert scorer.waited == [0.25, 0.5]


def test_attempts_are_as_many_as_allowed(url: str, script: deque[Any], seen: list[dict[str, Any]], ask: Ask) -> None:
    script.extend([Unavailable("loading", retry_after=1.0)] * 9)

    with Hurried(url, max_retries=2) as scorer, pytest.raises(Unavailable, match=r"^loading \(asked 3 times\)$"):
        ask(scorer)
    assert asked(seen) == 3


def test_a_server_that_stays_away_is_asked_until_the_deadline(
    url: str, script: deque[Any], seen: list[dict[str, Any]], ask: Ask
) -> None:
    script.extend([Unavailable("loading", retry_after=5.0)] * 9)

    with Hurried(url, timeout=12, max_retries=9) as scorer, pytest.raises(Unavailable) as caught:
        ask(scorer)

    assert str(caught.value) == "loading (asked 3 times; the next attempt is due in 5.25 s, timeout=12 leaves 1.5 s)"
    assert caught.value.retry_after == 5
    assert [one["timeout"] for one in seen] == ["12.000", "12.000", "6.750", "1.500"]


def test_without_a_timeout_the_server_hears_of_none(url: str, seen: list[dict[str, Any]], ask: Ask) -> None:
    with Hurried(url, timeout=None) as scorer:
        ask(scorer)

    assert {one["timeout"] for one in seen} == {None}


@pytest.mark.parametrize(
    "error", [InvalidRequest, InputTooLong, Unauthorized, EngineError, DeadlineExceeded], ids=lambda kind: kind.__name__
)
def test_what_will_not_succeed_later_is_asked_once(
    url: str, script: deque[Any], seen: list[dict[str, Any]], ask: Ask, error: type[RerankError]
) -> None:
    script.append(error("no"))

    with Hurried(url) as scorer, pytest.raises(error):
        ask(scorer)
    assert asked(seen) == 1


def test_an_answer_that_comes_in_drops_is_past_the_deadline(url: str, ask: Ask, script: deque[Any]) -> None:
    """Each drop is in time, all of them are not: httpx counts from each anew."""
    ended = threading.Event()

    def drops() -> Iterator[bytes]:
        while not ended.wait(0.01):
            yield b" "

    script.append(drops())
    try:
        with HTTPScorer(url, timeout=0.2) as scorer, pytest.raises(DeadlineExceeded, match=r"within 0.2 s"):
            ask(scorer)
    finally:
        ended.set()


def test_another_server_is_asked_at_once(url: str, closed_url: str, another: Any, ask: Ask) -> None:
    """Whether the first cannot be reached, is full, or hangs up."""
    full, broken = another(), another()
    full.script.append(Overloaded("no", retry_after=60.0))
    broken.script.append(None)

    with Hurried([closed_url, full.url, broken.url, url], max_retries=0) as scorer:
        assert ask(scorer) == EXPECTED
        assert scorer.waited == []


def test_parts_and_calls_are_shared_out_evenly(another: Any) -> None:
    servers = [another() for _ in range(3)]
    with HTTPScorer([server.url for server in servers]) as scorer:
        for _ in range(8):
            scorer.score(QUERY, DOCUMENTS)

    assert [len(server.seen) for server in servers] == [3, 3, 3]
    assert sum(asked(server.seen) for server in servers) == 8


async def test_a_busy_server_is_left_alone(another: Any) -> None:
    busy, idle = another(), another()
    async with HTTPScorer([busy.url, idle.url]) as scorer:
        await scorer.ascore(QUERY, [])  # reads the limits at the first
        await scorer.ascore(QUERY, DOCUMENTS)  # goes to the second
        busy.overlap.gate.clear()
        waiting = asyncio.create_task(scorer.ascore(QUERY, DOCUMENTS))
        await asyncio.to_thread(busy.overlap.started.wait, 30)

        for _ in range(4):
            assert await scorer.ascore(QUERY, DOCUMENTS) == EXPECTED

        assert (asked(busy.seen), asked(idle.seen)) == (1, 5)
        busy.overlap.gate.set()
        assert await waiting == EXPECTED


@pytest.mark.parametrize("road", ["threads", "one loop"])
def test_a_server_killed_in_the_middle_of_a_run_is_not_missed(process: Any, road: str) -> None:
    """No call fails, and no score is another: with real processes, and a real SIGKILL."""
    (first, victim), (second, _) = process(), process()
    done = threading.Semaphore(0)

    def kill() -> None:
        for _ in range(50):
            done.acquire()
        victim.kill()
        victim.wait()

    killer = threading.Thread(target=kill)
    killer.start()
    with HTTPScorer([first, second]) as scorer:
        if road == "threads":

            def one(_: int) -> Scores:
                try:
                    return scorer.score(QUERY, DOCUMENTS)
                finally:
                    done.release()

            with ThreadPoolExecutor(8) as threads:
                results = list(threads.map(one, range(200)))
        else:

            async def each() -> Scores:
                try:
                    return await scorer.ascore(QUERY, DOCUMENTS)
                finally:
                    done.release()

            async def all_of_them() -> list[Scores]:
                return [scores for _ in range(25) for scores in await asyncio.gather(*(each() for _ in range(8)))]

            results = asyncio.run(all_of_them())
    killer.join()

    assert len(results) == 200
    assert set(results) == {EXPECTED}


def test_where_the_others_are_gone_a_full_server_is_waited_for(
    url: str, closed_url: str, script: deque[Any], seen: list[dict[str, Any]], ask: Ask
) -> None:
    script.append(Overloaded("no", retry_after=3.0))
    with Hurried([closed_url, url]) as scorer:
        assert ask(scorer) == EXPECTED

        assert sum(scorer.waited) == pytest.approx(3.15)
    assert asked(seen) == 2


def test_a_key_may_change_from_request_to_request(url: str, seen: list[dict[str, Any]], script: deque[Any]) -> None:
    keys = iter(["first", "second", "third"])
    script.append(Unavailable("no", retry_after=0.0))
    with Hurried(url, api_key=lambda: next(keys)) as scorer:
        scorer.score(QUERY, DOCUMENTS)

    assert [one["authorization"] for one in seen] == ["Bearer first", "Bearer second", "Bearer third"]


def test_a_callable_without_a_key_asks_nobody(url: str, seen: list[dict[str, Any]], ask: Ask) -> None:
    def fail() -> str:
        raise LookupError("the vault is closed")

    with HTTPScorer(url, api_key=fail) as scorer, pytest.raises(Unauthorized, match=r"api_key\(\) failed"):
        ask(scorer)
    assert seen == []


def test_the_key_of_the_environment_is_that_of_the_beginning(
    url: str, seen: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RERANK_API_KEY", "secret-one")
    scorer = HTTPScorer(url)
    monkeypatch.setenv("RERANK_API_KEY", "secret-two")
    with scorer, HTTPScorer(url, api_key="") as bare, pickle.loads(pickle.dumps(bare)) as copied:
        for each in (scorer, bare, copied):
            each.score(QUERY, DOCUMENTS[:1])

    assert [one["authorization"] for one in seen] == ["Bearer secret-one"] * 2 + [None] * 4


def test_a_key_is_nowhere_to_be_read(
    url: str, closed_url: str, script: deque[Any], ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    script.extend([Unavailable("no", retry_after=0.0), (401, {}, b"")])
    address = url.replace("//", "//me:secret-word@")

    with Hurried([address, closed_url], api_key="secret-key") as scorer:
        with pytest.raises(Unauthorized) as caught:
            ask(scorer)
        again = pickle.loads(pickle.dumps(scorer))

        shown = [repr(scorer), str(caught.value), repr(vars(scorer)), repr(scorer.__reduce__()), repr(again)]
    assert "secret" not in caplog.text + "".join(shown)
    assert again.base_urls == scorer.base_urls
    assert again.score(QUERY, DOCUMENTS) == EXPECTED
    again.close()


def test_each_event_loop_has_one_client(url: str) -> None:
    async def several(scorer: HTTPScorer) -> None:
        await asyncio.gather(*(scorer.ascore(QUERY, DOCUMENTS) for _ in range(5)))
        first = scorer._state.connections.async_clients[asyncio.get_running_loop()]
        await scorer.ascore(QUERY, DOCUMENTS)
        assert list(scorer._state.connections.async_clients.values()) == [first]

    with HTTPScorer(url) as scorer:
        asyncio.run(several(scorer))
        asyncio.run(several(scorer))


async def test_a_call_that_is_cancelled_while_it_waits_leaves_nothing_in_hand(url: str, script: deque[Any]) -> None:
    class Waiting(HTTPScorer):
        async def _async_sleep(self, seconds: float) -> None:
            waits.set()
            await asyncio.Event().wait()

    waits = asyncio.Event()
    script.append(Overloaded("no", retry_after=100.0))
    async with Waiting(url) as scorer:
        waiting = asyncio.create_task(scorer.ascore(QUERY, DOCUMENTS))
        await waits.wait()

        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

        assert [scorer._state.balancer.outstanding(endpoint) for endpoint in scorer._state.balancer] == [0]
        assert await scorer.ascore(QUERY, DOCUMENTS) == EXPECTED
