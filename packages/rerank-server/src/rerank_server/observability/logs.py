"""The log: its configuration, and the line of a request. No line has a text, an API key or a query string."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from rerank_server.observability.log_handler import QueuedHandler
from rerank_server.observability.request_record import RequestRecord

PROBES = frozenset({"/livez", "/readyz", "/health", "/metrics", "/ping", "/v1/health/ready", "/v1/health/live"})
"""Routes that are called all the time, by probes and by Prometheus: logged on the level ``debug`` only."""

# uvicorn's steps of starting and ending, which lines of ours tell.
_TOLD_BY_US = (
    "Started server process",
    "Waiting for application",
    "Application startup complete",
    "Application shutdown complete",
    "Finished server process",
)

_access = logging.getLogger("rerank_server.access")


def configure_logging(level: str, format: str) -> None:  # noqa: A002
    """Log to stderr from ``level`` upwards: as lines to read (``console``), or as one JSON object a line (``json``).

    A configuration that the process has already is kept. A slow reader of the log blocks nothing (``log_handler.py``).
    """
    handler = QueuedHandler(sys.stderr)
    handler.setFormatter(
        _JsonFormatter() if format == "json" else _ConsoleFormatter("%(asctime)s %(levelname)s %(message)s")
    )
    logging.basicConfig(handlers=[handler])
    for ours in ("rerank_core", "rerank_server", "uvicorn"):  # other libraries keep their level: warning
        logging.getLogger(ours).setLevel(level.upper())
    # It would repeat the lines of log_request, with the query string.
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_told_once)


def _is_told_once(record: logging.LogRecord) -> bool:
    return not (record.levelno == logging.INFO and str(record.msg).startswith(_TOLD_BY_US))


def dropped_lines() -> int:
    """The number of lines that were dropped since the start, because the reader was too slow."""
    return sum(handler.dropped for handler in logging.root.handlers if isinstance(handler, QueuedHandler))


def flush_logs() -> None:
    """Write all queued lines, so that the next printed line follows them; waits for two seconds at most."""
    for handler in logging.root.handlers:
        if isinstance(handler, QueuedHandler):
            handler.flush()


def log_request(record: RequestRecord) -> None:
    """Log one line for a request that has been answered."""
    level = logging.DEBUG if record.route in PROBES else logging.INFO
    if not _access.isEnabledFor(level):
        return
    fields = {
        "id": record.request_id,
        "method": record.method,
        "route": record.route,
        "pairs": record.pairs,
        "characters": record.characters,
        "tokens": record.tokens,
        "cached": record.cached,
        "truncated": record.truncated,
        "error": record.error,
        "rejection": record.rejection,
        "total_ms": _milliseconds(record.total_seconds),
        "tokenize_ms": _milliseconds(record.tokenize_seconds),
        "queue_ms": _milliseconds(record.queue_seconds),
        "forward_ms": _milliseconds(record.forward_seconds),
    }
    present = {"status": record.status} | {name: value for name, value in fields.items() if value}
    _access.log(level, "%s %s %d", record.method, record.route, record.status, extra={"fields": present})


class _ConsoleFormatter(logging.Formatter):
    """Formats a line, followed by its fields as ``key=value``."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return super().formatMessage(record) + "".join(f" {name}={value}" for name, value in _fields(record).items())


class _JsonFormatter(logging.Formatter):
    """Formats a line as one JSON object, with its fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # The line once more: a field may not replace a key of the line.
        return json.dumps(line | _fields(record) | line, default=str)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = getattr(record, "fields", {})
    return fields


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
