"""Reads proxies and certificates from environment variables."""

from __future__ import annotations

import fnmatch
import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import httpx
from rerank_core.errors import InvalidRequest

_SCHEMES = ("http", "https", "socks5", "socks5h")
_LOCAL_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")


class UnusableEnvironment(InvalidRequest):
    """An environment variable says how servers are reached, and its value cannot be used."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and the environment variable that names it. Its address may hold a password and is never shown."""

    url: str = field(repr=False)
    variable: str


def proxy_for(url: httpx.URL, proxies: Mapping[str, str], environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for requests to ``url``; None for a direct connection.

    ``proxies`` is what ``urllib.request.getproxies`` returns: the addresses by scheme, ``all`` and ``no`` among them.
    A loopback address never goes through a proxy. ``environ`` is for the names in messages.

    Raises ``UnusableEnvironment`` for a value that names no proxy that can be used.
    """
    host = url.raw_host.decode("ascii")
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    if is_loopback(host) or bypasses_proxy(host, port, proxies.get("no", "")):
        return None
    for scheme in (url.scheme, "all"):
        if value := proxies.get(scheme, "").strip():
            return _usable(value, _variable(f"{scheme}_proxy", environ), host)
    return None


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its spelling alone; ``0.0.0.0`` and ``::`` connect to it too."""
    address = _address(host)
    if address is not None:
        return address.is_loopback or address.is_unspecified
    name = host.lower().rstrip(".")
    return name in _LOCAL_NAMES or name.endswith(".localhost")


def bypasses_proxy(host: str, port: int, no_proxy: str) -> bool:
    """Return whether ``no_proxy`` lists the host.

    Its entries are separated by commas or white space: ``*``; a name, which covers the names below it too, with or
    without a leading dot or ``*.``; an address; a network such as ``10.0.0.0/8``; each with or without a port.
    """
    name, address = host.lower().rstrip("."), _address(host)
    return any(_covers(entry, name, address, port) for entry in re.split(r"[\s,;]+", no_proxy.lower()) if entry)


def tls_context() -> ssl.SSLContext:
    """Return the context for ``https``, with the certificates of ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` where set.

    Raises ``UnusableEnvironment`` where they, or ``SSLKEYLOGFILE``, name what cannot be used.
    """
    file, directories = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if directories and not file and not any(Path(one).is_dir() for one in directories.split(os.pathsep)):
        raise UnusableEnvironment(f"SSL_CERT_DIR is {directories!r}, which is no directory: correct or unset it")
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        names = ["SSL_CERT_FILE" if file else "SSL_CERT_DIR" if directories else "", "SSLKEYLOGFILE"]
        given = [f"{name} is {os.environ[name]!r}" for name in names if os.environ.get(name)]
        if not given:
            raise
        raise UnusableEnvironment(f"TLS cannot be set up ({error}): {', '.join(given)}: correct or unset it") from error


def _usable(value: str, variable: str, host: str) -> Proxy:
    way_out = f"correct or unset {variable}, or add {host} to NO_PROXY"
    address = value if "://" in value else f"http://{value}"
    scheme, _, rest = address.partition("://")
    scheme = "socks5" if scheme.lower() == "socks" else scheme.lower()  # what desktops write for any SOCKS proxy
    try:
        url = httpx.URL(f"{scheme}://{rest}")
        usable = (
            scheme in _SCHEMES
            and url.host
            and not re.search(r"[\s\"']", rest)
            and (url.port is None or 0 < url.port < 65536)
        )
    except (httpx.InvalidURL, ValueError):
        usable = False
    if not usable:  # the value may hold a password
        raise UnusableEnvironment(f"{variable} holds no address of a proxy, such as http://proxy:3128: {way_out}")
    if scheme.startswith("socks") and find_spec("socksio") is None:
        raise UnusableEnvironment(
            f"{variable} names a SOCKS proxy, which needs the package socksio: pip install 'httpx[socks]', or {way_out}"
        )
    return Proxy(str(url), variable)


def _variable(name: str, environ: Mapping[str, str]) -> str:
    """Return the variable as it is spelled there; lower case wins, as it does in urllib."""
    found = sorted((one for one in environ if one.lower() == name and environ[one].strip()), reverse=True)
    return found[0] if found else name.upper()


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host is, also in the short and numeric forms that the system's resolver takes."""
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return None
    return (address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None) or address


def _covers(entry: str, name: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int) -> bool:
    entry = entry.partition("://")[2] or entry
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*):(\d+)", entry)
    if match:
        entry, wanted = match[1], int(match[2])
        if wanted != port:
            return False
    entry = entry.strip("[]").rstrip(".")
    if address is not None:
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return bool(entry) and fnmatch.fnmatchcase(name, entry)
        return address.version == network.version and address in network
    entry = entry.removeprefix("*") if entry.startswith("*.") else entry
    suffix = entry.lstrip(".")
    return entry == "*" or (bool(suffix) and (name == suffix or name.endswith(f".{suffix}")))
