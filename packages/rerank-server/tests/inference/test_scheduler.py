"""The compute thread: every ticket answered once, with an output or an error."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_core.errors import DeviceError, EngineError, Unavailable
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import ScoreOptions, TokenSequence
from rerank_server.inference.scheduler import Scheduler

NEVER = float("inf")


class Model(OverlapModel):
    """Fails on every batch that holds one of ``poison``, by calling it; notes the sequences of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.poison: dict[TokenSequence, BaseException] = {}
        self.batches: list[list[TokenSequence]] = []

    def forward(self, sequences, shared=()):
        self.batches.append(list(sequences))
        outputs = super().forward(sequences)
        for sequence in sequences:
            if sequence in self.poison:
                raise self.poison[sequence]
        return outputs


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
async def start(model: Model) -> Iterator[Callable[..., Scheduler]]:
    """Starts a scheduler, which the test's end closes."""
    started: list[Scheduler] = []

    def start(**options) -> Scheduler:
        started.append(Scheduler(model, **options))
        return started[-1]

    yield start
    model.gate.set()
    for scheduler in started:
        scheduler.close()


def sequences(model: Model, *documents: str) -> list[TokenSequence]:
    return [encoding.sequences[0] for encoding in model.encode("panda", documents, ScoreOptions())]


async def compute(scheduler: Scheduler, wanted: list[TokenSequence], deadline: float = NEVER):
    with scheduler.open(deadline) as ticket:
        ticket.add(wanted)
        return await ticket.outputs()


async def begun(model: Model) -> None:
    """Waits until the thread is in the network."""
    await asyncio.to_thread(model.started.wait)


async def test_every_sequence_has_the_output_that_the_model_says_of_it_alone(start, model) -> None:
    wanted = sequences(model, "panda", "china", "panda panda bamboo")

    outputs = await compute(start(), wanted)

    assert outputs == {sequence: model.forward([sequence])[0] for sequence in wanted}


async def test_the_sequences_of_all_tickets_go_through_the_network_together(start, model) -> None:
    scheduler, wanted = start(), sequences(model, "first", "a", "b", "c")
    model.gate.clear()
    running = asyncio.create_task(compute(scheduler, wanted[:1]))
    await begun(model)
    waiting = [asyncio.create_task(compute(scheduler, [sequence])) for sequence in wanted[1:]]
    await asyncio.sleep(0)
    model.gate.set()
    await asyncio.gather(running, *waiting)

    assert model.batches == [wanted[:1], wanted[1:]]


async def test_equal_sequences_in_flight_are_computed_once(start, model) -> None:
    scheduler, wanted = start(), sequences(model, "panda")
    model.gate.clear()
    first = asyncio.create_task(compute(scheduler, wanted))
    await begun(model)
    second = asyncio.create_task(compute(scheduler, wanted))
    await asyncio.sleep(0)
    model.gate.set()

    assert await first == await second
    assert model.batches == [wanted]


async def test_a_ticket_may_be_added_to_while_it_is_computed(start, model) -> None:
    wanted = sequences(model, "a", "b")
    with start().open(NEVER) as ticket:
        ticket.add(wanted[:1])
        await ticket.outputs()
        ticket.add(wanted)
        outputs = await ticket.outputs()

    assert set(outputs) == set(wanted)
    assert model.batches == [wanted[:1], wanted[1:]]


async def test_a_cancelled_ticket_leaves_the_queue_and_the_running_batch_still_answers_others(start, model) -> None:
    scheduler, wanted = start(), sequences(model, "shared", "left behind")
    model.gate.clear()
    leaving = asyncio.create_task(compute(scheduler, wanted[:1]))
    staying = asyncio.create_task(compute(scheduler, wanted[:1]))
    await begun(model)
    gone = asyncio.create_task(compute(scheduler, wanted[1:]))
    await asyncio.sleep(0)
    for task in (leaving, gone):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    empty = (scheduler.waiting_sequences, scheduler.waiting_tokens)
    model.gate.set()

    assert set(await staying) == set(wanted[:1])
    assert empty == (0, 0)
    assert model.batches == [wanted[:1]]


async def test_what_expired_in_the_queue_is_never_computed(start, model) -> None:
    scheduler, wanted = start(), sequences(model, "running", "late", "in time")
    model.gate.clear()
    running = asyncio.create_task(compute(scheduler, wanted[:1]))
    await begun(model)
    late = asyncio.create_task(compute(scheduler, wanted[1:2], deadline=0.0))
    in_time = asyncio.create_task(compute(scheduler, wanted[2:]))
    await asyncio.sleep(0)
    model.gate.set()
    await asyncio.gather(running, in_time)
    late.cancel()

    assert model.batches == [wanted[:1], wanted[2:]]


@pytest.mark.parametrize("place", range(7))
async def test_a_poisonous_sequence_fails_its_own_ticket_and_no_other(start, model, place) -> None:
    scheduler = start()
    first, *wanted = sequences(model, *"abcdefgh")
    model.poison[wanted[place]] = RuntimeError("bad")
    model.gate.clear()
    running = asyncio.create_task(compute(scheduler, [first]))
    await begun(model)
    tickets = [asyncio.create_task(compute(scheduler, [sequence])) for sequence in wanted]
    await asyncio.sleep(0)
    model.gate.set()
    await running
    results = await asyncio.gather(*tickets, return_exceptions=True)

    failed = [number for number, result in enumerate(results) if isinstance(result, EngineError)]
    assert failed == [place]
    assert model.batches[1] == wanted


class PanicException(BaseException):
    """As a panic of a library in Rust comes to Python: no Exception."""


@pytest.mark.parametrize(
    "failure",
    [MemoryError, RecursionError, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, PanicException],
)
async def test_whatever_a_model_raises_fails_its_own_request_and_the_thread_goes_on(start, model, failure) -> None:
    scheduler = start(on_fatal=lambda error: pytest.fail(f"the thread ended: {error}"))
    bad, good = sequences(model, "bad", "good")
    model.poison[bad] = failure("the text of a document")

    with pytest.raises(EngineError, match=failure.__name__) as caught:
        await compute(scheduler, [bad])

    assert "document" not in str(caught.value)
    assert await compute(scheduler, [good])


async def test_requests_that_wait_can_be_answered_while_a_batch_never_ends(start, model) -> None:
    scheduler, (running, other) = start(), sequences(model, "running", "other")
    model.gate.clear()
    waiting = asyncio.create_task(compute(scheduler, [running]))
    await begun(model)

    scheduler.fail_waiting(Unavailable("stuck", retry_after=5))
    with pytest.raises(Unavailable, match="stuck"):
        await waiting
    model.gate.set()

    assert await compute(scheduler, [other])


async def test_the_seconds_that_are_left_count_the_batch_in_progress_and_those_that_wait(start, model) -> None:
    scheduler = start()
    assert scheduler.seconds_left({}) == {}
    wanted = sequences(model, *[f"panda bamboo {number}" for number in range(40)])  # 40 of 4 tokens, a batch holds 32
    await compute(scheduler, wanted[:32])
    model.gate.clear()
    first = asyncio.create_task(compute(scheduler, wanted[:1]))
    model.started.clear()
    await begun(model)
    second = asyncio.create_task(compute(scheduler, wanted[1:9]))
    third = asyncio.create_task(compute(scheduler, wanted[9:]))
    await asyncio.sleep(0)
    left = scheduler.seconds_left({})
    model.gate.set()
    await asyncio.gather(first, second, third)

    assert left is not None
    running, soon, late = left.values()
    assert running <= soon < late


async def test_a_failed_batch_leaves_the_next_one_alone(start, model) -> None:
    scheduler, wanted = start(), sequences(model, "panda")
    model.fail_next = EngineError("once")

    with pytest.raises(EngineError, match="once"):
        await compute(scheduler, wanted)

    assert await compute(scheduler, wanted)


async def test_three_bad_batches_and_a_bad_sample_are_not_fine_until_one_succeeds(start, model) -> None:
    scheduler = start()
    good, *bad = sequences(model, "good", "a", "b", "c")
    sample = model.encode("Is it warm?", ["It is now."], ScoreOptions())[0].sequences[0]
    model.poison = dict.fromkeys([*bad, sample], RuntimeError("bad"))
    for sequence in bad:
        assert scheduler.is_healthy
        with pytest.raises(EngineError):
            await compute(scheduler, [sequence])
    await asyncio.to_thread(until, lambda: not scheduler.is_healthy)
    model.poison.clear()

    await compute(scheduler, [good])
    await asyncio.to_thread(until, lambda: scheduler.is_healthy)


async def test_three_bad_sequences_in_a_row_are_their_own_fault_where_a_sample_is_fine(start, model) -> None:
    scheduler, bad = start(), sequences(model, "a", "b", "c", "d")
    model.poison = dict.fromkeys(bad, RuntimeError("bad"))
    for sequence in bad:
        with pytest.raises(EngineError):
            await compute(scheduler, [sequence])
    await compute(scheduler, sequences(model, "good"))

    assert scheduler.is_healthy
    assert len(model.batches) > len(bad) + 1  # the sample was asked


async def test_a_dead_compute_thread_answers_everybody_and_says_so(start, model) -> None:
    died = asyncio.Event()
    scheduler = start(on_fatal=lambda _: died.set())
    running, waiting = sequences(model, "deadly", "waiting")
    model.poison[running] = DeviceError("the device is lost")
    model.gate.clear()
    tickets = [asyncio.create_task(compute(scheduler, [running]))]
    await begun(model)
    tickets.append(asyncio.create_task(compute(scheduler, [waiting])))
    await asyncio.sleep(0)
    model.gate.set()
    results = await asyncio.gather(*tickets, return_exceptions=True)

    assert [isinstance(result, EngineError) for result in results] == [True, True]
    await died.wait()
    with pytest.raises(EngineError):
        await compute(scheduler, [waiting])
    assert model.batches == [[running]]


async def test_closing_answers_who_waits_and_ends_the_thread(start, model) -> None:
    before = set(threading.enumerate())
    scheduler, wanted = start(), sequences(model, "a")
    (thread,) = set(threading.enumerate()) - before
    model.gate.clear()
    waiting = asyncio.create_task(compute(scheduler, wanted))
    await begun(model)

    scheduler.close()
    with pytest.raises(Unavailable, match="the server has ended"):
        await waiting
    with pytest.raises(Unavailable):
        await compute(scheduler, wanted)
    model.gate.set()
    await asyncio.to_thread(thread.join)


async def test_a_batch_is_counted_and_its_rate_measured_before_anyone_has_its_answer(start, model) -> None:
    seen: list[dict] = []

    def count(**batch) -> None:
        time.sleep(0.02)  # time enough to be overtaken by the answer
        seen.append(batch)

    scheduler = start(on_batch=count)
    assert scheduler.tokens_per_second is None

    wanted = sequences(model, "panda bamboo", "china")
    await compute(scheduler, wanted)
    model.fail_next = EngineError("once")
    with pytest.raises(EngineError):
        await compute(scheduler, sequences(model, "bad"))

    assert [(batch["sequences"], batch["tokens"], batch["failed"]) for batch in seen] == [
        (2, sum(len(sequence) for sequence in wanted), False),
        (1, 3, True),
    ]
    assert scheduler.tokens_per_second is None

    await compute(scheduler, sequences(model, *[f"panda bamboo {number}" for number in range(20)]))

    assert len(seen) == 3
    assert scheduler.tokens_per_second > 0


async def test_a_model_whose_scores_are_no_numbers_does_not_get_warm(start, model, monkeypatch) -> None:
    monkeypatch.setattr(model, "forward", lambda sequences, shared: [float("nan")] * len(sequences))

    with pytest.raises(EngineError, match="not a finite number"):
        await start().warm_up()


Request = st.tuples(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6),  # a document may be in several requests
    st.sampled_from(["waits", "waits", "leaves while the first batch runs", "leaves after it", "is late"]),
)


@given(st.lists(Request, min_size=1, max_size=10), st.sets(st.sampled_from("abcdefgh"), max_size=2), st.booleans())
def test_whoever_waits_is_answered_once_with_what_is_true_of_its_own_sequences(play, requests, poison, dies) -> None:
    asyncio.run(asyncio.wait_for(_all_are_answered(play, requests, poison, dies=dies), 5))


async def _all_are_answered(play, requests, poison, *, dies: bool) -> None:
    model = Model()
    first, *known = sequences(model, "first", *"abcdefgh")
    named = dict(zip("abcdefgh", known, strict=True))
    cause = DeviceError("the device is lost") if dies else RuntimeError("bad")
    model.poison = {named[name]: cause for name in poison}
    scheduler = Scheduler(model)
    wanted_by = [([named[name] for name in names], fate) for names, fate in requests]
    results = await play(model, partial(compute, scheduler), [first], wanted_by)
    scheduler.close()

    said = [sequence for batch in model.batches for sequence in batch]
    for (names, fate), result in zip(requests, results[1:], strict=True):
        wanted = {named[name] for name in names}
        if isinstance(result, dict):
            assert set(result) == wanted
            assert not wanted & set(model.poison)
            assert result == {sequence: OverlapModel().forward([sequence])[0] for sequence in wanted}
        elif fate == "waits":
            assert isinstance(result, EngineError)
            assert dies or wanted & set(model.poison)
        else:
            assert isinstance(result, asyncio.CancelledError | EngineError)
    if not poison:
        assert len(said) == len(set(said))
        assert all(len(batch) == 1 or sum(map(len, batch)) <= model.batch_tokens for batch in model.batches)


def until(happened: Callable[[], bool]) -> None:
    """For what another thread does a moment after it has answered."""
    turn = threading.Event()
    for _ in range(20_000):  # a thread that never ends would keep the tests from ending
        if happened():
            return
        turn.wait(0.001)
    raise AssertionError("it has not happened")
