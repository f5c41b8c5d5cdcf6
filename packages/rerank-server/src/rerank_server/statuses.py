"""What went wrong → HTTP status, where a dialect does not say otherwise. The only file with both words."""

from rerank_core.errors import RerankError

_STATUSES = {
    "invalid_request": 400,
    "input_too_long": 400,
    "too_many_documents": 413,
    "overloaded": 429,
    "unavailable": 503,
    "deadline_exceeded": 504,
}


def status_of(error: RerankError) -> int:
    """The status of an error; 500 for what is not the caller's to change."""
    return _STATUSES.get(error.code, 500)
