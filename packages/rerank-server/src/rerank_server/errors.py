"""Errors of the server itself: requests that no route takes."""

from rerank_core.errors import InvalidRequest


class NotFound(InvalidRequest):
    """There is nothing at this path."""

    code = "not_found"


class MethodNotAllowed(InvalidRequest):
    """There is something at this path, but not for this method."""

    code = "method_not_allowed"
