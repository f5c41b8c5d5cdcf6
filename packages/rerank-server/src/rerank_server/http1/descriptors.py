"""The number of connections that the process's limit of open files allows."""

from __future__ import annotations

import resource

MOST_BY_DEFAULT = 4096
_RAISED_TO = 65_536
_RESERVE = 64  # for the model's files, the log, the event loop, and connections that are about to be closed


class TooManyConnections(Exception):
    """More connections are configured than files may be open."""


def connection_limit(wanted: int | None) -> int:
    """The maximum number of open connections.

    Raises the process's soft limit of open files as far as its hard limit allows, and ``TooManyConnections``.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        most = _RAISED_TO if hard == resource.RLIM_INFINITY else min(hard, max(_RAISED_TO, soft))
        if most > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    return limit_for(None if soft == resource.RLIM_INFINITY else soft, wanted)


def limit_for(files: int | None, wanted: int | None) -> int:
    """The maximum number of connections where ``files`` may be open; None is no limit of files."""
    room = None if files is None else files - min(_RESERVE, files // 2)
    if wanted is None:
        return MOST_BY_DEFAULT if room is None else min(MOST_BY_DEFAULT, room)
    if room is not None and wanted > room:
        raise TooManyConnections(
            f"RERANK_MAX_CONNECTIONS is {wanted}, and of the {files} files that this process may open {room} can be "
            "connections: set less, or allow more (ulimit -n)"
        )
    return wanted
