"""The neutral middle between the wire languages and the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rerank_core.errors import InvalidRequest, TooManyDocuments
from rerank_core.types import Pair, ScoreOptions, Scores

from rerank_server.record import Record
from rerank_server.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may have: documents, characters of a text that may not be cut, bytes of a body.

    ``strict_model``: what the model is called here, beside its own name, where another one is refused.
    """

    max_documents: int
    max_text_chars: int
    max_body_bytes: int
    strict_model: str | None = None


class UnknownModel(InvalidRequest):
    """A model that does not run here, where any name will not do."""

    code = "unknown_model"


@dataclass(frozen=True, slots=True)
class Question:
    """The pairs to score, how, and by which model, where that was said."""

    pairs: list[Pair]
    options: ScoreOptions
    model: str | None = None


async def ask(service: Service, question: Question, limits: Limits, *, seconds: float, record: Record) -> Scores:
    """Check the question's size and have it answered within so many seconds. Raises as ``Service.score_pairs``."""
    record.pairs = len(question.pairs)
    record.characters = sum(len(pair.query) + len(pair.document) for pair in question.pairs)
    info = service.model.info
    if limits.strict_model and question.model not in (None, "", info.name, info.title, limits.strict_model):
        raise UnknownModel(f"the model {question.model[:200]!r} does not run here: ask for {info.name!r}, or name none")
    if len(question.pairs) > limits.max_documents:
        raise TooManyDocuments(
            f"the request has {len(question.pairs)} documents, a request may have {limits.max_documents}: "
            "send several requests (the limit is RERANK_MAX_DOCUMENTS)"
        )
    if not question.options.truncate:
        _check_lengths(question.pairs, limits.max_text_chars)
    return await service.score_pairs(question.pairs, question.options, seconds=seconds, record=record)


def _check_lengths(pairs: Sequence[Pair], most: int) -> None:
    """Raises ``InvalidRequest`` for a text that has to be read whole and is too long for that."""
    for index, pair in enumerate(pairs):
        for text, name in ((pair.query, "the query"), (pair.document, f"document {index}")):
            if len(text) > most:
                raise InvalidRequest(
                    f"{name} has {len(text)} characters, a text that may not be cut may have {most}: "
                    "shorten it, or send truncate=true (the limit is RERANK_MAX_TEXT_CHARS)"
                )
