"""What a line of the log looks like, and what never stands in one."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rerank_server.observability.logs import configure_logging, flush_logs, log_request
from rerank_server.observability.request_record import RequestRecord

OURS = ("rerank_core", "rerank_server", "uvicorn", "uvicorn.access")

logger = logging.getLogger("rerank_server.somewhere")


@contextmanager
def configured(level: str, format_: str) -> Iterator[None]:
    """As in a process of one's own: nothing was configured before, and nothing is left behind."""
    handlers, levels = logging.root.handlers[:], {name: logging.getLogger(name).level for name in OURS}
    logging.root.handlers[:] = []
    configure_logging(level, format_)
    try:
        yield
    finally:
        flush_logs()
        logging.root.handlers[:] = handlers
        for name, before in levels.items():
            logging.getLogger(name).setLevel(before)


def scored() -> RequestRecord:
    return RequestRecord(
        request_id="r-1",
        method="POST",
        route="/rerank",
        status=200,
        pairs=10,
        characters=4000,
        tokens=700,
        tokenize_seconds=0.00444,
        queue_seconds=0.00001,
        forward_seconds=0.25,
        total_seconds=0.3,
    )


def test_a_console_line_says_when_how_grave_and_what(capsys: pytest.CaptureFixture[str]) -> None:
    with configured("info", "console"):
        logger.info("ready: %s", "minilm", extra={"fields": {"device": "cpu", "threads": 4}})

    assert capsys.readouterr().err.endswith(" INFO ready: minilm device=cpu threads=4\n")


def test_a_json_line_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    with configured("info", "json"):
        logger.warning("two\nlines of %s", "日本", extra={"fields": {"device": "cpu", "level": "mine"}})

    lines = capsys.readouterr().err.splitlines()
    said = json.loads(lines[0])
    assert len(lines) == 1
    assert said.pop("time").endswith("+00:00")
    assert said == {
        "level": "warning",
        "logger": "rerank_server.somewhere",
        "message": "two\nlines of 日本",
        "device": "cpu",
    }


@pytest.mark.parametrize("format_", ["console", "json"])
def test_an_exception_brings_its_traceback(capsys: pytest.CaptureFixture[str], format_: str) -> None:
    with configured("info", format_):
        try:
            raise RuntimeError("out of luck")
        except RuntimeError:
            logger.exception("it failed", extra={"fields": {"route": "/rerank"}})

    err = capsys.readouterr().err
    line, traceback = ("", json.loads(err)["exception"]) if format_ == "json" else err.split("\n", 1)
    assert format_ == "json" or line.endswith(" ERROR it failed route=/rerank")
    assert traceback.startswith("Traceback (most recent call last):\n")
    assert traceback.rstrip().endswith("\nRuntimeError: out of luck")


def test_a_process_that_logs_already_keeps_its_own_way(capsys: pytest.CaptureFixture[str]) -> None:
    """Inside somebody else's ASGI server, say."""
    with configured("info", "console"):
        configure_logging("info", "json")
        logger.info("ready")

    assert capsys.readouterr().err.endswith(" INFO ready\n")


def test_only_our_own_lines_are_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    """A handler of somebody else's process may block."""

    class Theirs(logging.NullHandler):
        def flush(self) -> None:
            raise AssertionError("it was flushed")

    theirs = Theirs()
    with configured("info", "console"):
        logging.root.handlers.insert(0, theirs)
        logger.info("ready")
        flush_logs()
        logging.root.handlers.remove(theirs)

        assert capsys.readouterr().err.endswith(" INFO ready\n")


def test_what_is_below_the_level_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    with configured("warning", "console"):
        logger.info("nothing of note")
        log_request(scored())

    assert capsys.readouterr().err == ""


def test_other_libraries_are_only_heard_when_they_warn(capsys: pytest.CaptureFixture[str]) -> None:
    with configured("debug", "console"):
        logging.getLogger("somebody.else").info("chatter")
        logging.getLogger("uvicorn.access").info("GET /rerank?query=secret")

    assert capsys.readouterr().err == ""


def test_of_uvicorn_only_what_our_own_lines_do_not_say_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    uvicorn = logging.getLogger("uvicorn.error")
    with configured("info", "console"):
        uvicorn.info("Started server process [%d]", 1)
        uvicorn.info("something else")

    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(" INFO something else")


def test_a_request_is_a_line_with_what_it_held_and_took(capsys: pytest.CaptureFixture[str]) -> None:
    """What is nothing is left out: no truncated pair, none from a cache, no error, 0.01 ms in the queue."""
    with configured("info", "json"):
        log_request(scored())

    said = json.loads(capsys.readouterr().err)
    del said["time"]
    assert said == {
        "level": "info",
        "logger": "rerank_server.access",
        "message": "POST /rerank 200",
        "status": 200,
        "id": "r-1",
        "method": "POST",
        "route": "/rerank",
        "pairs": 10,
        "characters": 4000,
        "tokens": 700,
        "total_ms": 300.0,
        "tokenize_ms": 4.4,
        "forward_ms": 250.0,
    }


def test_a_failed_request_says_its_error_at_the_same_level(caplog: pytest.LogCaptureFixture) -> None:
    """A client's mistake is no warning, and the server's own is logged where it happens."""
    with caplog.at_level(logging.INFO, "rerank_server.access"):
        log_request(RequestRecord(request_id="r-2", method="POST", route="/v1/rerank", status=429, error="overloaded"))

    (line,) = caplog.records
    assert (line.levelname, line.getMessage()) == ("INFO", "POST /v1/rerank 429")
    assert line.fields["error"] == "overloaded"


@pytest.mark.parametrize("probe", ["/livez", "/readyz", "/health", "/metrics", "/ping"])
def test_probes_are_logged_for_who_debugs(capsys: pytest.CaptureFixture[str], probe: str) -> None:
    asked = RequestRecord(request_id="r-3", method="GET", route=probe, status=503)
    with configured("info", "console"):
        log_request(asked)
    quiet = capsys.readouterr().err
    with configured("debug", "console"):
        log_request(asked)

    assert quiet == ""
    assert f" DEBUG GET {probe} 503 status=503 id=r-3" in capsys.readouterr().err
