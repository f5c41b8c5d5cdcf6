"""The interface of a dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct
from rerank_core.errors import RerankError
from rerank_core.types import Scores

from rerank_server.dialects.request import ScoreRequest
from rerank_server.errors import WrongField, status_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The identifier of a response (a UUID), and its time in seconds since 1970."""

    id: str
    created: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The API of one vendor, as pure functions.

    - ``read``: a decoded body → the dialect's own request. Raises ``InvalidRequest``.
    - ``score_request``: that → the request that is scored. Raises ``InvalidRequest``.
    - ``answer``: the dialect's request and its scores → the body of the response.
    - ``error``: an error → the body of the response.
    - ``has_sentences``: whether a response has a field for the sentences that ``highlight`` asks for.
    - ``statuses``: HTTP statuses by the code of an error, where they differ from ``errors.STATUS``.
    - ``model_owner``: the owner in the list of models below the dialect's prefix. Some clients know one name only.

    The rest is for the OpenAPI document: ``name`` and ``summary``; the Structs of a request, a response and of errors;
    ``error_descriptions``, by status, of the statuses that depend on the dialect; ``example``, a body, and
    ``answered``, the response to it.
    """

    name: str
    summary: str
    read: Callable[[object], Any]
    score_request: Callable[[Any], ScoreRequest]
    answer: Callable[[Any, Scores, Reply], Any]
    error: Callable[[RerankError, Reply], Struct]
    has_sentences: bool = True
    statuses: Mapping[str, int] = field(default_factory=dict)
    model_owner: str = "rerank"
    request: type[Struct]
    response: Any
    errors: tuple[type[Struct], ...]
    error_descriptions: Mapping[int, str] = field(default_factory=dict)
    example: Mapping[str, Any]
    answered: Any

    def to_score_request(self, request: Any) -> ScoreRequest:
        """Translate the dialect's own request. Raises ``InvalidRequest``."""
        found = self.score_request(request)
        if found.options.highlight is not None and not self.has_sentences:
            raise WrongField("highlight is not a field of this API: use it at /v1/rerank", field="highlight")
        return found

    def status_of(self, error: RerankError) -> int:
        """The HTTP status of an error."""
        return status_of(error, self.statuses)
