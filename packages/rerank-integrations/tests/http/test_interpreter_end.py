"""Scoring after the main thread's end, and interpreters that end with connections open."""

import subprocess
import sys
from pathlib import Path

import pytest

LATE_THREAD = """
import asyncio, sys, threading
from rerank_integrations.client import HTTPScorer
from rerank_core.testing.doubles import OverlapModel

url = sys.argv[-1]
QUERY, TEXTS = "giant panda", ["a train", "a giant panda"]
WANTED = OverlapModel().score(QUERY, TEXTS)

def late():
    threading.main_thread().join()
    work()
    print("done", flush=True)

class InProcess:
    def score(self, query, documents, options=None):
        return OverlapModel().score(query, documents, options)
"""


def run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", "-c", LATE_THREAD + code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


WORK = {
    "a scorer that was used": """
scorer = HTTPScorer(url)
scorer.score(QUERY, TEXTS)
def work():
    assert scorer.score(QUERY, TEXTS) == WANTED
    scorer.close()
""",
    "a new scorer": """
def work():
    with HTTPScorer(url) as scorer:
        assert scorer.score(QUERY, TEXTS) == WANTED
""",
    "an event loop": """
def work():
    assert asyncio.run(HTTPScorer(url).ascore(QUERY, TEXTS)) == WANTED
""",
    "an event loop, by name": """
url = url.replace("127.0.0.1", "localhost")
def work():
    assert asyncio.run(HTTPScorer(url).ascore(QUERY, TEXTS)) == WANTED
""",
    "a hedge": """
def work():
    with HTTPScorer([url, url.replace("127.0.0.1", "localhost")], hedge_after=0.001) as scorer:
        assert [scorer.score(QUERY, TEXTS) for _ in range(5)] == [WANTED] * 5
""",
    "an adapter with a model in this process": """
from langchain_core.documents import Document
from rerank_integrations.langchain import RerankCompressor
def work():
    documents = [Document(text) for text in TEXTS]
    found = asyncio.run(RerankCompressor(scorer=InProcess()).acompress_documents(documents, QUERY))
    assert found[0].metadata["relevance_score"] == max(WANTED.values)
""",
    "queries at once": """
from rerank_core import Pair, score_pairs
from rerank_integrations.batch.scoring import ask_at_once
def work():
    with HTTPScorer(url) as scorer:
        pairs = [Pair(f"panda {n}", "a panda") for n in range(20)]
        assert len(set(score_pairs(scorer, pairs, map_queries=ask_at_once).values)) == 1
""",
}


@pytest.mark.parametrize("work", list(WORK))
def test_a_thread_scores_after_the_main_threads_end(work: str, url: str) -> None:
    assert run(WORK[work] + "threading.Thread(target=late).start()\n", url) == "done\n"


def test_a_function_that_is_called_at_the_end_scores(url: str) -> None:
    code = """
import atexit
scorer = HTTPScorer([url, url.replace("127.0.0.1", "localhost")], hedge_after=0.001)
def end():
    assert scorer.score(QUERY, TEXTS) == WANTED
    print("done", flush=True)
atexit.register(end)
"""

    assert run(code, url) == "done\n"


@pytest.mark.parametrize(
    "code",
    [
        "scorer = HTTPScorer(url); scorer.score(QUERY, TEXTS)",
        "scorer = HTTPScorer(url); asyncio.run(scorer.ascore(QUERY, TEXTS))",
        "HTTPScorer(url).score(QUERY, TEXTS)",
        "loop = asyncio.new_event_loop(); scorer = HTTPScorer(url)\n"
        "loop.run_until_complete(scorer.ascore(QUERY, TEXTS)); loop.run_until_complete(scorer.aclose()); loop.close()",
        "scorer = HTTPScorer(url); scorer.cycle = scorer; scorer.score(QUERY, TEXTS)",
    ],
)
def test_an_interpreter_that_nobody_tidied_ends_without_a_word(code: str, url: str) -> None:
    assert run(code, url) == ""


def test_a_server_that_hangs_does_not_hold_up_the_end(silent_url: str, tmp_path: Path) -> None:
    """The second request of a race runs in a thread that nothing waits for."""
    code = """
from rerank_core.errors import RerankError
try:
    HTTPScorer([url, url + "/"], timeout=0.5, hedge_after=0.05).score(QUERY, TEXTS)
except RerankError:
    print("done")
"""

    assert run(code, silent_url) == "done\n"
