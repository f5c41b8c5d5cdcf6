"""A rerank-server in small: the wire of the real one, over a real socket, on top of a model that counts words.

Fixtures are plain: ``url`` where it listens, ``overlap`` the model behind it, ``info`` what it says of itself (a test
may change it), ``seen`` what was asked, ``script`` what it answers to the next questions instead of scores. ``another``
starts one more in this process, ``process`` one in a process of its own, which runs this very file.
"""

import json
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from rerank_core.errors import InvalidRequest, RerankError, Unavailable
from rerank_core.ranking import rank
from rerank_core.scorer import Scorer
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import RankedDocument, ScoreOptions, Scores

STATUSES = {
    "invalid_request": 400,
    "input_too_long": 400,
    "too_many_documents": 413,
    "overloaded": 429,
    "unavailable": 503,
    "deadline_exceeded": 504,
}


INFO = {
    "model_id": "overlap",
    "max_client_batch_size": 1000,
    "max_input_length": 64,
    "max_text_chars": 100_000,
    "max_body_bytes": 10_000_000,
}


@dataclass
class Small:
    """One server: fields as the fixtures of these names."""

    overlap: Scorer = field(default_factory=OverlapModel)
    info: dict[str, Any] = field(default_factory=INFO.copy)
    seen: list[dict[str, Any]] = field(default_factory=list)
    script: deque[Any] = field(default_factory=deque)
    url: str = ""


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Give each test an event loop of its own: a scorer's connections end with their loop, and none may stay open."""
    for item in items:
        if pytest_asyncio.is_async_test(item) and item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.asyncio(loop_scope="function"), append=False)


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment holds is nobody's business here."""
    monkeypatch.delenv("RERANK_API_KEY", raising=False)


@pytest.fixture
def overlap() -> OverlapModel:
    return OverlapModel()


@pytest.fixture
def info() -> dict[str, Any]:
    return INFO.copy()


@pytest.fixture
def seen() -> list[dict[str, Any]]:
    """One a request: path, authorization, the time it may take, body, and the number of its connection."""
    return []


@pytest.fixture
def script() -> deque[Any]:
    """Answers to the next questions: an error, (status, headers, content), pieces of a body, or None to hang up."""
    return deque()


@pytest.fixture
def url(overlap: OverlapModel, info: dict[str, Any], seen: list[dict[str, Any]], script: deque[Any]) -> Iterator[str]:
    with running(Small(overlap, info, seen, script)) as small:
        yield small.url


@pytest.fixture
def another() -> Iterator[Callable[[], Small]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(running(Small()))


@pytest.fixture
def process() -> Iterator[Callable[[], tuple[str, subprocess.Popen[str]]]]:
    with ExitStack() as stack:

        def start() -> tuple[str, subprocess.Popen[str]]:
            command = [sys.executable, __file__]
            server = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
            stack.enter_context(server)
            stack.callback(server.kill)
            assert server.stdout is not None
            return server.stdout.readline().strip(), server

        yield start


@pytest.fixture
def silent_url() -> Iterator[str]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed_url() -> str:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@contextmanager
def running(small: Small) -> Iterator[Small]:
    """The server while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet

        def do_GET(self) -> None:
            if self.path == "/livez":  # asked of whoever is slow, and this machine may be
                self._reply(200, {}, b"{}")
                return
            self._note(None)
            self._reply(200, {}, json.dumps(small.info).encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._note(body)
            try:
                scripted = small.script.popleft() if small.script else _answer(small.overlap, body)
                if isinstance(scripted, RerankError):
                    raise scripted
            except RerankError as error:
                scripted = _error(error)
            if scripted is None:
                self.close_connection = True
            elif isinstance(scripted, Iterator):
                self._drip(scripted)
            else:
                self._reply(*scripted)

        def _note(self, body: Any) -> None:
            asked = {"path": self.path, "authorization": self.headers["Authorization"]}
            timeout = self.headers["X-Request-Timeout"]
            small.seen.append({**asked, "timeout": timeout, "body": body, "connection": self.client_address})

        def _reply(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def _drip(self, drops: Iterator[bytes]) -> None:
            """An answer in pieces, until they end or the client is gone."""
            self.close_connection = True
            with suppress(OSError):
                self.send_response(200)
                self.end_headers()
                for drop in drops:
                    self.wfile.write(drop)
                    self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # of five, some of many that connect at once would wait for seconds

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Print nothing of clients that are gone, as some tests want them to be."""
            if not isinstance(sys.exc_info()[1], ConnectionError):
                super().handle_error(request, client_address)

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        small.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield small
        finally:
            server.shutdown()
            thread.join()


# The options of a request, by their names on the wire. ``tests/wire/test_client.py`` holds the client to these names.
OPTIONS = {
    "raw_scores": "raw",
    "truncate": "truncate",
    "truncation_strategy": "truncation",
    "truncation_side": "truncation_side",
    "truncate_prompt_tokens": "max_length",
    "max_tokens_per_query": "max_query_tokens",
    "max_tokens_per_doc": "max_document_tokens",
    "long_documents": "long_documents",
    "overlap_tokens": "overlap_tokens",
    "max_chunks_per_doc": "max_chunks",
    "chunk_score": "chunk_score",
    "best_chunks": "best_chunks",
    "highlight": "highlight",
    "highlight_top": "highlight_top",
    "highlight_threshold": "highlight_threshold",
    "instruction": "instruction",
}


def _answer(overlap: Scorer, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    unknown = body.keys() - OPTIONS.keys() - {"query", "documents", "return_raw_scores"}
    if unknown:
        raise InvalidRequest(f"the server of these tests does not know {', '.join(sorted(unknown))}")
    options = ScoreOptions(**{OPTIONS[name]: value for name, value in body.items() if name in OPTIONS})
    scores = overlap.score(body["query"], body["documents"], options=options)
    usage = scores.usage
    answer = {
        "id": "1",
        "object": "rerank",
        "created": 1,
        "model": scores.model,
        "results": [_result(best, scores, body) for best in rank(scores)],
        "usage": {"prompt_tokens": usage.tokens, "total_tokens": usage.tokens, "truncated": usage.truncated},
        "meta": {},
    }
    return 200, {}, json.dumps(answer).encode()


def _result(best: RankedDocument, scores: Scores, body: dict[str, Any]) -> dict[str, Any]:
    raw = {"raw_score": scores.raw_values[best.index]} if body.get("return_raw_scores") and scores.raw_values else {}
    span = {} if best.span is None else {"relevant_spans": [best.span._asdict() | {"score": best.score}]}
    sentences = {} if best.sentences is None else {"sentences": [one._asdict() for one in best.sentences]}
    return {"index": best.index, "relevance_score": best.score, **raw, **span, **sentences}


def _error(error: RerankError) -> tuple[int, dict[str, str], bytes]:
    wait = {"Retry-After": f"{error.retry_after:g}"} if isinstance(error, Unavailable) and error.retry_after else {}
    answer = {"id": "1", "message": str(error), "detail": str(error), "code": error.code, "error": {}}
    return STATUSES.get(error.code, 500), wait, json.dumps(answer).encode()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random cross-encoder, for what only a real model in this process can show."""
    pytest.importorskip("torch", reason="the extra 'local' is not installed")
    from rerank_core.testing.checkpoints import write_tiny_checkpoint

    return write_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


if __name__ == "__main__":
    with running(Small()) as served:
        sys.stdout.write(f"{served.url}\n")
        sys.stdout.flush()
        sys.stdin.read()  # until whoever started it is gone
