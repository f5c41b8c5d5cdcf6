"""The errors of the server, as one tree: the second half of ``rerank_core.errors``.

    InvalidRequest                   code
    ├── BodyTooLarge                 body_too_large          more bytes than a request may have
    ├── MalformedBody                malformed_body          the body is not JSON
    │   ├── EmptyBody                empty_body              there is no body
    │   └── WrongContentType         wrong_content_type      its content type is not that of JSON
    ├── TooManyValues                too_many_values         more JSON values than a request may have
    ├── AmbiguousBody                ambiguous_body          its fields are those of two dialects, or of another path
    ├── InvalidFields                invalid_fields          several fields are wrong, each with a reason
    ├── WrongField                   wrong_field             a field is missing, of the wrong type, or out of range
    │   └── NoDocuments              no_documents            a list of documents is empty
    ├── InvalidHeader                invalid_header          a header has an impossible value
    │   ├── WrongCompression         wrong_compression       the body does not have its Content-Encoding
    │   ├── UnsupportedMedia         unsupported_media_type  a character set that is not supported
    │   │   └── UnsupportedCoding    unsupported_coding      a Content-Encoding that is not supported
    │   └── ForeignOrigin            foreign_origin          a page of an origin that may not call the server
    ├── NotFound                     not_found               there is nothing at the path
    └── MethodNotAllowed             method_not_allowed      the path does not take the method

``STATUS`` has the HTTP status of a code, and a dialect may override it; a code that is in neither has the status of the
class above it. Clients, logs and metrics see the codes of ``PUBLIC_CODES`` only: an error with another code has there
the code of the class above it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rerank_core.errors import InvalidRequest, RerankError

Value = TypeVar("Value")

# The fields of a request that are options of core which depend on the model.
_FIELDS = {"instruction": "instruction", "max_length": "truncate_prompt_tokens"}

STATUS: Mapping[str, int] = {
    "rerank_error": 500,
    "invalid_request": 400,
    "ambiguous_body": 400,
    "invalid_header": 400,
    "unauthorized": 401,
    "foreign_origin": 403,
    "not_found": 404,
    "unknown_model": 404,
    "method_not_allowed": 405,
    "body_too_large": 413,
    "too_many_documents": 413,
    "unsupported_media_type": 415,
    "overloaded": 429,
    "unavailable": 503,
    "deadline_exceeded": 504,
}

PUBLIC_CODES = frozenset(
    {"invalid_request", "input_too_long", "too_many_documents", "body_too_large", "unknown_model"}
    | {"unauthorized", "foreign_origin", "not_found", "method_not_allowed", "unsupported_media_type"}
    | {"overloaded", "unavailable", "deadline_exceeded"}
    | {"model_error", "checkpoint_error", "engine_error", "device_error", "missing_extra", "rerank_error"}
)


class BodyTooLarge(InvalidRequest):
    """The body has more bytes than a request may have."""

    code = "body_too_large"


class MalformedBody(InvalidRequest):
    """The body is not JSON."""

    code = "malformed_body"


class EmptyBody(MalformedBody):
    """The request has no body."""

    code = "empty_body"


class WrongContentType(MalformedBody):
    """The content type is not that of JSON."""

    code = "wrong_content_type"


class TooManyValues(InvalidRequest):
    """The body has more JSON values than a request may have."""

    code = "too_many_values"


class AmbiguousBody(InvalidRequest):
    """The body has fields of two dialects, or of a dialect that has another path."""

    code = "ambiguous_body"


@dataclass(frozen=True, slots=True)
class InvalidField:
    """A wrong field: its place in the body, the reason, and the kind of error in pydantic's words."""

    path: tuple[str | int, ...]
    reason: str
    kind: str


class InvalidFields(InvalidRequest):
    """Several fields of the body are wrong."""

    code = "invalid_fields"

    def __init__(self, fields: Sequence[InvalidField]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, field.path))}: {field.reason}" for field in fields))
        self.fields = fields


class WrongField(InvalidRequest):
    """A field is missing, of the wrong type, or out of range. ``field`` is its name, None for the whole body."""

    code = "wrong_field"

    def __init__(self, message: str, *, field: str | None) -> None:
        super().__init__(message)
        self.field = field


class NoDocuments(WrongField):
    """A list of documents is empty."""

    code = "no_documents"


class InvalidHeader(InvalidRequest):
    """A header has an impossible value."""

    code = "invalid_header"


class WrongCompression(InvalidHeader):
    """The body does not have its Content-Encoding, or is only a part of it."""

    code = "wrong_compression"


class UnsupportedMedia(InvalidHeader):
    """The body is in a character set that is not supported."""

    code = "unsupported_media_type"


class UnsupportedCoding(UnsupportedMedia):
    """The body has a Content-Encoding that is not supported."""

    code = "unsupported_coding"


class ForeignOrigin(InvalidHeader):
    """The request comes from a page whose origin may not call the server."""

    code = "foreign_origin"


class NotFound(InvalidRequest):
    """There is nothing at this path."""

    code = "not_found"


class MethodNotAllowed(InvalidRequest):
    """The path does not take this method."""

    code = "method_not_allowed"


def by_code(error: RerankError, table: Mapping[str, Value], default: Value) -> Value:
    """The entry of the error's code, or of the nearest class above it whose code has one."""
    return next((table[code] for code in _codes(error) if code in table), default)


def status_of(error: RerankError, overrides: Mapping[str, int] | None = None) -> int:
    """The HTTP status of an error; ``overrides`` are the statuses of a dialect, by code."""
    return by_code(error, {**STATUS, **(overrides or {})}, 500)


def public_code(error: RerankError) -> str:
    """The code that clients, logs and metrics see."""
    return next(code for code in _codes(error) if code in PUBLIC_CODES)


def field_of(error: RerankError) -> str | None:
    """The field that is wrong, where it is one."""
    if isinstance(error, WrongField):
        return error.field
    return _FIELDS.get(error.option or "") if isinstance(error, InvalidRequest) else None


def _codes(error: RerankError) -> list[str]:
    """The code of the error's class, and those of the classes above it."""
    return [class_.code for class_ in type(error).__mro__ if issubclass(class_, RerankError)]
