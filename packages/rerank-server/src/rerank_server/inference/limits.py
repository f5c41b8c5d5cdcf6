"""The limits of a request, and whether it keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rerank_core.errors import InvalidRequest, TooManyDocuments, UnknownModel
from rerank_core.inputs import check_instruction
from rerank_core.text.truncation import length_read
from rerank_core.types import ModelInfo, Pair, ScoreOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most of a request: documents, characters of a text that may not be truncated, bytes of the body.

    ``strict_model``: the configured name of the model, where a request for another one is refused; None accepts any.
    """

    max_documents: int
    max_text_chars: int
    max_body_bytes: int
    strict_model: str | None = None

    def check(self, pairs: Sequence[Pair], options: ScoreOptions, model: str | None, info: ModelInfo) -> None:
        """Check a request for ``model`` where ``info`` is the model that is loaded.

        Raises ``UnknownModel``, ``TooManyDocuments``, and ``InvalidRequest`` for a text that is too long, an
        instruction that the model does not take, or more tokens at once than it reads.
        """
        self.check_model(model, info)
        self.check_count(len(pairs))
        length_read(info.max_length, options)
        self._check_instruction(options, info)
        if not options.truncate:
            self._check_lengths(pairs)

    def check_model(self, model: str | None, info: ModelInfo) -> None:
        """Raises ``UnknownModel``."""
        if self.strict_model and model not in (None, "", info.name, info.title, self.strict_model):
            raise UnknownModel(f"the model {model[:200]!r} does not run here: ask for {info.name!r}, or name none")

    def check_count(self, documents: int) -> None:
        """Raises ``TooManyDocuments``."""
        if documents > self.max_documents:
            raise TooManyDocuments(
                f"the request has {documents} documents, a request may have {self.max_documents}: "
                "send several requests (the limit is RERANK_MAX_DOCUMENTS)"
            )

    def _check_instruction(self, options: ScoreOptions, info: ModelInfo) -> None:
        check_instruction(options, info)
        length = len(options.instruction or "")
        if length > self.max_text_chars:
            raise InvalidRequest(
                f"the instruction has {length} characters, it may have {self.max_text_chars}: shorten it (the limit "
                "is RERANK_MAX_TEXT_CHARS)",
                option="instruction",
            )

    def _check_lengths(self, pairs: Sequence[Pair]) -> None:
        most = self.max_text_chars
        for index, pair in enumerate(pairs):
            for text, name in ((pair.query, "the query"), (pair.document, f"document {index}")):
                if len(text) > most:
                    raise InvalidRequest(
                        f"{name} has {len(text)} characters, a text that may not be cut may have {most}: "
                        "shorten it, or send truncate=true (the limit is RERANK_MAX_TEXT_CHARS)"
                    )
