"""Fail open: a search goes on without its reranker."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from rerank_core.errors import InvalidRequest, RerankError, Unauthorized
from rerank_core.forking import PerProcess

from rerank_integrations.adapters.circuit import Circuit
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
    """Lets errors pass, logs the first of several in a row, and leaves a scorer that fails alone for some seconds.

    Threads may share one. ``now`` is a clock in seconds.
    """

    now: Callable[[], float] = time.monotonic
    _circuits: PerProcess[Circuit] = field(default_factory=lambda: PerProcess(Circuit), compare=False)
    # An item while the next failure is to be logged: taking and putting it back are atomic, and a deque is no lock.
    _unlogged: deque[None] = field(default_factory=lambda: deque([None], maxlen=1))

    def __reduce__(self) -> tuple[type[FailOpen], tuple[()]]:
        """Pickled without its state: a copy elsewhere learns of an outage by its own first failure, and logs it."""
        return FailOpen, ()

    @contextmanager
    def attempt(self, on_error: OnError) -> Iterator[None]:
        """Call the scorer in the block.

        Raises ``Unavailable`` instead where errors may pass and the scorer failed a moment ago.
        """
        if on_error == "raise":
            yield
            return
        circuit = self._circuits.get()
        with circuit.call(self.now()):
            try:
                yield
            except RerankError as error:
                circuit.failed(error, self.now())
                raise
            circuit.succeeded()
            self._unlogged.append(None)

    def accept(self, error: RerankError, on_error: OnError, log: logging.Logger) -> None:
        """Go on without scores, or raise ``error``."""
        if on_error == "raise" or not may_pass(error):
            raise error
        try:
            self._unlogged.pop()
        except IndexError:
            return
        log.warning("reranking failed, and until it works again the retriever's own order is used: %s", error)
