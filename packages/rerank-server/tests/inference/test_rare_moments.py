"""What the service and its scheduler do before their first batch, and when a model misbehaves."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest
from rerank_core.errors import EngineError, Overloaded, Unavailable
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import Pair, ScoreOptions, TokenSequence
from rerank_server.inference import scheduler as scheduler_module
from rerank_server.inference.scheduler import Scheduler
from rerank_server.inference.service import Service
from rerank_server.observability.request_record import RequestRecord

NEVER = float("inf")


@pytest.fixture
def model() -> OverlapModel:
    return OverlapModel()


@pytest.fixture
async def start(model: OverlapModel) -> AsyncIterator[Callable[[], Scheduler]]:
    """Starts a scheduler, which the test's end closes."""
    started: list[Scheduler] = []

    def start() -> Scheduler:
        started.append(Scheduler(model))
        return started[-1]

    yield start
    model.gate.set()
    for scheduler in started:
        scheduler.close()


def sequence(model: OverlapModel, document: str = "panda") -> TokenSequence:
    (encoding,) = model.encode("panda", [document], ScoreOptions())
    return encoding.sequences[0]


async def compute(scheduler: Scheduler, wanted: TokenSequence) -> None:
    with scheduler.open(NEVER) as pending:
        pending.add([wanted])
        await pending.outputs()


async def test_nothing_can_be_added_to_a_request_that_has_failed(start, model) -> None:
    scheduler = start()
    with scheduler.open(NEVER) as pending:
        scheduler.fail_waiting(Unavailable("stuck"))

        with pytest.raises(Unavailable, match="stuck"):
            pending.add([sequence(model)])


async def test_a_model_that_loses_an_output_fails_the_request(start, model, monkeypatch) -> None:
    monkeypatch.setattr(model, "forward", lambda *_: [])

    with pytest.raises(EngineError, match="0 outputs for 1 sequences"):
        await compute(start(), sequence(model))


async def test_a_model_that_has_recovered_is_found_so_without_a_request(start, model, monkeypatch) -> None:
    monkeypatch.setattr(scheduler_module, "_PROBE_SECONDS", 0.001)
    forward, probed, broken = model.forward, threading.Semaphore(0), threading.Event()
    broken.set()

    def failing(*arguments: object) -> object:
        if broken.is_set():
            probed.release()
            raise EngineError("broken")
        return forward(*arguments)

    monkeypatch.setattr(model, "forward", failing)
    scheduler = start()
    for number in range(3):
        with pytest.raises(EngineError):
            await compute(scheduler, sequence(model, f"document {number}"))
    for _ in range(3 + 4):  # the three requests, and more probes than one
        await asyncio.to_thread(probed.acquire)
    was_healthy = scheduler.is_healthy
    broken.clear()
    while not scheduler.is_healthy:  # noqa: ASYNC110 (a thread has no event)
        await asyncio.sleep(0)

    assert not was_healthy


async def test_a_full_server_that_has_measured_nothing_yet_refuses_without_a_forecast(model) -> None:
    service = Service(model, max_pairs=1)
    model.gate.clear()

    def score() -> object:
        record = RequestRecord(request_id="", method="", route="")
        return service.score_pairs([Pair("panda", "panda")], ScoreOptions(), seconds=60, record=record)

    first = asyncio.ensure_future(score())
    await asyncio.to_thread(model.started.wait)
    with pytest.raises(Overloaded) as refused:
        await score()
    model.gate.set()
    await first
    service.close()

    assert refused.value.retry_after >= 1
