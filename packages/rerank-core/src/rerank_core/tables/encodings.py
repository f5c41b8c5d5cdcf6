"""Bytes of text files as text: UTF-8, or what a byte order mark says."""

from __future__ import annotations

import codecs

from rerank_core.errors import InvalidRequest

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def encoding_of(head: bytes) -> str:
    """Return the encoding that a byte order mark says, or UTF-8."""
    return next((encoding for mark, encoding in _MARKS.items() if head.startswith(mark)), "utf-8")


def decode_head(head: bytes) -> str:
    """Decode the beginning of a file; what is cut off or wrong becomes a replacement character."""
    return head.decode(encoding_of(head), "replace")


def decode(content: bytes, name: str) -> str:
    """Decode a whole file, without its byte order mark. Raises ``InvalidRequest`` naming the byte that is wrong."""
    # The codec for UTF-8 with a mark would count the places of errors from behind the mark.
    encoding = encoding_of(content).removesuffix("-sig")
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise wrong_encoding(
            f"{name} is not {encoding.upper()}: byte {error.start} is 0x{content[error.start]:02x}"
        ) from None


def wrong_encoding(complaint: str) -> InvalidRequest:
    """The error for bytes that are not of the encoding, with the way out."""
    return InvalidRequest(
        f"{complaint}; save the file as UTF-8 (Excel: 'CSV UTF-8'), or convert it, for example with "
        "iconv -f cp1252 -t utf-8"
    )
