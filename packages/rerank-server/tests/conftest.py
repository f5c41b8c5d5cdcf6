"""The application in process, with a model that counts words."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

import pytest
from httpx import ASGITransport, AsyncClient
from rerank_core.testing.doubles import OverlapModel
from rerank_server.app import create_app
from rerank_server.settings import Settings

Serve: TypeAlias = Callable[..., AbstractAsyncContextManager[AsyncClient]]
Shared: TypeAlias = Callable[..., Awaitable[tuple[AsyncClient, OverlapModel]]]


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


@pytest.fixture(scope="session")
def serve() -> Serve:
    """Serves with a loading of one's own, and settings: gives a client."""
    return _serve


@pytest.fixture(scope="session")
def until_ready() -> Callable[..., Awaitable[None]]:
    """Waits, asking, until a server has loaded its model, and makes that forget its warm-up."""
    return _until_ready


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[Shared]:
    """Gives the server that has such settings, and its model: one for all tests of a module that only ask."""
    servers: dict[object, tuple[AsyncClient, OverlapModel]] = {}
    async with AsyncExitStack() as stack:

        async def find(**settings: Any) -> tuple[AsyncClient, OverlapModel]:
            key = tuple(sorted(settings.items()))
            if key not in servers:  # to make one takes longer than most tests
                model = OverlapModel()
                client = await stack.enter_async_context(_serve(lambda _: model, **settings))
                await _until_ready(client)
                servers[key] = client, model
            client, model = servers[key]
            model.forget()
            return client, model

        yield find


@pytest.fixture
async def model(shared: Shared) -> OverlapModel:
    """The model behind ``client``."""
    return (await shared())[1]


@pytest.fixture
async def client(shared: Shared) -> AsyncClient:
    """A client of a server that is ready, and that the other tests of the module ask too."""
    return (await shared())[0]
