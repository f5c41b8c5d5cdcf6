"""Reads the address of a server."""

from __future__ import annotations

import base64
import re

import httpx
from rerank_core.errors import InvalidRequest

from rerank_integrations.http.balancer import Endpoint

# Where people copy an address from: documentation of this and of other servers, and a browser.
_ROUTE = re.compile(
    r"(^/v\d+|/v\d+/ranking|(/v\d+)?/(rerank/batch|rerank|reranking|score)"
    r"|^/(docs|redoc|playground|openapi\.json|health|info|livez|readyz|metrics|v\d+/models))$"
)


def read_address(base_url: str) -> Endpoint:
    """Read an address. The password leaves it here: httpx writes addresses into its log.

    One that ends in a route is refused, unless a slash follows: then a server is behind a prefix of that name.

    Raises ``InvalidRequest`` for what is no address.
    """
    text = base_url.strip()
    try:
        url = httpx.URL(text.rstrip("/"))
    except httpx.InvalidURL as error:
        reason = "" if "@" in text else f": {error}"  # which may quote a part of a password
        raise InvalidRequest(f"base_url cannot be read as an address{reason}") from None
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        start, at, rest = str(url).rpartition("@")
        raise InvalidRequest(
            f"base_url is {('...' if start else '') + at + rest!r}: use {_with_scheme(text) or 'http://localhost:8000'}"
        )
    if any(character.isspace() for character in text):
        raise InvalidRequest("base_url has white space in it: use one like http://localhost:8000")
    if url.port is not None and not 0 < url.port < 65536:
        raise InvalidRequest(f"base_url has the port {url.port}: use one from 1 to 65535")
    try:
        url.raw_host.decode("ascii").encode("idna")
    except UnicodeError:
        raise InvalidRequest("base_url has a host with an empty or too long label: use one like localhost") from None
    shown = str(url.copy_with(userinfo=b"") if url.userinfo else url).rstrip("/")
    if (route := _ROUTE.search(url.path)) and not text.endswith("/"):
        raise InvalidRequest(
            f"base_url is {shown}, which ends in the route {route[0]}: use {shown.removesuffix(route[0])} "
            f"(or {shown}/ for a server behind a prefix of that name)"
        )
    slash = "/" if route else ""
    if not url.userinfo:
        return Endpoint(shown, given=shown + slash)
    user = base64.b64encode(f"{url.username}:{url.password}".encode()).decode()
    return Endpoint(shown, given=str(url) + slash, authorization=f"Basic {user}")


def without_password(endpoint: Endpoint) -> str:
    """Return an address that ``read_address`` takes, without the password."""
    return f"{endpoint.url}/" if endpoint.given.endswith("/") else endpoint.url


def _with_scheme(text: str) -> str | None:
    """Return the address that was meant where ``http://`` is missing, without a route at its end."""
    found = re.fullmatch(r"([\w.-]+(?::\d{1,5})?)(/[\w./-]*)?", text)
    if found is None:
        return None
    path = found[2] or ""
    return f"http://{found[1]}{_ROUTE.sub('', path).rstrip('/')}"
