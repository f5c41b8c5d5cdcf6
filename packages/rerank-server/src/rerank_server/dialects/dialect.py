"""What a wire language has to say for itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct
from rerank_core.errors import RerankError
from rerank_core.types import Scores

from rerank_server.question import Question


def no_status(_: RerankError) -> int | None:
    """For a language whose statuses are those of ``statuses.py``."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One request's language.

    ``read`` makes a request of a decoded body, and ``question`` a question of that; both raise ``InvalidRequest``;
    ``answer`` translates back;
    ``error`` says how a failure looks, and ``status`` its HTTP status where that is this language's own.

    The rest is for the OpenAPI document: ``name`` and ``summary``; the Structs of a request, an answer and of errors
    by status, where ``statuses`` has those that are this language's own; ``example``, a body, and ``answered``, what
    comes of it.
    """

    name: str
    summary: str
    read: Callable[[object], Any]
    question: Callable[[Any], Question]
    answer: Callable[[Any, Scores], Any]
    error: Callable[[RerankError], Struct]
    status: Callable[[RerankError], int | None] = no_status
    request: type[Struct]
    response: Any
    errors: tuple[type[Struct], ...]
    statuses: Mapping[int, str] = field(default_factory=dict)
    example: Mapping[str, Any]
    answered: Any
