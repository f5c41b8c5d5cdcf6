"""What becomes of a search whose reranker fails."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from rerank_core.errors import InvalidRequest, RerankError, Unauthorized

from rerank_integrations.http.environment import UnusableEnvironment
from rerank_integrations.http.protocol import Misdirected

OnError: TypeAlias = Literal["raise", "passthrough"]
MARK = "rerank_error"  # in the metadata of what was not reranked


def may_pass(error: RerankError) -> bool:
    """Whether a search can do without the reranker: unless the caller must change the request.

    A key that is not taken, an address that leads elsewhere and an environment that cannot be used are no faults of the
    request.
    """
    return not isinstance(error, InvalidRequest) or isinstance(error, Unauthorized | Misdirected | UnusableEnvironment)


@dataclass(slots=True)
class Outage:
    """Tells the first failure of several, until a success comes. Threads may share one, and it can be pickled."""

    # What is still to be told, at most one: taking and putting it back are atomic, and a deque is no lock.
    _untold: deque[None] = field(default_factory=lambda: deque([None], maxlen=1))

    def __reduce__(self) -> tuple[type[Outage], tuple[()]]:
        """Pickled as one that knows of nothing yet: a copy elsewhere tells its own failures."""
        return Outage, ()

    def accept(self, error: RerankError, on_error: OnError, log: logging.Logger) -> None:
        """Go on without scores, or raise ``error``."""
        if on_error == "raise" or not may_pass(error):
            raise error
        try:
            self._untold.pop()
        except IndexError:
            return
        log.warning("reranking failed, and until it works again the retriever's own order is used: %s", error)

    def is_over(self) -> None:
        """It works."""
        self._untold.append(None)
