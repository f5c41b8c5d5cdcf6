"""What the server process relies on of uvicorn: another version that differs fails here, and says where to look."""

import asyncio
import inspect
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from rerank_server.process.uvicorn_server import UvicornServer

CHANGED = (
    f"uvicorn {uvicorn.__version__} is not as rerank_server/process/uvicorn_server.py needs it "
    "(docs/decisions/0014-uvicorn.md): "
)
EMPTY_SCOPE = {"type": "http", "headers": [], "client": None, "scheme": "http"}


class Recorder:
    """An application and the hooks of its server, which note what is called, in order."""

    def __init__(self, *, fails: bool = False) -> None:
        self.events: list[str] = []
        self.signals: list[int] = []
        self.fails = fails
        self.started = asyncio.Event()
        self.state: dict[str, Any] | None = None
        self.server = UvicornServer(self, self)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            self.events.append(f"{scope['type']} reaches the application")
            return
        await receive()
        self.events.append("the application starts")
        if self.fails:
            raise RuntimeError("no")
        scope["state"]["from"] = "the lifespan"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.events.append("the application ends")
        await send({"type": "lifespan.shutdown.complete"})

    def start(self, app: Any, state: dict[str, Any]) -> None:
        self.events.append("connections are accepted")
        self.app, self.state = app, state
        self.started.set()

    def on_signal(self, number: int) -> None:
        self.signals.append(number)

    async def end(self) -> None:
        self.events.append("connections end")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@asynccontextmanager
async def running(recorder: Recorder) -> AsyncIterator[asyncio.Task[None]]:
    """The server from its start to its end; the block has to stop it."""
    serving = asyncio.create_task(recorder.server.serve())
    starting = asyncio.create_task(recorder.started.wait())
    await asyncio.wait({serving, starting}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    starting.cancel()
    assert recorder.started.is_set(), f"{CHANGED}serve does not call startup"
    yield serving
    await serving


@pytest.mark.parametrize(
    ("method", "parameters"),
    [("startup", ["self", "sockets"]), ("shutdown", ["self", "sockets"]), ("handle_exit", ["self", "sig", "frame"])],
)
def test_the_methods_that_are_replaced_have_their_names_and_parameters(method: str, parameters: list[str]) -> None:
    replaced = getattr(uvicorn.Server, method, None)

    assert replaced is not None, f"{CHANGED}Server.{method} is gone"
    found = list(inspect.signature(replaced).parameters)
    assert found == parameters, f"{CHANGED}Server.{method} takes {found}"
    assert inspect.iscoroutinefunction(replaced) == inspect.iscoroutinefunction(getattr(UvicornServer, method))


def test_the_attributes_that_are_read_and_written_are_there(recorder: Recorder) -> None:
    plain = uvicorn.Server(uvicorn.Config(recorder, log_config=None))

    for name in ("started", "should_exit", "force_exit"):
        assert getattr(plain, name, None) is False, f"{CHANGED}Server.{name} is not False at the start"
    headers = getattr(getattr(plain, "server_state", None), "default_headers", None)
    assert headers == [], f"{CHANGED}Server.server_state.default_headers is {headers!r} at the start"


async def test_the_application_starts_before_and_ends_after_the_connections(recorder: Recorder) -> None:
    async with running(recorder) as serving:
        while not (recorder.server.default_headers or serving.done()):  # noqa: ASYNC110
            await asyncio.sleep(0)  # the main loop of uvicorn tells nobody of its turns
        assert not serving.done(), f"{CHANGED}the main loop does not wait for should_exit"
        assert recorder.state == {"from": "the lifespan"}, f"{CHANGED}the lifespan has another state"
        assert [name for name, _ in recorder.server.default_headers] == [b"date"], f"{CHANGED}other default headers"
        await recorder.app(dict(EMPTY_SCOPE), None, None)
        recorder.server.stop()

    assert recorder.events == [
        "the application starts",
        "connections are accepted",
        "http reaches the application",
        "connections end",
        "the application ends",
    ], f"{CHANGED}another order of calls"


async def test_a_server_that_is_abandoned_does_not_wait_for_the_application(recorder: Recorder) -> None:
    async with running(recorder):
        recorder.server.stop()
        recorder.server.abandon()

    assert recorder.server.is_abandoned
    assert recorder.events[-1] == "connections end"


async def test_an_application_that_does_not_start_ends_the_process_with_status_1() -> None:
    recorder = Recorder(fails=True)

    with pytest.raises(SystemExit) as ended:
        await recorder.server.serve()

    assert ended.value.code == 1
    assert recorder.events == ["the application starts"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_goes_to_the_hooks_alone_and_is_not_raised_again(recorder: Recorder, number: int) -> None:
    """uvicorn raises those that it has handled itself once more at its end, which would end the process."""
    before = signal.getsignal(number)
    async with running(recorder):
        signal.raise_signal(number)
        assert recorder.signals == [number], f"{CHANGED}handle_exit is not the handler of signal {number}"
        assert not recorder.server.should_exit
        recorder.server.stop()

    assert recorder.signals == [number], f"{CHANGED}signal {number} is raised again at the end"
    assert signal.getsignal(number) is before
