"""Origins of pages (CORS): which ones may call the server, and the headers for a preflight. Pure: no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from rerank_server.errors import InvalidHeader

_METHODS = "GET, HEAD, POST, OPTIONS"
_MAX_AGE = "7200"  # seconds that a browser may remember a preflight; Chromium takes no more
_MOST_NAMES, _LONGEST_NAME = 100, 100
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")

_NO_PAGES = frozenset({"ftp", "ws", "wss", "data", "blob", "javascript", "about"})
_WEB = {"http": "80", "https": "443"}
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._~-]*|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_PATTERN = re.compile(r"([a-z][a-z0-9+.-]*)://(\*|(?:\*\.)?[a-z0-9._~-]*|\[[0-9a-f:.]+\])(?::([0-9]{1,5}|\*))?")


def parse_origins(text: str) -> tuple[str, ...]:
    """Parse origins separated by commas. Raises ``ValueError`` with the reason.

    The result has the form that browsers send: lower case, without a slash at the end or the default port.
    ``https://*.example.com`` means every host below that name, ``http://localhost:*`` every port, and
    ``moz-extension://*`` every origin of a scheme.
    """
    origins = tuple(_parse(origin.strip()) for origin in text.split(",") if origin.strip())
    if "*" in origins and len(origins) > 1:
        raise ValueError("CORS_ORIGINS holds * and named origins: use one or the other")
    return origins


def _parse(text: str) -> str:
    if text == "*":
        return text
    origin = text.lower()
    if origin == "null":
        raise ValueError(
            "CORS_ORIGINS holds null, which any page can make its origin: name the origin of the page, or use *"
        )
    while origin.endswith("/") and not origin.endswith("://"):
        origin = origin[:-1]
    found = _PATTERN.fullmatch(origin)
    if found is None:
        raise ValueError(
            f"CORS_ORIGINS holds {text[:100]!r}: an origin is like https://app.example, chrome-extension://ID or "
            "https://*.example.com, without a path and in ASCII (punycode), or there is just one *"
        )
    scheme, host, _ = found.groups()
    if scheme in _NO_PAGES or (scheme not in _WEB and get_close_matches(scheme, _WEB, n=1, cutoff=0.75)):
        raise ValueError(f"CORS_ORIGINS holds {text[:100]!r}: no page has an origin with the scheme {scheme!r}")
    if scheme in _WEB and host in ("", "*"):
        raise ValueError(f"CORS_ORIGINS holds {text[:100]!r}, which names no host: name one, or use * for every origin")
    if host == "*.":
        raise ValueError(f"CORS_ORIGINS holds {text[:100]!r}: *. stands before a name, as in https://*.example.com")
    return _without_default_port(origin)


def _without_default_port(origin: str) -> str:
    scheme = origin.partition(":")[0]
    return origin.removesuffix(f":{_WEB[scheme]}") if scheme in _WEB else origin


class Origins:
    """The origins that may call the server: named ones (or patterns), or all of them (``*``)."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self.all = origins == ("*",)
        self._named = {origin for origin in origins if "*" not in origin}
        self._patterns = [_expression(origin) for origin in origins if "*" in origin and origin != "*"]

    def allow(self, origin: str) -> bool:
        """Whether this value of the header Origin is allowed."""
        if self.all:
            return True
        origin = _without_default_port(origin.lower())
        if _ORIGIN.fullmatch(origin) is None:
            return False
        return origin in self._named or any(pattern.fullmatch(origin) for pattern in self._patterns)


def _expression(origin: str) -> re.Pattern[str]:
    scheme, _, authority = origin.partition("://")
    host, port = authority, ""
    if authority.endswith(":*"):
        host, port = authority.removesuffix(":*"), "(:[0-9]+)?"
    if host == "*":
        host = "[^/]*"
    elif host.startswith("*."):
        host = "[^/:]+" + re.escape(host[1:])
    else:
        host = re.escape(host)
    return re.compile(f"{re.escape(scheme)}://{host}{port}")


def is_same_origin(origin: str, headers: Mapping[str, str]) -> bool:
    """Whether the request comes from a page of this server, such as the playground.

    Behind a proxy, ``Host`` may be another name. A page cannot set ``Sec-Fetch-Site``, and it cannot set
    ``X-Forwarded-Host`` without a preflight, which would be refused.
    """
    if headers.get("sec-fetch-site") == "same-origin":
        return True
    found = _ORIGIN.fullmatch(origin.lower())
    if found is None or found[1] not in _WEB:
        return False
    forwarded = headers.get("x-forwarded-host", "").partition(",")[0].strip()
    hosts = {host.lower().removesuffix(f":{_WEB[found[1]]}") for host in (headers.get("host"), forwarded) if host}
    return _without_default_port(origin.lower()).partition("://")[2] in hosts


def preflight_headers(origins: Origins, headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The headers that answer a preflight of an origin that may call. Raises ``InvalidHeader`` for impossible names."""
    yield "access-control-allow-methods", _METHODS
    yield "access-control-max-age", _MAX_AGE
    names = [name.strip().lower() for name in headers.get("access-control-request-headers", "").split(",")]
    names = list(dict.fromkeys(name for name in names if name))
    if len(names) > _MOST_NAMES or any(len(name) > _LONGEST_NAME or not _NAME.fullmatch(name) for name in names):
        raise InvalidHeader(
            f"Access-Control-Request-Headers is not a list of at most {_MOST_NAMES} names of headers, each of at most "
            f"{_LONGEST_NAME} characters: ask for fewer"
        )
    if names:
        yield "access-control-allow-headers", ", ".join(names)
    # A public page may reach a private network only where its origin is named.
    if headers.get("access-control-request-private-network") == "true" and not origins.all:
        yield "access-control-allow-private-network", "true"
