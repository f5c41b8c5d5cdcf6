"""The metadata of a body: its length, media type and character set."""

from __future__ import annotations

import json
import re

from rerank_server.errors import BodyTooLarge, EmptyBody, MalformedBody, UnsupportedMedia, WrongContentType

_JSON = re.compile(r"^application/(json|[a-z0-9.+-]+\+json)\s*(;.*)?$", re.IGNORECASE)
_CHARSET = re.compile(r";\s*charset\s*=\s*(?:\"([^\"]*)\"|([^\s;\"]*))", re.IGNORECASE)
_UNICODE = re.compile(r"(utf-?8|utf-?16(-?(le|be))?|utf-?32(-?(le|be))?|us-ascii|ascii)?$", re.IGNORECASE)


def check_length(announced: str | None, limit: int) -> int:
    """The length that Content-Length announces, in bytes; 0 without one. Raises ``BodyTooLarge``."""
    length = int(announced) if announced is not None and re.fullmatch(r"[0-9]{1,19}", announced) else 0
    if length > limit:
        raise too_large(limit)
    return length


def too_large(limit: int) -> BodyTooLarge:
    """The error for a body that has more than ``limit`` bytes after decompression."""
    return BodyTooLarge(
        f"the body is larger than the {limit} bytes that a request may have: "
        "send several requests (the limit is RERANK_MAX_BODY_BYTES)"
    )


def utf8(body: bytes, content_type: str | None) -> bytes:
    """Convert the JSON text of a body to UTF-8, without a byte order mark.

    A missing content type means JSON. UTF-16 and UTF-32 are detected by their byte order mark or by their zero bytes,
    as in ``json.loads``. Raises ``MalformedBody`` for another content type, for an empty body and for one that is not
    valid in its character set, and ``UnsupportedMedia`` for another character set, unless the body is ASCII.
    """
    if content_type and not _JSON.match(content_type.strip()):
        raise WrongContentType(f"the content type is {content_type[:100]!r}: send JSON, as application/json")
    if not body.strip():
        raise EmptyBody("the body is empty: send a JSON object")
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
        raise MalformedBody(f"the body is not JSON: it is not {encoding.upper().removesuffix('-SIG')}") from None
    return body.removeprefix(b"\xef\xbb\xbf")


def _charset(content_type: str | None) -> str:
    found = _CHARSET.search(content_type or "")
    return (found[1] or found[2] or "").strip() if found else ""
