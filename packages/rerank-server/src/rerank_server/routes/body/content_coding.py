"""Decompression of request bodies (Content-Encoding), in chunks and up to a limit."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from rerank_server.errors import UnsupportedCoding, WrongCompression
from rerank_server.routes.body.metadata import too_large

ACCEPTED = "gzip, deflate"
_MOST_CODINGS = 3
_STEP = 256 * 1024  # bytes that are decompressed at once: below a millisecond
_GZIP = 16 + zlib.MAX_WBITS


def decoder(content_encoding: str, limit: int) -> Decoder:
    """Make the decoder for a value of Content-Encoding, which lists the codings in the order they were applied.

    Raises ``UnsupportedCoding``, which names the coding.
    """
    codings = [coding.strip().lower() for coding in content_encoding.split(",")]
    codings = [coding.removeprefix("x-") if coding == "x-gzip" else coding for coding in codings]
    codings = [coding for coding in codings if coding not in ("", "identity")]
    for coding in codings:
        if coding not in ("gzip", "deflate"):
            raise UnsupportedCoding(
                f"the Content-Encoding is {coding[:50]!r}: send the body as it is, or compressed as gzip or deflate"
            )
    if len(codings) > _MOST_CODINGS:
        raise UnsupportedCoding(
            f"the Content-Encoding has {len(codings)} codings: use at most {_MOST_CODINGS}, of gzip and deflate"
        )
    return Decoder([_Inflate(coding, limit) for coding in reversed(codings)])


class Decoder:
    """Undoes all codings of a body. Without any, the bytes are unchanged."""

    def __init__(self, stages: list[_Inflate]) -> None:
        self._stages = stages

    @property
    def is_identity(self) -> bool:
        """Whether the body has no coding."""
        return not self._stages

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode the next bytes of the body, in chunks of bounded size.

        Raises ``WrongCompression``, and ``BodyTooLarge`` as soon as the output of a coding is above the limit.
        """
        pieces: Iterator[bytes] = iter((data,))
        for stage in self._stages:
            pieces = stage.inflated(pieces)
        return pieces

    def finish(self) -> None:
        """Check that the body was complete. Raises ``WrongCompression``."""
        for stage in self._stages:
            stage.finish()


class _Inflate:
    """One coding. A gzip body may have several members; a deflate body is in zlib's format, or raw as some send it."""

    def __init__(self, coding: str, limit: int) -> None:
        self._coding = coding
        self._limit = limit
        self._size = 0
        self._head = b""  # of a deflate body, until its format is known
        self._stream = zlib.decompressobj(_GZIP) if coding == "gzip" else None
        self._begun = False

    def inflated(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            yield from self._inflate(piece)

    def finish(self) -> None:
        if self._begun and (self._stream is None or not self._stream.eof):
            raise WrongCompression(f"the body ends within its {self._coding} data: send all of it")

    def _inflate(self, data: bytes) -> Iterator[bytes]:
        full = False  # whether the stream may hold more than it gave
        while data or full:
            self._begun = True
            stream, data = self._stream_for(data)
            if stream is None:
                return
            try:
                found = stream.decompress(data, _STEP)
            except zlib.error:
                raise WrongCompression(
                    f"the body is not {self._coding}, or broken: its Content-Encoding says {self._coding}"
                ) from None
            full = len(found) == _STEP and not stream.eof
            data = stream.unused_data if stream.eof else stream.unconsumed_tail
            self._size += len(found)
            if self._size > self._limit:
                raise too_large(self._limit)
            yield found

    def _stream_for(self, data: bytes) -> tuple[zlib._Decompress | None, bytes]:
        """The stream for the next bytes, and these bytes. None while too few bytes have come to detect the format."""
        if self._stream is None:
            self._head += data
            if len(self._head) < 2:
                return None, b""
            data = self._head
            is_zlib = data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        elif self._stream.eof:
            if self._coding != "gzip":
                raise WrongCompression(f"there are bytes behind the {self._coding} data of the body: leave them out")
            data = data.lstrip(b"\0")  # padding, which gzip itself passes over
            if data:
                self._stream = zlib.decompressobj(_GZIP)
        return self._stream, data
