"""Parts of all requests share one tokenizer, and none of them waits for all of another's."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from rerank_core.errors import InputTooLong, ModelError, Unavailable
from rerank_server.inference.tokenizing import PendingTokens, TokenizeThread

NEVER = float("inf")


@pytest.fixture
async def thread() -> Iterator[TokenizeThread]:
    thread = TokenizeThread()
    yield thread
    thread.close()


class Gate:
    """Holds the thread until it is opened."""

    def __init__(self) -> None:
        self.begun, self.open = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        self.open.wait()


def parts(ticket: PendingTokens, said: list[str], name: str, count: int, characters: int = 100) -> list[asyncio.Future]:
    return [
        ticket.add(lambda name=f"{name}{n}": said.append(name), characters=characters, tokens=30) for n in range(count)
    ]


async def test_a_small_request_is_tokenised_after_one_part_of_a_large_one_or_two(thread) -> None:
    said: list[str] = []
    with thread.open(NEVER) as large, thread.open(NEVER) as small:
        gate = Gate()
        held = large.add(gate, characters=100, tokens=30)
        waiting = parts(large, said, "large", 50)
        await asyncio.to_thread(gate.begun.wait)
        (done,) = parts(small, said, "small", 1)
        gate.open.set()
        await done
        before = said.index("small0")
        await asyncio.gather(held, *waiting)

    assert before <= 2
    assert len(said) == 51


async def test_a_large_request_has_half_of_the_time_whatever_comes_behind_it(thread) -> None:
    said: list[str] = []
    with thread.open(NEVER) as large:
        gate = Gate()
        held = large.add(gate, characters=1, tokens=1)
        waiting = parts(large, said, "large", 10)
        await asyncio.to_thread(gate.begun.wait)
        tickets = [thread.open(NEVER) for _ in range(40)]
        small = [future for ticket in tickets for future in parts(ticket.__enter__(), said, "small", 1)]
        gate.open.set()
        await asyncio.gather(held, *waiting)
        overtaken = [name for name in said[: said.index("large9")] if name.startswith("small")]
        await asyncio.gather(*small)
        for ticket in tickets:
            ticket.__exit__(None, None, None)

    assert len(overtaken) <= 12


async def test_parts_of_a_request_that_has_ended_or_is_late_are_never_tokenised(thread) -> None:
    said: list[str] = []
    with thread.open(NEVER) as running:
        gate = Gate()
        held = running.add(gate, characters=1, tokens=1)
        await asyncio.to_thread(gate.begun.wait)
        with thread.open(NEVER) as leaving:
            parts(leaving, said, "left", 5)
            backlog = thread.waiting_tokens
        with thread.open(0.0) as late:
            parts(late, said, "late", 5)
            (last,) = parts(running, said, "last", 1)
            gate.open.set()
            await asyncio.gather(held, last)

    assert said == ["last0"]
    assert backlog == 5 * 30 + 1
    assert thread.waiting_tokens == 0


class PanicException(BaseException):
    """As a panic of a library in Rust comes to Python: no Exception."""


@pytest.mark.parametrize("failure", [PanicException, MemoryError, RecursionError, SystemExit, StopIteration])
async def test_whatever_a_tokenizer_raises_is_a_model_error_with_one_line_and_no_text(thread, caplog, failure) -> None:
    def fail() -> None:
        raise failure("the text of a document")

    with thread.open(NEVER) as ticket:
        with pytest.raises(ModelError, match=failure.__name__) as caught:
            await ticket.add(fail, characters=100, tokens=30)
        assert await ticket.add(lambda: "goes on", characters=1, tokens=1) == "goes on"

    assert "document" not in str(caught.value) + caplog.text
    assert len(caplog.text.splitlines()) == 1


async def test_a_request_that_is_wrong_is_no_failure_of_the_tokenizer(thread, caplog) -> None:
    def refuse() -> None:
        raise InputTooLong("document 3 has 600 tokens")

    with thread.open(NEVER) as ticket, pytest.raises(InputTooLong, match="document 3"):
        await ticket.add(refuse, characters=100, tokens=30)

    assert not caplog.text


async def test_what_waits_has_its_seconds_once_parts_were_measured(thread) -> None:
    with thread.open(NEVER) as measured:
        await measured.add(lambda: None, characters=100, tokens=1)
        gate = Gate()
        held = measured.add(gate, characters=100, tokens=1)
        await asyncio.to_thread(gate.begun.wait)
        with thread.open(NEVER) as waiting:
            parts(waiting, [], "waiting", 3)
            left = thread.seconds_left()
            gate.open.set()
            await held

    assert left.keys() == {waiting.request}
    assert left[waiting.request] > 0


async def test_a_closed_thread_takes_nothing_more_and_ends() -> None:
    before = set(threading.enumerate())
    thread = TokenizeThread()
    (worker,) = set(threading.enumerate()) - before
    assert worker.daemon, "a text that is never done must not keep the process"

    thread.close()
    await asyncio.to_thread(worker.join)

    with pytest.raises(Unavailable), thread.open(NEVER):
        pass


def test_what_nobody_waits_for_any_more_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    async def leave() -> None:
        thread = TokenizeThread()
        with thread.open(NEVER) as ticket:

            def fail() -> None:
                raise RuntimeError

            first, _ = ticket.add(fail, characters=1, tokens=1), ticket.add(fail, characters=1, tokens=1)
            with pytest.raises(ModelError):
                await first
            await asyncio.sleep(0)
        thread.close()

    asyncio.run(leave())

    assert "never retrieved" not in caplog.text
