"""What a request's body says about itself: its length, media type, character set; and the errors of bodies."""

from __future__ import annotations

import json
import re

from rerank_core.errors import InvalidRequest

_JSON = re.compile(r"^application/(json|[a-z0-9.+-]+\+json)\s*(;.*)?$", re.IGNORECASE)
_CHARSET = re.compile(r";\s*charset\s*=\s*(?:\"([^\"]*)\"|([^\s;\"]*))", re.IGNORECASE)
_UNICODE = re.compile(r"(utf-?8|utf-?16(-?(le|be))?|utf-?32(-?(le|be))?|us-ascii|ascii)?$", re.IGNORECASE)


class MalformedBody(InvalidRequest):
    """A body that is not JSON at all. ``kind`` says in which way, in the words of the replaced service."""

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class AmbiguousBody(InvalidRequest):
    """A body in two languages at once, or in one that is spoken elsewhere."""


class InvalidHeader(InvalidRequest):
    """A header that says what cannot be."""


class WrongCompression(InvalidHeader):
    """A body that is not what its Content-Encoding says, or only a part of it."""


class UnsupportedMedia(InvalidHeader):
    """A body in a character set that is not read here."""

    code = "unsupported_media_type"


class UnsupportedCoding(UnsupportedMedia):
    """A Content-Encoding that is not read here."""


class ForeignOrigin(InvalidHeader):
    """A request of a page whose origin is not among those that may call the server."""

    code = "foreign_origin"


class BodyTooLarge(InvalidRequest):
    """More bytes than a request may have."""


def check_length(announced: str | None, limit: int) -> int:
    """The bytes that a Content-Length announces, 0 without one. Raises ``BodyTooLarge``."""
    length = int(announced) if announced is not None and re.fullmatch(r"[0-9]{1,19}", announced) else 0
    if length > limit:
        raise too_large(limit)
    return length


def too_large(limit: int) -> BodyTooLarge:
    """The error of a body with more bytes than ``limit``, which counts them after decompression."""
    return BodyTooLarge(
        f"the body is larger than the {limit} bytes that a request may have: "
        "send several requests (the limit is RERANK_MAX_BODY_BYTES)"
    )


def utf8(body: bytes, content_type: str | None) -> bytes:
    """The JSON text of a body in UTF-8, without a byte order mark.

    A missing content type is taken for JSON. UTF-16 and UTF-32 are told by their byte order mark or by their zero
    bytes, as ``json.loads`` does. Raises ``MalformedBody`` for another content type, for an empty body and for what is
    not valid in its character set, and ``UnsupportedMedia`` for another character set, unless the body is ASCII.
    """
    if content_type and not _JSON.match(content_type.strip()):
        raise MalformedBody(
            f"the content type is {content_type[:100]!r}: send JSON, as application/json", kind="content_type"
        )
    if not body.strip():
        raise MalformedBody("the body is empty: send a JSON object", kind="missing")
    charset = _charset(content_type)
    if not _UNICODE.match(charset) and not body.isascii():
        raise UnsupportedMedia(f"the charset of the content type is {charset[:50]!r}: send the JSON in UTF-8")
    encoding = json.detect_encoding(body)
    try:
        if encoding not in ("utf-8", "utf-8-sig"):
            # Of UTF-16 and UTF-32 the codec takes a mark away where it chooses the byte order itself.
            return body.decode(encoding).removeprefix("\ufeff").encode()
        if not body.isascii():
            body.decode()
    except UnicodeError:
        raise MalformedBody(
            f"the body is not JSON: it is not {encoding.upper().removesuffix('-SIG')}", kind="json_invalid"
        ) from None
    return body.removeprefix(b"\xef\xbb\xbf")


def _charset(content_type: str | None) -> str:
    found = _CHARSET.search(content_type or "")
    return (found[1] or found[2] or "").strip() if found else ""
