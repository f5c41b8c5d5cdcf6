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
    files = raised_limit(soft, hard)
    if files != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return limit_for(None if files == resource.RLIM_INFINITY else files, wanted)


def raised_limit(soft: int, hard: int) -> int:
    """The soft limit of open files that the server sets: it lowers none, and the hard limit may not be exceeded."""
    if soft == resource.RLIM_INFINITY:
        return soft
    return max(soft, _RAISED_TO if hard == resource.RLIM_INFINITY else min(hard, _RAISED_TO))


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
