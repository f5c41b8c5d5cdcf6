"""The application in process, with a model that counts words."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import pytest
from httpx import ASGITransport, AsyncClient
from rerank_core.testing.doubles import OverlapModel
from rerank_server.app import create_app
from rerank_server.settings import Settings

Serve: TypeAlias = Callable[..., AbstractAsyncContextManager[AsyncClient]]


def never_stop() -> None:
    raise AssertionError("the server asked to be stopped")


@asynccontextmanager
async def _serve(
    load: Callable[[Settings], OverlapModel], *, stop: Callable[[], None] = never_stop, **settings: Any
) -> AsyncIterator[AsyncClient]:
    app = create_app(Settings(**settings), load=load, stop=stop)
    started, finished = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            started.set()
            await finished.wait()

    # In a task of its own: a lifespan has to end in the task that it began in, and a fixture may not.
    lifespan = asyncio.create_task(live())
    await started.wait()
    try:
        async with AsyncClient(transport=ASGITransport(app), base_url="http://server") as client:
            yield client
    finally:
        finished.set()
        await lifespan


async def _until_ready(client: AsyncClient, model: OverlapModel | None = None) -> None:
    while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 (over HTTP there is no event to wait for)
        await asyncio.sleep(0)  # lets the loop turn: in process, nothing else does
    if model is not None:
        model.forget()


@pytest.fixture
def serve() -> Serve:
    """Serves with a loading of one's own, and settings: gives a client."""
    return _serve


@pytest.fixture
def until_ready() -> Callable[..., Awaitable[None]]:
    """Waits, asking, until a server has loaded its model, and makes that forget its warm-up."""
    return _until_ready


@pytest.fixture
def model() -> OverlapModel:
    return OverlapModel()


@pytest.fixture
async def client(model: OverlapModel) -> AsyncIterator[AsyncClient]:
    """A client of a server that is ready."""
    async with _serve(lambda _: model) as client:
        await _until_ready(client, model)
        yield client
