"""The head of an HTTP request, and which heads RFC 9112 tells a server to refuse."""

from __future__ import annotations

import re
from dataclasses import dataclass

# RFC 3986, section 3.2.2: a name, an IPv4 address, or an IPv6 address in brackets; then a port.
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+(%25[\w.~-]+)?\]|([\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(:\d{0,5})?")


class RequestError(Exception):
    """A request that cannot be read: the status of the answer, and a message for the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Request line and header fields, names in lower case. ``keep_alive``: whether another request may follow."""

    method: str
    target: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    keep_alive: bool

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header field."""
        return [value for key, value in self.headers if key == name]

    @property
    def content_length(self) -> int | None:
        """The announced length of the body in bytes; None for a chunked body, and where there is no body."""
        lengths = self.values(b"content-length")
        return int(lengths[0]) if lengths else None

    @property
    def has_body(self) -> bool:
        """Whether a body follows."""
        return bool(self.content_length or self.values(b"transfer-encoding"))

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for ``100 Continue`` before it sends the body."""
        return self.version == "1.1" and self.has_body and b"100-continue" in map(bytes.lower, self.values(b"expect"))


def check_head(head: Head) -> None:
    """Raise ``RequestError`` for a head that the parser accepts, and the standard does not."""
    if head.version not in {"1.0", "1.1"}:
        raise RequestError(400, f"this server speaks HTTP/1.1 and HTTP/1.0, not HTTP/{head.version}")
    if head.method == "CONNECT":
        raise RequestError(400, "CONNECT is for proxies, and this is none")
    hosts = head.values(b"host")
    if len(hosts) > 1 or (not hosts and head.version == "1.1"):
        raise RequestError(400, f"the request has {len(hosts)} Host headers: send one")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise RequestError(
            400, "the Host header is malformed: send a name or an address, and a port, like example:8000"
        )
    codings = head.values(b"transfer-encoding")
    if codings and head.version == "1.0":
        raise RequestError(400, "HTTP/1.0 has no Transfer-Encoding: send a Content-Length")
    if codings and [coding.lower() for coding in codings] != [b"chunked"]:
        raise RequestError(400, "the Transfer-Encoding is not just chunked: send chunked, or a Content-Length")
