"""What a wire language has to say for itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec import Struct
from rerank_core.errors import RerankError
from rerank_core.types import Scores

from rerank_server.question import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One request's language.

    ``read`` makes a request of a decoded body, or raises ``InvalidRequest``; ``question`` and ``answer`` translate;
    ``error`` says how a failure looks, and ``status`` its HTTP status where that is this language's own.
    """

    read: Callable[[object], Any]
    question: Callable[[Any], Question]
    answer: Callable[[Any, Scores], Struct]
    error: Callable[[RerankError], Struct]
    status: Callable[[RerankError], int | None]
