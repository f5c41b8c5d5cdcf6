"""The lifecycle of the server: its state, and whether it accepts requests."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Literal, TypeAlias

from rerank_core.errors import RerankError, Unavailable
from rerank_core.scorer import StepwiseModel

from rerank_server.inference.service import Service
from rerank_server.lifecycle.loading import LoadedModel, describe
from rerank_server.lifecycle.watchdog import TICK, ExitTimer, Watchdog, stacks
from rerank_server.settings import in_variables

logger = logging.getLogger(__name__)

State: TypeAlias = Literal["loading", "healthy", "draining", "stuck", "unhealthy"]
OnFatal: TypeAlias = Callable[[BaseException], None]

_RETRY = 5.0  # seconds; a model takes some to load, and another attempt costs little
_FLUSH_SECONDS = 2.0  # seconds to send the last answers when the drain has ended
_EXIT_SECONDS = 10.0  # the process of a lost thread is ended by force after this time


class Lifecycle:
    """Loads the model, holds the service, and knows the state.

    ``load`` runs in a thread of its own while the port already answers. ``serve`` makes the service from the loaded
    model; it also gets the function to call after a fatal error. ``stop`` should end the process: it is called where
    one of them fails, after a fatal error, and where a thread of the service does not finish a batch
    (``stuck_seconds``, see ``watchdog.time_limit``). ``exit_timer`` ends the process where no Python code runs.
    """

    def __init__(
        self,
        load: Callable[[], LoadedModel],
        serve: Callable[[LoadedModel, OnFatal], Service],
        stop: Callable[[], None],
        *,
        stuck_seconds: float = 60.0,
        exit_timer: ExitTimer | None = None,
    ) -> None:
        self._load = load
        self._serve = serve
        self._stop = stop
        self._state: State = "loading"
        self._accepts = False
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stuck_seconds = stuck_seconds
        self._exit_timer = exit_timer
        self._watchdog: Watchdog | None = None
        self.service: Service | None = None

    @property
    def state(self) -> State:
        """The state: stuck while a thread makes no progress; unhealthy also while batches and the probe batch fail."""
        if self._state == "healthy" and self._is_stuck:
            return "stuck"
        if self._state == "healthy" and self.service and not self.service.scheduler.is_healthy:
            return "unhealthy"
        return self._state

    @property
    def model(self) -> StepwiseModel | None:
        """The model, once it is loaded."""
        return self.service.model if self.service else None

    @property
    def batch_age(self) -> float:
        """The seconds that the current batch, or the current tokenization, has taken so far."""
        return self._watchdog.age if self._watchdog else 0.0

    @property
    def _is_stuck(self) -> bool:
        return self._watchdog is not None and self._watchdog.verdict != "healthy"

    @contextmanager
    def request(self) -> Iterator[Service]:
        """The service, for one request; the server waits for its end before it ends itself.

        Raises ``Unavailable`` while no requests are accepted.
        """
        if self.service is None or not self._accepts or self._is_stuck:
            raise Unavailable(f"the server is {self.state}: try again", retry_after=_RETRY)
        self._in_flight += 1
        self._idle.clear()
        try:
            yield self.service
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def drain(self, *, prestop: float, limit: float) -> bool:
        """Drain: report the state, then accept no more requests, and wait for those in flight.

        Requests are still accepted for ``prestop`` seconds, until load balancers have noticed. Those that are not
        finished ``limit`` seconds later are answered with ``Unavailable``. False where even that could not be sent.
        """
        if self._state == "healthy":
            self._state = "draining"
            if prestop:
                await asyncio.sleep(prestop)
        self._accepts = False
        if self._state != "unhealthy":
            self._state = "draining"
        if self.service is None or await self._idle_within(limit):
            return True
        logger.warning("%d requests were not answered within %g s: dropped", self._in_flight, limit)
        self.service.close(Unavailable("the server ended before this was computed: try again", retry_after=_RETRY))
        return await self._idle_within(_FLUSH_SECONDS)

    async def _idle_within(self, seconds: float) -> bool:
        idle = asyncio.ensure_future(self._idle.wait())
        await asyncio.wait({idle}, timeout=seconds)
        idle.cancel()
        return self._idle.is_set()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Run from the start of the server to its end."""
        loop = asyncio.get_running_loop()
        loaded: asyncio.Future[LoadedModel] = loop.create_future()
        # A daemon, so that a server that is stopped while it loads does not wait for the rest of the model.
        threading.Thread(target=self._load_into, args=(loop, loaded), name="load", daemon=True).start()
        ready = asyncio.create_task(self._become_ready(loaded))
        watch = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()
            if self._watchdog is not None and self._watchdog.verdict == "healthy":
                self._watchdog.stop()
            if self._state != "unhealthy":
                self._state = "draining"
            self._accepts = False
            ready.cancel()
            if self.service is not None:
                self.service.close()

    def _load_into(self, loop: asyncio.AbstractEventLoop, loaded: asyncio.Future[LoadedModel]) -> None:
        def complete(model: LoadedModel | None, error: BaseException | None) -> None:
            if loaded.done():
                return
            if model is None:
                loaded.set_exception(error or RuntimeError("no model"))
            else:
                loaded.set_result(model)

        model, failure = None, None
        try:
            model = self._load()
        except BaseException as error:  # of any kind: the event loop waits for the result
            failure = error
        with suppress(RuntimeError):  # the loop has ended: nobody waits for the result
            loop.call_soon_threadsafe(complete, model, failure)

    async def _become_ready(self, loaded: asyncio.Future[LoadedModel]) -> None:
        logger.info("loading the model")
        try:
            service = self._serve(await loaded, self._on_fatal)
            self._watchdog = Watchdog(service.threads, limit=self._stuck_seconds, exit_timer=self._exit_timer)
            await service.warm_up()
        except RerankError as error:
            self._fail(f"the model cannot be loaded: {in_variables(str(error))}")
        except Exception:
            logger.exception("the model cannot be loaded")
            self._fail("the model cannot be loaded: see the traceback above")
        else:
            self.service = service
            if self._state == "loading":
                self._state, self._accepts = "healthy", True
            logger.info("ready: %s", describe(service.model.info))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            if self._watchdog is None:
                continue
            before = self._watchdog.verdict
            verdict = self._watchdog.tick()
            if verdict == "lost":
                self._end_lost(self._watchdog)
                return
            if verdict == "stuck":
                if before != "stuck":
                    logger.error("%s: requests are refused until it has finished", self._watchdog.reason)
                if self.service is not None:  # at every tick: a request may have been accepted just before
                    error = Unavailable("the server is stuck: try again elsewhere", retry_after=_RETRY)
                    self.service.fail_waiting(error)
            elif before == "stuck":
                logger.warning("the thread that was stuck goes on: requests are accepted again")

    def _end_lost(self, watchdog: Watchdog) -> None:
        """End the process, by force if it does not end in time."""
        watchdog.end_within(_EXIT_SECONDS)
        logger.critical("the stacks of all threads, one of which is stuck:\n%s", stacks())
        error = Unavailable("the server is stuck and ends: try again elsewhere", retry_after=_RETRY)
        if self.service is not None:
            self.service.close(error)
        self._accepts = False
        self._fail(watchdog.reason)

    def _on_fatal(self, error: BaseException) -> None:
        """End the process after a fatal error, so that it is started again."""
        self._accepts = False
        self._fail(f"nothing can be computed any more: {error}")

    def _fail(self, message: str) -> None:
        logger.error(message)
        self._state = "unhealthy"
        self._stop()
