"""A log that nobody reads holds nobody up, and says afterwards what is missing."""

import io
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from rerank_server.observability.log_handler import QueuedHandler

PIPE = 64 * 1024  # bytes that a pipe takes without a reader

Make = Callable[..., logging.Logger]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(writing)


@pytest.fixture
def make(pipe: tuple[int, int]) -> Iterator[Make]:
    """A logger that writes to a file descriptor."""
    made: list[QueuedHandler] = []

    def make(descriptor: int, **options: int) -> logging.Logger:
        logger = logging.Logger(f"test-{len(made)}")  # of nobody else's
        handler = QueuedHandler(os.fdopen(descriptor, "w", closefd=False), **options)
        logger.addHandler(handler)
        made.append(handler)
        return logger

    yield make
    os.close(pipe[0])  # what is left goes nowhere, before its descriptor becomes somebody else's
    for handler in made:
        handler.flush()


def handler_of(logger: logging.Logger) -> QueuedHandler:
    (handler,) = logger.handlers
    assert isinstance(handler, QueuedHandler)
    return handler


def read_until(reading: int, wanted: str) -> list[str]:
    """Whole lines, at least up to the first one that holds ``wanted``."""
    text = ""
    while not (re.search(wanted, text) and text.endswith("\n")):
        text += os.read(reading, 65536).decode()
    return text.splitlines()


def test_lines_are_written_whole_and_in_their_order(make: Make, pipe: tuple[int, int]) -> None:
    logger = make(pipe[1])

    for number in range(1000):
        logger.warning("line %d", number)
    logger.warning("the last")

    assert read_until(pipe[0], "the last") == [*(f"line {number}" for number in range(1000)), "the last"]


def test_a_reader_that_takes_nothing_holds_nobody_up_and_hears_how_much_it_missed(
    make: Make, pipe: tuple[int, int]
) -> None:
    logger = make(pipe[1], max_bytes=10_000)
    sent = PIPE // 100 + 2000  # more than the pipe and the queue hold: this would never come back

    for _ in range(sent):
        logger.warning("x" * 99)
    dropped, heard, taken = handler_of(logger).dropped, 0, 0
    while taken + heard < sent:
        for line in read_until(pipe[0], ""):
            heard += int(line.split()[0]) if line.endswith("dropped here: the reader was too slow") else 0
            taken += line == "x" * 99

    assert dropped > 1000
    assert heard == dropped


def test_what_was_dropped_is_said_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not behind lines that came later."""
    monkeypatch.setattr("rerank_server.observability.log_handler._AT_ONCE", 1)  # a line at a time
    may_write, text = threading.Semaphore(0), io.StringIO()

    class Slow(QueuedHandler):
        def _write(self, data: bytes) -> bool:
            may_write.acquire()
            text.write(data.decode())
            return True

    handler, logger = Slow(None, max_bytes=15), logging.Logger("test")
    logger.addHandler(handler)
    for number in range(4):  # of five bytes each, so that the last has no room
        logger.warning("no %d", number)
    may_write.release()
    with handler._changed:
        handler._changed.wait_for(lambda: handler._bytes < 15, timeout=60)
    logger.warning("no 4")
    may_write.release(10)
    handler.flush()

    assert [line.split(" log ")[0] for line in text.getvalue().splitlines()] == [
        "no 0",
        "no 1",
        "no 2",
        "1",
        "no 4",
    ]


def test_a_traceback_is_whole_though_its_record_changes_before_it_is_written(make: Make, pipe: tuple[int, int]) -> None:
    logger, words = make(pipe[1]), ["first"]

    try:
        raise RuntimeError("out of luck")
    except RuntimeError:
        logger.exception("failed with %s", words)
        words.append("second")

    said = read_until(pipe[0], "RuntimeError: out")
    assert said[0] == "failed with ['first']"
    assert said[1] == "Traceback (most recent call last):"


def test_a_reader_that_is_gone_is_no_failure(make: Make) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    logger = make(writing)

    logger.warning("to nobody")
    handler_of(logger).flush()
    os.close(writing)

    assert handler_of(logger).dropped == 1


def test_a_full_disk_is_no_failure_and_each_line_counts_once(make: Make) -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    logger = make(descriptor)

    for _ in range(5):
        logger.warning("for the disk")
        handler_of(logger).flush()
    os.close(descriptor)

    assert handler_of(logger).dropped == 5


def test_a_pipe_that_does_not_block_is_waited_for(make: Make, pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    logger = make(pipe[1])

    for _ in range(3 * PIPE // 100):
        logger.warning("x" * 99)
    logger.warning("the last")

    assert len(read_until(pipe[0], "the last")) == 3 * PIPE // 100 + 1


def test_a_record_that_cannot_be_formatted_is_a_line_without_its_arguments(make: Make, pipe: tuple[int, int]) -> None:
    make(pipe[1]).warning("%d pairs", "secret")

    (said,) = read_until(pipe[0], "formatted")
    assert said == "a record of test-0 could not be formatted: TypeError"


def test_without_a_stream_nothing_is_written_nor_dropped() -> None:
    handler = QueuedHandler(None)

    handler.emit(logging.LogRecord("a", logging.INFO, "", 0, "to nowhere", None, None))
    handler.flush()

    assert handler.dropped == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_record_that_comes_when_no_thread_can_start_any_more_is_counted_as_dropped(
    make: Make, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is while the interpreter ends."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    logger = make(pipe[1])
    with monkeypatch.context() as ending:
        ending.setattr("rerank_server.observability.log_handler.threading.Thread.start", start)
        logger.warning("lost")

    assert handler_of(logger).dropped == 1


def test_the_child_of_a_fork_logs_too_and_repeats_nothing(tmp_path) -> None:
    program = (
        "import logging, os\n"
        "from rerank_server.observability.logs import configure_logging\n"
        "configure_logging('info', 'console')\n"
        "logger = logging.getLogger('rerank_server')\n"
        "logger.info('parent before')\n"
        "child = os.fork()\n"
        "logger.info('after in %s', 'parent' if child else 'child')\n"
        "child and os.waitpid(child, 0)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    # Newer Pythons warn of forks where threads run.
    said = sorted(line.partition(" INFO ")[2] for line in ended.stderr.splitlines() if " INFO " in line)
    assert said == ["after in child", "after in parent", "parent before"]


def test_nothing_is_lost_where_a_process_ends(tmp_path) -> None:
    program = (
        "import logging\n"
        "from rerank_server.observability.logs import configure_logging\n"
        "configure_logging('info', 'json')\n"
        "for number in range(20000): logging.getLogger('rerank_server').info('line %d', number)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert len(ended.stderr.splitlines()) == 20000
    assert '"line 19999"' in ended.stderr.splitlines()[-1]


def test_a_process_ends_though_nobody_reads(pipe: tuple[int, int]) -> None:
    program = (
        "import logging\n"
        "from rerank_server.observability.logs import configure_logging\n"
        "configure_logging('info', 'json')\n"
        "for number in range(20000): logging.getLogger('rerank_server').info('line %d', number)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], stderr=pipe[1], timeout=60, check=False)

    assert ended.returncode == 0
