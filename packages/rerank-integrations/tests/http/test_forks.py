"""Scorers that were used before a fork: in fresh interpreters, whose children end by an alarm rather than hang."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

COMMON = """
import asyncio, faulthandler, multiprocessing, os, signal, sys, threading
from rerank_core.testing.doubles import OverlapModel
from rerank_integrations.client import HTTPScorer

url = sys.argv[-1]
faulthandler.register(signal.SIGALRM, chain=True)
signal.alarm(60)
QUERY = " ".join(f"w{number}" for number in range(40))
model = OverlapModel()

def document(number):
    return " ".join(f"w{n}" for n in range(number % 40))

def check(scorer, start, times=10, score=None):
    "Each answer is the one to its own question."
    for number in range(start, start + times):
        texts = [document(number), document(number + 7)]
        found = score(texts) if score else scorer.score(QUERY, texts)
        assert found == model.score(QUERY, texts), (os.getpid(), number)

def acheck(scorer, start):
    async def all_of_it():
        for number in range(start, start + 10):
            texts = [document(number), document(number + 7)]
            assert await scorer.ascore(QUERY, texts) == model.score(QUERY, texts)
    asyncio.run(all_of_it())

def fork(work):
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    signal.alarm(40)
    try:
        work()
    except BaseException as error:
        print("child:", repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)

def wait(*children):
    for child in children:
        _, status = os.waitpid(child, 0)
        assert status == 0, status
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", COMMON + code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done


def test_several_children_and_their_parent_get_their_own_answers(url: str) -> None:
    run(
        """
scorer = HTTPScorer(url)
check(scorer, 0)
children = [fork(lambda: (check(scorer, 100 * n, 30), acheck(scorer, 100 * n))) for n in range(1, 5)]
check(scorer, 17, 30)
wait(*children)
check(scorer, 3)
scorer.close()
""",
        url,
    )


def test_a_child_of_a_child_has_connections_of_its_own(url: str) -> None:
    run(
        """
scorer = HTTPScorer(url)
check(scorer, 0)
def child():
    check(scorer, 5)
    wait(fork(lambda: check(scorer, 11)))
    check(scorer, 20)
wait(fork(child))
check(scorer, 3)
scorer.close()
""",
        url,
    )


def test_a_fork_waits_for_a_tls_context_that_is_being_made(url: str) -> None:
    """OpenSSL has locks: without that, one that another thread holds stays locked for ever in the child."""
    run(
        """
import ssl
from rerank_integrations.http import connections

openssl, inside = threading.Lock(), threading.Event()

def make():
    with openssl:
        inside.set()
        threading.Event().wait(0.5)  # long enough for the fork to be asked for
        return ssl.create_default_context()

connections.tls_context = make
connections.Connections._needs_tls = lambda self: True  # as for https, whose certificates are not what this is about
thread = threading.Thread(target=lambda: check(HTTPScorer(url), 1))
thread.start()
inside.wait()
wait(fork(lambda: check(HTTPScorer(url), 2)))
thread.join()
""",
        url,
    )


def test_a_request_in_flight_goes_on_while_others_are_forked(url: str) -> None:
    run(
        """
scorer = HTTPScorer(url)
failed = []
stop = threading.Event()
def go_on():
    try:
        while not stop.is_set():
            check(scorer, 1)
    except BaseException as error:
        failed.append(error)
threads = [threading.Thread(target=go_on) for _ in range(4)]
[thread.start() for thread in threads]
for n in range(8):
    wait(fork(lambda: check(scorer, n, 5)), fork(lambda: check(scorer, n + 3, 5)))
stop.set()
[thread.join() for thread in threads]
assert not failed, failed
scorer.close()
""",
        url,
    )


@pytest.mark.parametrize(
    "lock",
    [
        "state.connections._lock",
        "state.balancer._lock",
        "clients.pooled[server]._transport._pool._optional_thread_lock._lock",
    ],
)
def test_a_lock_that_another_thread_held_at_the_fork_holds_nobody_up(url: str, lock: str) -> None:
    run(
        f"""
scorer = HTTPScorer(url)
check(scorer, 0)
state = scorer._state
clients, (server,) = state.connections.clients(), state.balancer
{lock}.acquire()
children = [fork(lambda: check(scorer, 4)), fork(lambda: acheck(scorer, 9))]
wait(*children)
{lock}.release()
check(scorer, 3)
scorer.close()
""",
        url,
    )


def test_a_request_that_was_in_hand_at_the_fork_is_not_in_the_childs(url: str) -> None:
    run(
        """
scorer = HTTPScorer([url, url + "/"])
state = scorer._state
with state.balancer.acquire(list(state.balancer), 0.0):
    def child():
        assert [scorer._state.balancer.outstanding(one) for one in scorer._state.balancer] == [0]
    wait(fork(child))
""",
        url,
    )


def test_a_fork_inside_a_running_event_loop(url: str) -> None:
    run(
        """
scorer = HTTPScorer(url)
async def main():
    texts = [document(3), document(5)]
    wanted = model.score(QUERY, texts)
    assert await scorer.ascore(QUERY, texts) == wanted
    waiting = [asyncio.ensure_future(scorer.ascore(QUERY, texts)) for _ in range(4)]
    await asyncio.sleep(0)
    children = [fork(lambda: (check(scorer, 4), acheck(scorer, 9))) for _ in range(3)]
    assert await asyncio.gather(*waiting) == [wanted] * 4
    for child in children:
        await asyncio.to_thread(wait, child)
    assert await scorer.ascore(QUERY, texts) == wanted
asyncio.run(main())
""",
        url,
    )


def test_a_loop_that_was_made_before_the_fork_and_is_used_after_it(url: str) -> None:
    """As pre-forking servers do that build their application first."""
    run(
        """
scorer = HTTPScorer(url)
loop = asyncio.new_event_loop()
texts = [document(3), document(5)]
wanted = model.score(QUERY, texts)
assert loop.run_until_complete(scorer.ascore(QUERY, texts)) == wanted
def child():
    theirs = asyncio.new_event_loop()
    assert theirs.run_until_complete(scorer.ascore(QUERY, texts)) == wanted
    theirs.run_until_complete(scorer.aclose())
    theirs.close()
wait(fork(child), fork(child))
assert loop.run_until_complete(scorer.ascore(QUERY, texts)) == wanted
loop.run_until_complete(scorer.aclose())
loop.close()
""",
        url,
    )


def test_a_child_that_ends_as_a_program_does_leaves_the_parents_connections_alone(url: str) -> None:
    """It runs all that is registered for its end, and warns of nothing."""
    run(
        """
scorer = HTTPScorer(url)
check(scorer, 0)
(client,) = scorer._state.connections.clients().pooled.values()
lock = client._transport._pool._optional_thread_lock._lock
lock.acquire()
child = os.fork()
if not child:
    check(scorer, 5)
    sys.exit(0)
wait(child)
lock.release()
check(scorer, 3)
scorer.close()
""",
        url,
    )


def test_multiprocessing_with_fork(url: str) -> None:
    run(
        """
scorer = HTTPScorer(url)
check(scorer, 0)
def one(number):
    texts = [document(number), document(number + 7)]
    return scorer.score(QUERY, texts) == model.score(QUERY, texts)
with multiprocessing.get_context("fork").Pool(4) as pool:
    found = pool.map(one, range(60), chunksize=1)
assert found == [True] * 60
check(scorer, 3)
scorer.close()
""",
        url,
    )


def test_a_fork_that_nothing_tells_python_of(url: str) -> None:
    """As uWSGI forks: no hook runs, the process's number alone tells."""
    run(
        """
import ctypes
scorer = HTTPScorer(url)
check(scorer, 0)
libc = ctypes.PyDLL(None)
children = []
for n in range(3):
    child = libc.fork()
    if not child:
        signal.alarm(40)
        try:
            check(scorer, 10 * n, 20)
        except BaseException as error:
            print("child:", repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    children.append(child)
check(scorer, 17, 20)
wait(*children)
scorer.close()
""",
        url,
    )


def test_children_lose_hold_of_the_parents_connections(url: str) -> None:
    """So that the server sees that the parent is gone from one, as it does where a request is broken off."""
    run(
        """
scorer = HTTPScorer(url)
check(scorer, 0)
(record,) = scorer._state.connections._opened._sockets
def child():
    try:
        os.fstat(record[0])
    except OSError:
        return
    raise AssertionError("still open")
wait(fork(child))
check(scorer, 1)
scorer.close()
""",
        url,
    )


def test_children_wait_for_different_times_before_they_ask_again(url: str) -> None:
    done = run(
        """
scorer = HTTPScorer(url)
scorer._random()
wait(*[fork(lambda: os.write(1, f"{scorer._random()}\\n".encode())) for _ in range(4)])
""",
        url,
    )

    assert len(set(done.stdout.split())) == 4


def test_the_adapters_after_a_fork(url: str) -> None:
    run(
        """
from langchain_core.documents import Document
from rerank_integrations.langchain import RerankCompressor, RerankCrossEncoder
compressor, encoder = RerankCompressor.from_url(url), RerankCrossEncoder.from_url(url)
def use(start):
    for number in range(start, start + 10):
        texts = [document(number), document(number + 7)]
        wanted = model.score(QUERY, texts).values
        found = compressor.compress_documents([Document(text) for text in texts], QUERY)
        assert sorted(one.metadata["relevance_score"] for one in found) == sorted(wanted)
        assert encoder.score([(QUERY, text) for text in texts]) == list(wanted)
use(0)
children = [fork(lambda: use(10 * n)) for n in range(1, 4)]
use(5)
wait(*children)
compressor.scorer.close()
encoder.scorer.close()
""",
        url,
    )


def test_a_model_that_was_being_loaded_at_the_fork_can_be_loaded_in_the_child() -> None:
    run(
        """
from rerank_integrations.adapters import local
from rerank_integrations.local import ModelScorer
import rerank_core.loading
rerank_core.loading.load = lambda name, **options: OverlapModel(name=name)
local._loading.get().acquire()
def child():
    assert ModelScorer("a").score("a", ["b"]).model == "a"
wait(fork(child))
""",
    )
