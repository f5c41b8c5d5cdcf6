"""The state of a connection in the kernel, which the event loop has not seen yet."""

from __future__ import annotations

import select
import socket


def _polled(sock: socket.socket, events: int) -> int:
    poll = select.poll()
    poll.register(sock.fileno(), events)
    return next((found for _, found in poll.poll(0)), 0)


def is_readable(sock: socket.socket) -> bool:
    """Whether bytes, or the client's end of the connection, have come."""
    return bool(_polled(sock, select.POLLIN) & select.POLLIN)


def has_disconnected(sock: socket.socket) -> bool:
    """Whether the client has closed the connection, also where bytes before that are still unread."""
    closed = getattr(select, "POLLRDHUP", 0)  # Linux
    return bool(_polled(sock, closed) & (closed | select.POLLHUP | select.POLLERR))
