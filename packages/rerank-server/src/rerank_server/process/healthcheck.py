"""The health check of a container: it asks the server of this machine whether it is ready, without curl."""

from __future__ import annotations

import http.client
import socket

from rerank_server.settings import Settings

_TIMEOUT = 5.0  # seconds
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # address to listen on, and address to ask


def is_ready(settings: Settings) -> tuple[bool, str]:
    """Whether ``/readyz`` answers 200, and its answer."""
    try:
        status, answer = _request(settings)
    except OSError as error:
        return False, f"no answer: {error}"
    except http.client.HTTPException as error:
        return False, f"no HTTP: {type(error).__name__}"
    return status == 200, f"{status} {answer}"


def _request(settings: Settings) -> tuple[int, str]:
    connection = http.client.HTTPConnection(_EVERYWHERE.get(settings.host, settings.host), settings.port, _TIMEOUT)
    try:
        if settings.uds is not None:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(_TIMEOUT)
            connection.sock.connect(settings.uds)
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()
