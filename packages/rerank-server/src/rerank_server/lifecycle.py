"""Loading, healthy, draining, or broken: where the server is in its life, and what that means for a request."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Literal, TypeAlias

from rerank_core.errors import RerankError, Unavailable
from rerank_core.scorer import PairModel

from rerank_server.service import Service

logger = logging.getLogger(__name__)

State: TypeAlias = Literal["loading", "healthy", "draining", "unhealthy"]

_RETRY = 5.0  # seconds; a model takes some to load, and asking again costs nothing


class Lifecycle:
    """Holds the service once there is one.

    ``load`` runs in a thread of its own while the port already answers. Where it fails, ``stop`` is called, which
    should end the process.
    """

    def __init__(
        self, load: Callable[[], PairModel], stop: Callable[[], None], serve: Callable[[PairModel], Service] = Service
    ) -> None:
        self._load = load
        self._stop = stop
        self._serve = serve
        self._service: Service | None = None
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.state: State = "loading"

    @property
    def model(self) -> PairModel | None:
        """The model, once it is loaded."""
        return self._service.model if self._service else None

    @contextmanager
    def request(self) -> Iterator[Service]:
        """What scores, for one request, which the server will finish before it ends.

        Raises ``Unavailable`` while nothing does.
        """
        if self._service is None or self.state != "healthy":
            raise Unavailable(f"the server is {self.state}: try again", retry_after=_RETRY)
        self._in_flight += 1
        self._idle.clear()
        try:
            yield self._service
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def drain(self, *, limit: float) -> bool:
        """Take no more requests, and wait for those that are in flight. False where ``limit`` seconds were too few."""
        self.state = "draining"
        try:
            async with asyncio.timeout(limit):
                await self._idle.wait()
        except TimeoutError:
            logger.warning("%d requests were not answered within %g s: dropped", self._in_flight, limit)
            return False
        return True

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """From the start of the server to its end."""
        loop = asyncio.get_running_loop()
        loaded: asyncio.Future[PairModel] = loop.create_future()
        # A daemon, so that a server that is stopped while it loads need not wait for the rest of the file.
        threading.Thread(target=self._load_into, args=(loop, loaded), name="load", daemon=True).start()
        ready = asyncio.create_task(self._become_ready(loaded))
        try:
            yield
        finally:
            if self.state != "unhealthy":
                self.state = "draining"
            ready.cancel()
            if self._service is not None:
                self._service.close()

    def _load_into(self, loop: asyncio.AbstractEventLoop, loaded: asyncio.Future[PairModel]) -> None:
        def settle(model: PairModel | None, error: BaseException | None) -> None:
            if loaded.done():
                return
            if model is None:
                loaded.set_exception(error or RuntimeError("no model"))
            else:
                loaded.set_result(model)

        model, failure = None, None
        try:
            model = self._load()
        except BaseException as error:  # whatever it is, somebody waits for the answer
            failure = error
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(settle, model, failure)

    async def _become_ready(self, loaded: asyncio.Future[PairModel]) -> None:
        logger.info("loading the model")
        try:
            model = await loaded
        except RerankError as error:
            self._fail(f"the model cannot be loaded: {error}")
        except Exception:
            logger.exception("the model cannot be loaded")
            self._fail("the model cannot be loaded: see the traceback above")
        else:
            self._service = self._serve(model)
            if self.state == "loading":
                self.state = "healthy"
            info = model.info
            logger.info("ready: %s on %s in %s by the %s engine", info.title, info.device, info.dtype, info.engine)

    def _fail(self, message: str) -> None:
        logger.error(message)
        self.state = "unhealthy"
        self._stop()
