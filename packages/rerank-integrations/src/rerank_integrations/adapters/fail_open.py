"""Fail open: a search goes on without its reranker."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from rerank_core.errors import InvalidRequest, RerankError, Unauthorized

from rerank_integrations.http.environment import UnusableEnvironment
from rerank_integrations.http.protocol import NotARerankServer

OnError: TypeAlias = Literal["raise", "passthrough"]
MARK = "rerank_error"  # in the metadata of what was not reranked


def may_pass(error: RerankError) -> bool:
    """Return whether a search can do without the reranker: unless the caller must change the request.

    A wrong key, an address that leads elsewhere and an environment that cannot be used are no faults of the request.
    """
    return not isinstance(error, InvalidRequest) or isinstance(
        error, Unauthorized | NotARerankServer | UnusableEnvironment
    )


@dataclass(slots=True)
class FailOpen:
    """Lets errors pass, and logs the first of several in a row. Threads may share one, and it can be pickled."""

    # An item while the next failure is to be logged: taking and putting it back are atomic, and a deque is no lock.
    _unlogged: deque[None] = field(default_factory=lambda: deque([None], maxlen=1))

    def __reduce__(self) -> tuple[type[FailOpen], tuple[()]]:
        """Pickled without its state: a copy elsewhere logs its own first failure."""
        return FailOpen, ()

    def accept(self, error: RerankError, on_error: OnError, log: logging.Logger) -> None:
        """Go on without scores, or raise ``error``."""
        if on_error == "raise" or not may_pass(error):
            raise error
        try:
            self._unlogged.pop()
        except IndexError:
            return
        log.warning("reranking failed, and until it works again the retriever's own order is used: %s", error)

    def recovered(self) -> None:
        """Note a success: the next failure is logged."""
        self._unlogged.append(None)
