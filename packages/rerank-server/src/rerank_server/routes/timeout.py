"""The time that a request may take."""

from __future__ import annotations

from rerank_server.errors import InvalidHeader


def request_timeout(header: str | None, limit: float) -> float:
    """The timeout of a request in seconds: the server's ``limit``, or less where ``X-Request-Timeout`` is less.

    Raises ``InvalidHeader`` for a header that is not a number above 0.
    """
    if header is None:
        return limit
    try:
        wanted = float(header)
    except ValueError:
        wanted = -1.0
    if not wanted > 0:
        raise InvalidHeader("X-Request-Timeout is not a number of seconds above 0: send one like 2.5, or leave it out")
    return min(wanted, limit)
