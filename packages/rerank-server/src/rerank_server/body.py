"""From a request's bytes to JSON values."""

from __future__ import annotations

import re

import msgspec
from rerank_core.errors import InvalidRequest

_JSON = re.compile(r"^application/(json|[a-z0-9.+-]+\+json)\s*(;.*)?$", re.IGNORECASE)


class MalformedBody(InvalidRequest):
    """A body that is not JSON at all. ``kind`` says in which way, in the words of the replaced service."""

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class AmbiguousBody(InvalidRequest):
    """A body in two languages at once, or in one that is spoken elsewhere."""


class InvalidHeader(InvalidRequest):
    """A header that says what cannot be."""


class BodyTooLarge(InvalidRequest):
    """More bytes than a request may have."""


def read_json(body: bytes, content_type: str | None) -> object:
    """Decode a body; of duplicate keys the last one wins. A missing content type is taken for JSON.

    Raises ``MalformedBody`` for another content type, and for anything that is not one JSON value in UTF-8.
    """
    if content_type and not _JSON.match(content_type.strip()):
        raise MalformedBody(
            f"the content type is {content_type[:100]!r}: send JSON, as application/json", kind="content_type"
        )
    if not body.strip():
        raise MalformedBody("the body is empty: send a JSON object", kind="missing")
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise MalformedBody("the JSON is nested too deeply", kind="json_invalid") from None
    except ValueError as error:  # msgspec's own, invalid UTF-8, numbers beyond every limit
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise MalformedBody(f"the body is not JSON: {reason}", kind="json_invalid") from None
