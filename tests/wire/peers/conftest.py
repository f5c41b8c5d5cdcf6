"""What the files of this folder share: the server in process, with a model that counts words.

Each file answers to one peer's own test suite, in our words. A test whose name begins with ``test_differs`` states what
we do otherwise, and why.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias, cast

import pytest
from httpx import ASGITransport, AsyncClient
from rerank_core.testing.doubles import OverlapModel
from rerank_server.app import create_app
from rerank_server.settings import Settings

Serve: TypeAlias = Callable[..., AbstractAsyncContextManager[AsyncClient]]


@asynccontextmanager
async def _serve(model: OverlapModel | None = None, **settings: Any) -> AsyncIterator[AsyncClient]:
    app = create_app(Settings(model="overlap", **settings), load=lambda _: model or OverlapModel())
    finished, started = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            started.set()
            await finished.wait()

    # In a task of its own: a lifespan has to end in the task that it began in, and a fixture may not.
    life = asyncio.create_task(live())
    await started.wait()
    try:
        transport = ASGITransport(cast("Any", app))
        async with AsyncClient(transport=transport, base_url="http://server") as client:
            while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 (there is no event to wait for)
                await asyncio.sleep(0)  # lets the loop turn: in process, nothing else does
            yield client
    finally:
        finished.set()
        await life


@pytest.fixture(scope="session")
def serve() -> Serve:
    """Serves with a model and settings of one's own: gives a client."""
    return _serve


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[AsyncClient]:
    """A client of a server that is ready: one for all tests of a file, which only ask."""
    async with _serve() as client:
        yield client
