"""Every error comes out of the client as the class that went into the server."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from rerank_core import errors
from rerank_core.errors import RerankError, Unavailable, error_class
from rerank_core.testing.doubles import OverlapModel
from rerank_integrations.client import HTTPScorer
from rerank_server.app import create_app
from rerank_server.errors import public_code
from rerank_server.settings import Settings


def every_class() -> list[type[RerankError]]:
    found, waiting = [], [RerankError]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += [child for child in one.__subclasses__() if child.__module__ == errors.__name__]
    return found


@pytest.fixture
def model() -> OverlapModel:
    return OverlapModel()


@pytest.fixture
def scorer(model: OverlapModel) -> Iterator[HTTPScorer]:
    app = create_app(Settings(), load=lambda _: model, stop=lambda: None)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not (server.started and server.servers):
        assert thread.is_alive()
    port = server.servers[0].sockets[0].getsockname()[1]
    with HTTPScorer(f"http://127.0.0.1:{port}", max_retries=0) as scorer:
        while True:
            try:
                scorer.score("ready", ["yet"])
                break
            except Unavailable:
                continue
        yield scorer
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("kind", every_class())
def test_an_error_is_the_same_class_on_both_sides(
    scorer: HTTPScorer, model: OverlapModel, kind: type[RerankError]
) -> None:
    """Or the class above it, where its code is not public: to a client, out of memory is a failure of the engine."""
    options: dict[str, Any] = {"retry_after": 2.5} if issubclass(kind, Unavailable) else {}
    model.fail_next = failure = kind("the words of the server", **options)

    with pytest.raises(RerankError) as caught:
        scorer.score("where do pandas live", ["in China"])

    assert type(caught.value) is error_class(public_code(failure))
    assert "the words of the server" in str(caught.value)
    if isinstance(caught.value, Unavailable):
        assert caught.value.retry_after == 3
