"""What the log says, and how. Never any text of a query or a document, nor a key, nor what a URL asked."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from rerank_server.observability.log_handler import QueuedHandler
from rerank_server.observability.request_record import Record

PROBES = frozenset({"/livez", "/readyz", "/health", "/metrics", "/ping", "/v1/health/ready", "/v1/health/live"})
"""The routes that machines ask all day long: not news, unless somebody debugs."""

_access = logging.getLogger("rerank_server.access")


def configure_logging(level: str, format: str) -> None:  # noqa: A002
    """Log to stderr from ``level`` upwards: as lines to read (``console``), or as one JSON object a line (``json``).

    What the process has configured already, stays. A reader that takes no lines holds nobody up (``log_handler.py``).
    """
    handler = QueuedHandler(sys.stderr)
    handler.setFormatter(
        _JsonFormatter() if format == "json" else _ConsoleFormatter("%(asctime)s %(levelname)s %(message)s")
    )
    logging.basicConfig(handlers=[handler])
    for ours in ("rerank_core", "rerank_server", "uvicorn"):  # what else libraries have to say is not for operators
        logging.getLogger(ours).setLevel(level.upper())
    # It would say again what log_request says, and the query string with it.
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)


def dropped_lines() -> int:
    """Lines that were dropped since the start, because nobody took them."""
    return sum(handler.dropped for handler in logging.root.handlers if isinstance(handler, QueuedHandler))


def flush_logs() -> None:
    """Have written what was logged, so that a line printed next stands behind it; waits for two seconds at most."""
    for handler in logging.root.handlers:
        if isinstance(handler, QueuedHandler):
            handler.flush()


def log_request(record: Record) -> None:
    """One line about a request that has been answered."""
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
    said = {"status": record.status} | {name: value for name, value in fields.items() if value}
    _access.log(level, "%s %s %d", record.method, record.route, record.status, extra={"fields": said})


class _ConsoleFormatter(logging.Formatter):
    """The line, and then its fields: `` key=value``."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return super().formatMessage(record) + "".join(f" {name}={value}" for name, value in _fields(record).items())


class _JsonFormatter(logging.Formatter):
    """One object: what every line has, and its fields beside it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # The line once more: a field may not take the name of what every line has.
        return json.dumps(line | _fields(record) | line, default=str)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = getattr(record, "fields", {})
    return fields


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
