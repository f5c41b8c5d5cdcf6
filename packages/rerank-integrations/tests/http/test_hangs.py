"""Servers that accept and never answer, and a second server for a slow first, over real sockets."""

import asyncio
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rerank_core.errors import DeadlineExceeded, InvalidRequest, Unavailable
from rerank_core.testing.contract import DOCUMENTS, QUERY
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import Scores
from rerank_integrations.client import HTTPScorer
from rerank_integrations.http import flow

EXPECTED = OverlapModel().score(QUERY, DOCUMENTS)

Ask = Callable[[HTTPScorer], Scores]


def score(scorer: HTTPScorer) -> Scores:
    return scorer.score(QUERY, DOCUMENTS)


def ascore(scorer: HTTPScorer) -> Scores:
    return asyncio.run(scorer.ascore(QUERY, DOCUMENTS))


@pytest.fixture(params=[score, ascore])
def ask(request: pytest.FixtureRequest) -> Ask:
    return request.param


def warm_up(scorer: HTTPScorer, ask: Ask) -> None:
    """Ask each server once, without hedges: on a busy machine one would change whose turn is next."""
    flows = scorer._state.flows
    hedge_after, flows._hedge_after = flows._hedge_after, None
    scorer.score(QUERY, [])
    ask(scorer)
    flows._hedge_after = hedge_after


def until(condition: Callable[[], bool]) -> None:
    """Ask the other thread until it is so; the test's own limit ends it."""
    while not condition():
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds in earnest takes tenths here."""
    for name in ("_QUIET_SECONDS", "_LIFE_AGAIN_SECONDS"):
        monkeypatch.setattr(flow, name, 0.1)
    for name in ("_LIFE_SECONDS", "_LIFE_SECONDS_ALONE"):
        monkeypatch.setattr(flow, name, 0.3)


@pytest.fixture
def stopped(process: Any) -> Iterator[str]:
    """A server that answered, and is stopped now."""
    url, server = process()
    with HTTPScorer(url) as scorer:
        assert score(scorer) == EXPECTED
    os.kill(server.pid, signal.SIGSTOP)
    yield url
    os.kill(server.pid, signal.SIGCONT)


def test_a_stopped_server_is_noticed_and_another_one_answers(stopped: str, url: str, ask: Ask) -> None:
    with HTTPScorer([stopped, url]) as scorer:
        assert [ask(scorer) for _ in range(4)] == [EXPECTED] * 4


def test_a_server_that_stops_once_it_is_known_is_noticed_on_its_open_connection(
    process: Any, url: str, ask: Ask
) -> None:
    first, server = process()
    with HTTPScorer([first, url]) as scorer:
        assert [ask(scorer) for _ in range(3)] == [EXPECTED] * 3
        os.kill(server.pid, signal.SIGSTOP)

        assert [ask(scorer) for _ in range(4)] == [EXPECTED] * 4
        os.kill(server.pid, signal.SIGCONT)


def test_a_stopped_server_is_noticed_also_while_a_large_request_is_written(stopped: str, url: str, ask: Ask) -> None:
    """More than the system takes in before the server has read any of it."""
    large = ["x" * 9_000_000]
    wanted = OverlapModel().score(QUERY, large)
    with HTTPScorer([stopped, url]) as scorer:
        scorer._state.flows._info = flow.protocol.ServerInfo(
            model="overlap", max_documents=10, max_body_bytes=10_000_000
        )
        for _ in range(2):
            found = scorer.score(QUERY, large) if ask is score else asyncio.run(scorer.ascore(QUERY, large))
            assert found == wanted


def test_a_stopped_server_alone_is_unavailable_long_before_the_timeout(stopped: str, ask: Ask) -> None:
    with (
        HTTPScorer(stopped, max_retries=0) as scorer,
        pytest.raises(Unavailable, match=r"is not answered, and neither is /livez: .* it is stopped or stuck"),
    ):
        ask(scorer)


def test_the_deadline_is_kept_also_while_the_server_is_asked_whether_it_lives(
    silent_url: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "_LIFE_SECONDS_ALONE", 1000.0)

    with HTTPScorer(silent_url, timeout=1.2) as scorer, pytest.raises(DeadlineExceeded, match=r"within 1\.2 s"):
        ask(scorer)


def test_a_search_goes_on_without_a_stopped_server(stopped: str) -> None:
    documents = pytest.importorskip("langchain_core.documents")
    from rerank_integrations.langchain import RerankCompressor

    compressor = RerankCompressor.from_url(stopped, max_retries=0, on_error="passthrough")

    (found,) = compressor.compress_documents([documents.Document("a")], QUERY)

    assert found.metadata["rerank_error"] == "unavailable"
    compressor.scorer.close()


def test_a_server_that_is_only_slow_is_waited_for(url: str, overlap: OverlapModel, another: Any, ask: Ask) -> None:
    other = another()
    with HTTPScorer([url, other.url]) as scorer:
        scorer.score(QUERY, [])
        asked = [ask(scorer)]
        overlap.gate.clear()
        threading.Timer(1.5, overlap.gate.set).start()  # many times what a stuck server is given

        asked.append(ask(scorer))

        assert asked == [EXPECTED] * 2
        assert overlap.gate.is_set()


def test_a_stopped_server_that_goes_on_is_asked_again(process: Any, another: Any) -> None:
    class Clocked(HTTPScorer):
        ahead = 0.0

        def _now(self) -> float:
            return time.monotonic() + self.ahead

    first, server = process()
    other = another()
    with Clocked([first, other.url]) as scorer:
        score(scorer)
        os.kill(server.pid, signal.SIGSTOP)
        assert [score(scorer) for _ in range(3)] == [EXPECTED] * 3
        os.kill(server.pid, signal.SIGCONT)
        other.seen.clear()

        scorer.ahead = 100.0
        assert [score(scorer) for _ in range(4)] == [EXPECTED] * 4

        assert len(other.seen) == 2


def test_many_requests_at_once_get_past_a_stopped_server(stopped: str, url: str) -> None:
    with HTTPScorer([stopped, url]) as scorer, ThreadPoolExecutor(16) as threads:
        assert list(threads.map(lambda _: score(scorer), range(32))) == [EXPECTED] * 32

    async def all_at_once() -> list[Scores]:
        async with HTTPScorer([stopped, url]) as scorer:
            return await asyncio.gather(*(scorer.ascore(QUERY, DOCUMENTS) for _ in range(32)))

    assert asyncio.run(all_at_once()) == [EXPECTED] * 32


def test_the_first_answer_is_taken_and_the_other_request_broken_off(another: Any, ask: Ask) -> None:
    slow, quick = another(), another()
    ended = threading.Event()

    def drops() -> Iterator[bytes]:
        """An answer that goes on until its reader is gone."""
        try:
            while not ended.wait(0.01):
                yield b" "
        finally:
            ended.set()

    with HTTPScorer([slow.url, quick.url], hedge_after=0.1) as scorer:
        warm_up(scorer, ask)
        slow.script.append(drops())

        assert ask(scorer) == EXPECTED

        assert ended.wait(20)
        assert [scorer._state.balancer.outstanding(one) for one in scorer._state.balancer] == [0, 0]


def test_the_second_request_is_broken_off_where_the_first_is_answered_after_all(another: Any, ask: Ask) -> None:
    first, second = another(), another()
    ended = threading.Event()

    def drops() -> Iterator[bytes]:
        first.overlap.gate.set()
        try:
            while not ended.wait(0.01):
                yield b" "
        finally:
            ended.set()

    with HTTPScorer([first.url, second.url], hedge_after=0.1) as scorer:
        warm_up(scorer, ask)
        first.overlap.gate.clear()
        second.script.append(drops())

        assert ask(scorer) == EXPECTED

        assert ended.wait(20)


@pytest.mark.parametrize("hedge_after", [0, -1.0, float("nan")])
def test_a_hedge_that_cannot_be_is_refused_at_once(hedge_after: float) -> None:
    with pytest.raises(InvalidRequest, match=f"hedge_after is {hedge_after}"):
        HTTPScorer("http://localhost:8000", hedge_after=hedge_after)


@pytest.mark.parametrize("said", [None, (200, {}, b"<html>Sign in</html>"), (404, {}, b"")])
def test_a_hedge_that_fails_leaves_the_first_its_time(
    url: str, overlap: OverlapModel, another: Any, ask: Ask, said: Any
) -> None:
    """Whether it hangs up, or answers what no rerank-server does."""
    broken = another()
    with HTTPScorer([url, broken.url], hedge_after=0.1, max_retries=0) as scorer, ThreadPoolExecutor(1) as threads:
        warm_up(scorer, ask)
        overlap.gate.clear()
        asked = len(broken.seen)
        broken.script.append(said)

        answer = threads.submit(ask, scorer)
        until(lambda: len(broken.seen) > asked)
        overlap.gate.set()

        assert answer.result() == EXPECTED


def test_a_key_is_asked_for_in_the_callers_thread_also_for_the_second_server(
    url: str, overlap: OverlapModel, another: Any
) -> None:
    threads: deque[int] = deque()

    def key() -> str:
        threads.append(threading.get_ident())
        return "key"

    other = another()
    with HTTPScorer([url, other.url], hedge_after=0.05, api_key=key) as scorer:
        warm_up(scorer, score)
        overlap.gate.clear()
        assert score(scorer) == EXPECTED
        overlap.gate.set()

    assert len(threads) >= 4
    assert set(threads) == {threading.get_ident()}
