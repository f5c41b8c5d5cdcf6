"""Searches that go on without a server, over real sockets; seconds pass on a clock that the test moves."""

import asyncio
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode
from rerank_core.errors import Unavailable
from rerank_core.testing.doubles import OverlapModel
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.llama_index import RerankPostprocessor

TEXTS = ["a train", "a giant panda"]
BEST_FIRST = [TEXTS[1], TEXTS[0]]

Search = Callable[[Any], tuple[list[str], Any]]
"""The texts that come back, and why they were not reranked."""


def compress(adapter: Any) -> tuple[list[str], Any]:
    return _documents(adapter.compress_documents([Document(text) for text in TEXTS], "giant panda"))


def acompress(adapter: Any) -> tuple[list[str], Any]:
    return _documents(asyncio.run(adapter.acompress_documents([Document(text) for text in TEXTS], "giant panda")))


def postprocess(adapter: Any) -> tuple[list[str], Any]:
    return _nodes(adapter.postprocess_nodes(_found(), query_str="giant panda"))


def apostprocess(adapter: Any) -> tuple[list[str], Any]:
    return _nodes(asyncio.run(adapter.apostprocess_nodes(_found(), query_str="giant panda")))


def _documents(found: Any) -> tuple[list[str], Any]:
    return [one.page_content for one in found], found[0].metadata.get("rerank_error")


def _found() -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]


def _nodes(found: Any) -> tuple[list[str], Any]:
    return [one.text for one in found], found[0].metadata.get("rerank_error")


@pytest.fixture(params=[compress, acompress, postprocess, apostprocess])
def search(request: pytest.FixtureRequest) -> Search:
    return request.param


@pytest.fixture
def adapter(search: Search, clock: Any) -> Iterator[Callable[..., Any]]:
    made = []

    def make(url: str, **arguments: Any) -> Any:
        kind = RerankCompressor if search in (compress, acompress) else RerankPostprocessor
        adapter = kind.from_url(url, **{"on_error": "passthrough", **arguments})
        adapter._fail_open.now = clock
        made.append(adapter)
        return adapter

    yield make
    for one in made:
        one.scorer.close()


@pytest.fixture
def hanging() -> Iterator[tuple[str, list[socket.socket]]]:
    """The address of a server that accepts and never answers, and the connections that it has accepted."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    accepted.append(server.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", accepted
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in accepted:
        connection.close()


@pytest.mark.parametrize("search", [compress, apostprocess], indirect=True)
def test_a_server_that_accepts_and_hangs_costs_one_search_its_time(hanging: Any, adapter: Any, search: Search) -> None:
    url, accepted = hanging
    made = adapter(url, timeout=1.2)

    assert search(made) == (TEXTS, "deadline_exceeded")
    asked = len(accepted)
    assert asked >= 1

    assert [search(made) for _ in range(10)] == [(TEXTS, "deadline_exceeded")] * 10
    assert len(accepted) == asked


def test_a_server_that_is_down_is_asked_by_one_search_until_it_answers(
    url: str, seen: list[Any], script: deque[Any], adapter: Any, search: Search, clock: Any
) -> None:
    made = adapter(url, max_retries=0)
    assert search(made) == (BEST_FIRST, None)
    script.extend([Unavailable("restarting")] * 2)

    assert search(made) == (TEXTS, "unavailable")
    asked = len(seen)
    assert [search(made) for _ in range(5)] == [(TEXTS, "unavailable")] * 5
    assert len(seen) == asked

    clock.now += 3.0
    assert search(made) == (TEXTS, "unavailable")
    assert len(seen) == asked + 1
    assert search(made) == (TEXTS, "unavailable")
    assert len(seen) == asked + 1

    clock.now += 6.0
    assert [search(made) for _ in range(3)] == [(BEST_FIRST, None)] * 3


def test_a_search_that_wants_errors_asks_each_time(url: str, script: deque[Any], adapter: Any, search: Search) -> None:
    made = adapter(url, max_retries=0, on_error="raise")
    script.extend([Unavailable("restarting")] * 3)

    for _ in range(3):
        with pytest.raises(Unavailable, match="restarting"):
            search(made)
    assert search(made) == (BEST_FIRST, None)


@pytest.mark.parametrize("search", [compress, apostprocess], indirect=True)
def test_a_slow_server_keeps_being_asked(url: str, overlap: OverlapModel, adapter: Any, search: Search) -> None:
    """It answers that it lives, so the next search may be one that it has time for."""
    made = adapter(url, timeout=1.5)
    assert search(made) == (BEST_FIRST, None)

    overlap.gate.clear()
    assert search(made) == (TEXTS, "deadline_exceeded")
    overlap.gate.set()

    assert search(made) == (BEST_FIRST, None)
