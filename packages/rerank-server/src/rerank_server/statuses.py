"""What went wrong → HTTP status. The only file with both words."""

from rerank_core.errors import RerankError

from rerank_server.body import BodyTooLarge

# The same in every language.
_OURS = {
    "unauthorized": 401,
    "not_found": 404,
    "method_not_allowed": 405,
    "foreign_origin": 403,
    "unsupported_media_type": 415,
    "overloaded": 429,
    "unavailable": 503,
    "deadline_exceeded": 504,
}
# Where a language does not say otherwise.
_DEFAULTS = {
    "invalid_request": 400,
    "input_too_long": 400,
    "too_many_documents": 413,
    "unknown_model": 404,
}


def status_of(error: RerankError, own: int | None = None) -> int:
    """The status of an error; ``own`` is what its language says. 500 for what is not the caller's to change."""
    if isinstance(error, BodyTooLarge):
        return 413
    return _OURS.get(error.code) or own or _DEFAULTS.get(error.code, 500)
