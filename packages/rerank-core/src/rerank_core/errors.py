"""The errors of rerank, as one tree.

    RerankError                      code
    ├── InvalidRequest               invalid_request       the caller must change the request (also ValueError)
    │   ├── Unauthorized             unauthorized          its key is missing or wrong
    │   ├── InputTooLong             input_too_long        more tokens than the model reads, and truncation was refused
    │   ├── TooManyDocuments         too_many_documents    more than can ever be scored in one request
    │   └── UnknownModel             unknown_model         it asks for a model that is not loaded here
    ├── Unavailable                  unavailable           the same request may succeed later
    │   ├── Overloaded               overloaded            no room for it now
    │   └── DeadlineExceeded         deadline_exceeded     its time ran out
    ├── ModelError                   model_error           this model cannot answer
    │   ├── CheckpointError          checkpoint_error      the files do not make a model we can run
    │   └── EngineError              engine_error          the forward pass failed, or a score was not finite
    │       ├── OutOfMemory          out_of_memory         a smaller batch may go through
    │       └── DeviceError          device_error          the device will not compute again in this process
    └── MissingExtra                 missing_extra         an optional library is not installed (also ImportError)

The class says whose turn it is: the caller's, time's, or ours. ``code`` is the same word on every road, also on the
wire. Messages carry the numbers and the way out, and never any text of a query or a document.
"""

from typing import ClassVar


class RerankError(Exception):
    """The root of the tree."""

    code: ClassVar[str] = "rerank_error"


class InvalidRequest(RerankError, ValueError):
    """The caller must change the request.

    ``option``: the field of ``ScoreOptions`` that is wrong, where it is one.
    """

    code = "invalid_request"

    def __init__(self, message: str, *, option: str | None = None) -> None:
        super().__init__(message)
        self.option = option


class Unauthorized(InvalidRequest):
    """The request's API key is missing, or is none that the server knows."""

    code = "unauthorized"


class InputTooLong(InvalidRequest):
    """A text has more tokens than the model reads, and truncation was refused."""

    code = "input_too_long"


class TooManyDocuments(InvalidRequest):
    """There are more documents than one request can ever hold."""

    code = "too_many_documents"


class UnknownModel(InvalidRequest):
    """The request asks for a model that is not loaded here."""

    code = "unknown_model"


class Unavailable(RerankError):
    """The same request may succeed later.

    ``retry_after``: seconds to wait before the next attempt, where known.
    """

    code = "unavailable"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(Unavailable):
    """There is no room for this request now."""

    code = "overloaded"


class DeadlineExceeded(Unavailable):
    """The request's time ran out before it was answered."""

    code = "deadline_exceeded"


class ModelError(RerankError):
    """The model cannot answer."""

    code = "model_error"


class CheckpointError(ModelError):
    """The files do not make a model that can be run here."""

    code = "checkpoint_error"


class EngineError(ModelError):
    """The forward pass failed, or a score was not a finite number."""

    code = "engine_error"


class OutOfMemory(EngineError):
    """A batch needed more memory than there is; a smaller one may go through."""

    code = "out_of_memory"


class DeviceError(EngineError):
    """The device is in an error state that only a new process gets out of."""

    code = "device_error"


class MissingExtra(RerankError, ImportError):
    """An optional library is not installed."""

    code = "missing_extra"

    @classmethod
    def needs(cls, reason: str, package: str) -> "MissingExtra":
        """The error for a reason, with the package or extra that brings what is missing."""
        return cls(f"{reason}: install {package} (docs/install.md has the command)")


def error_class(code: str) -> type[RerankError] | None:
    """Return the class of this tree with this ``code``; None where there is none.

    Classes that another package derives are not found: what a code means does not depend on what is imported.
    """
    waiting: list[type[RerankError]] = [RerankError]
    while waiting:
        candidate = waiting.pop()
        if candidate.code == code:
            return candidate
        waiting.extend(child for child in candidate.__subclasses__() if child.__module__ == __name__)
    return None
