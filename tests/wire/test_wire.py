"""Golden files: what is asked on the wire in each language, and what is answered, to the last field.

A file has a request and its answer, and perhaps settings of the server and arguments of the model. ``<id>`` stands for
what differs from answer to answer, ``<created>`` for a time, ``<version>`` for the server's.
Scores are those of ``OverlapModel``, which counts the words that a document shares with its query.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias, cast

import pytest
import pytest_asyncio
from httpx import ASGITransport, AsyncClient
from rerank_core.testing.doubles import OverlapModel
from rerank_server import __version__
from rerank_server.app import create_app
from rerank_server.dialects.routing import ROUTES
from rerank_server.settings import Settings

Servers: TypeAlias = Callable[[dict[str, Any], dict[str, Any]], Awaitable[AsyncClient]]

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*/*.json"))
UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")


def golden(value: Any, key: str = "") -> Any:
    """An answer as it stands in a file."""
    if isinstance(value, dict):
        return {name: golden(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [golden(item) for item in value]
    if key == "created":
        return "<created>"
    if key == "version" and value == __version__:
        return "<version>"
    return UUID.sub("<id>", value) if key == "id" and isinstance(value, str) else value


@asynccontextmanager
async def serving(settings: dict[str, Any], model: dict[str, Any]) -> AsyncIterator[AsyncClient]:
    app = create_app(Settings(model="overlap", **settings), load=lambda _: OverlapModel(**model))
    transport = ASGITransport(cast("Any", app))
    async with app.lifespan(), AsyncClient(transport=transport, base_url="http://server") as client:
        while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 (there is no event to wait for)
            await asyncio.sleep(0)  # lets the loop turn: in process, nothing else does
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers() -> AsyncIterator[Servers]:
    """One server for all files with the same settings and model: no answer depends on what was asked before."""
    clients: dict[str, AsyncClient] = {}
    lives: list[asyncio.Task[None]] = []
    finished = asyncio.Event()

    async def live(settings: dict[str, Any], model: dict[str, Any], started: asyncio.Future[AsyncClient]) -> None:
        async with serving(settings, model) as client:
            started.set_result(client)
            await finished.wait()

    async def server(settings: dict[str, Any], model: dict[str, Any]) -> AsyncClient:
        key = json.dumps([settings, model], sort_keys=True)
        if key not in clients:
            # In a task of its own: a lifespan has to end in the task that it began in, and a fixture may not.
            started: asyncio.Future[AsyncClient] = asyncio.get_running_loop().create_future()
            lives.append(asyncio.create_task(live(settings, model, started)))
            either: set[asyncio.Future[Any]] = {lives[-1], started}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            clients[key] = started.result() if started.done() else await failed(lives[-1])
        return clients[key]

    yield server
    finished.set()
    await asyncio.gather(*lives)


async def failed(life: asyncio.Task[None]) -> AsyncClient:
    """Raises what ended a server before it took requests."""
    await life
    raise AssertionError("the server ended before it took requests")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
async def test_a_request_is_answered_as_its_language_has_it(servers: Servers, file: Path) -> None:
    case = json.loads(file.read_text())  # noqa: ASYNC240 (a test)
    request = case["request"]
    client = await servers(case.get("settings", {}), case.get("model", {}))

    answer = await client.request(request["method"], request["path"], json=request.get("body"))

    assert {"status": answer.status_code, "body": golden(answer.json())} == case["answer"]


def test_every_language_has_an_answer_and_an_error_here() -> None:
    asked: dict[bool, set[str]] = {True: set(), False: set()}
    for file in FILES:
        case = json.loads(file.read_text())
        route = next((route for route in ROUTES if route.path == case["request"]["path"].rstrip("/")), None)
        if route is not None:
            dialect = (
                route.dialects if case["answer"]["status"] == 400 else [route.dialect(case["request"].get("body"))]
            )
            asked[case["answer"]["status"] == 200] |= {each.name for each in dialect}
    dialects = {dialect.name for route in ROUTES for dialect in route.dialects}

    assert asked[True] == dialects
    assert asked[False] == dialects
