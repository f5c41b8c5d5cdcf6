"""Proxies and certificates as environments have them, in every spelling."""

import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import getproxies_environment

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_core.errors import InvalidRequest, RerankError
from rerank_core.testing.contract import DOCUMENTS, QUERY
from rerank_integrations.client import HTTPScorer
from rerank_integrations.http.environment import (
    Proxy,
    UnusableEnvironment,
    bypasses_proxy,
    is_loopback,
    proxy_for,
    tls_context,
)

REMOTE = "http://rerank.example.com:8000"
VARIABLES = [
    name for scheme in ("http", "https", "all", "no") for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY")
] + [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSLKEYLOGFILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NETRC",
    "REQUEST_METHOD",
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def proxy(environ: dict[str, str], url: str = REMOTE) -> Proxy | None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        return proxy_for(httpx.URL(url), getproxies_environment(), environ)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1", "127.9.9.9", "127.1", "2130706433",
     "0x7f000001", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:0:0:1]", "ip6-localhost",
     "localhost.localdomain"],
)  # fmt: skip
@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_loopback_address_is_never_asked_through_a_proxy(host: str, variable: str) -> None:
    assert is_loopback(host)
    assert (
        proxy(
            {variable: "socks9://nothing that can be used"},
            f"http://{host if host.count(':') < 2 or '[' in host else f'[{host}]'}:80",
        )
        is None
    )


@pytest.mark.parametrize(
    "host", ["example.com", "notlocalhost", "localhost.example.com", "128.0.0.1", "10.0.0.1", "::2"]
)
def test_other_addresses_are_no_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("environ", "url", "variable"),
    [
        ({"HTTP_PROXY": "http://p:3128"}, "http://p:3128", "HTTP_PROXY"),
        ({"http_proxy": "p:3128"}, "http://p:3128", "http_proxy"),
        ({"http_proxy": "  http://p:3128/  "}, "http://p:3128/", "http_proxy"),
        ({"HTTP_PROXY": "http://upper", "http_proxy": "http://lower"}, "http://lower", "http_proxy"),
        ({"ALL_PROXY": "https://p"}, "https://p", "ALL_PROXY"),
        ({"all_proxy": "http://a", "http_proxy": "http://p"}, "http://p", "http_proxy"),
        ({"http_proxy": "HTTP://P"}, "http://p", "http_proxy"),
        ({"http_proxy": "http://me:secret@p"}, "http://me:secret@p", "http_proxy"),
    ],
)
def test_the_proxy_is_the_one_that_a_variable_names(environ: dict[str, str], url: str, variable: str) -> None:
    found = proxy(environ)

    assert found == Proxy(url, variable)
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    "environ",
    [{}, {"http_proxy": ""}, {"http_proxy": "  "}, {"HTTP_PROXY": "http://p", "http_proxy": ""}, {"https_proxy": "http://p"},
     {"HTTP_PROXY": "http://p", "REQUEST_METHOD": "GET"}],
)  # fmt: skip
def test_without_a_value_there_is_no_proxy(environ: dict[str, str]) -> None:
    assert proxy(environ) is None


def test_https_has_its_own_proxy() -> None:
    environ = {"https_proxy": "http://s", "http_proxy": "http://p"}

    assert proxy(environ, "https://rerank.example.com") == Proxy("http://s", "https_proxy")


@pytest.mark.parametrize(
    "value",
    ["socks4://p", "ftp://p", "http://", "http://p:notaport", "http://[::1", "://", "http://p:99999", "http://p:0", '"http://p"',
     "http://p q", "http://me:secret@"],
)  # fmt: skip
def test_what_is_no_proxy_is_an_error_with_the_variable_and_without_the_value(value: str) -> None:
    with pytest.raises(UnusableEnvironment, match=r"ALL_PROXY.* add rerank\.example\.com to NO_PROXY") as caught:
        proxy({"ALL_PROXY": value})

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["socks5://p:1080", "SOCKS5H://p", "socks://p:1080/"])
def test_a_socks_proxy_needs_a_package(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rerank_integrations.http.environment.find_spec", lambda name: None)
    with pytest.raises(UnusableEnvironment, match=r"all_proxy names a SOCKS proxy.*pip install 'httpx\[socks\]'"):
        proxy({"all_proxy": value})

    monkeypatch.setattr("rerank_integrations.http.environment.find_spec", lambda name: name)
    assert proxy({"all_proxy": value}).url.startswith("socks5")


@pytest.mark.parametrize(
    "no_proxy",
    ["*", "example.com", ".example.com", "*.example.com", "EXAMPLE.COM.", "rerank.example.com",
     "rerank.example.com:8000", "a, example.com ,b", "a example.com", "a;example.com", "http://rerank.example.com",
     "[::1],example.com", ",,*"],
)  # fmt: skip
def test_a_name_is_excluded_in_many_spellings(no_proxy: str) -> None:
    assert bypasses_proxy("rerank.example.com", 8000, no_proxy)


@pytest.mark.parametrize(
    "no_proxy",
    [
        "",
        " ",
        ",",
        "ample.com",
        "other.com",
        "rerank.example.com:8001",
        "10.0.0.0/8",
        "127.0.0.1,[::1]",
        "[",
        "]:80",
        "::",
        "/8",
    ],
)
def test_what_does_not_name_the_host_does_not_exclude_it(no_proxy: str) -> None:
    assert not bypasses_proxy("rerank.example.com", 8000, no_proxy)


@pytest.mark.parametrize(
    ("host", "no_proxy", "excluded"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3:8000", True),
        ("10.1.2.3", "10.1.2.3:80", False),
        ("10.1.2.3", "10.1.*", True),
        ("10.1.2.3", "11.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3/33", False),
        ("fd00::1", "fd00::/8", True),
        ("fd00::1", "[fd00::1]", True),
        ("fd00::1", "[fd00::1]:8000", True),
        ("fd00::1", "10.0.0.0/8", False),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
    ],
)
def test_an_address_is_excluded_by_itself_and_by_its_network(host: str, no_proxy: str, excluded: bool) -> None:
    assert bypasses_proxy(host, 8000, no_proxy) is excluded


@given(value=st.text(), no_proxy=st.text(), host=st.sampled_from(["example.com", "10.1.2.3", "[fd00::1]"]))
def test_whatever_stands_there_there_is_a_proxy_or_none_or_an_error_of_ours(
    value: str, no_proxy: str, host: str
) -> None:
    with suppress(RerankError):
        proxy_for(httpx.URL(f"http://{host}"), {"http": value, "no": no_proxy}, {})


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"])
@pytest.mark.parametrize("kind", ["missing", "broken", "empty file"])
def test_certificates_that_cannot_be_read_are_an_error_with_the_variable(
    name: str, kind: str, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pem"
    if kind == "broken":
        path.write_text("no certificate")
    elif kind == "empty file":
        path.touch()
    if name == "SSLKEYLOGFILE":
        path = tmp_path / "missing" / "log"
    environment.setenv(name, str(path))

    with pytest.raises(UnusableEnvironment, match=f"{name} is .*correct or unset it"):
        tls_context()


def test_certificates_in_one_of_several_directories_are_taken(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SSL_CERT_DIR", f"{tmp_path / 'missing'}:{tmp_path}")

    assert isinstance(tls_context(), ssl.SSLContext)


@pytest.mark.parametrize(
    "environ",
    [
        {"all_proxy": "socks://127.0.0.1:1080/"},
        {"HTTP_PROXY": "http://127.0.0.1:9", "no_proxy": "[::1"},
        {"SSL_CERT_FILE": "/missing/a.pem", "SSL_CERT_DIR": "/missing", "SSLKEYLOGFILE": "/missing/log"},
        {"REQUESTS_CA_BUNDLE": "/missing/a.pem", "NETRC": "/missing/netrc"},
    ],
)
async def test_a_server_on_this_machine_is_asked_whatever_the_environment_says(
    url: str, environ: dict[str, str], environment: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        environment.setenv(name, value)
    async with HTTPScorer(url, max_retries=0) as scorer:
        assert scorer.score(QUERY, DOCUMENTS) == await scorer.ascore(QUERY, DOCUMENTS)


@pytest.mark.parametrize(
    ("name", "value", "url"),
    [
        ("ALL_PROXY", "socks5://p", "http://rerank.example.com"),
        ("http_proxy", "gopher://p", "http://rerank.example.com"),
        ("SSL_CERT_FILE", "/missing/a.pem", "https://127.0.0.1:1"),
    ],
)
async def test_an_environment_that_cannot_be_used_is_an_error_with_the_first_request_that_a_search_survives(
    name: str, value: str, url: str, environment: pytest.MonkeyPatch
) -> None:
    documents = pytest.importorskip("langchain_core.documents")
    from rerank_integrations.langchain import RerankCompressor

    environment.setenv(name, value)
    compressor = RerankCompressor.from_url(url, on_error="passthrough", max_retries=0)

    for found in (
        compressor.compress_documents([documents.Document("a")], QUERY),
        await compressor.acompress_documents([documents.Document("a")], QUERY),
    ):
        assert found[0].metadata["rerank_error"] == "invalid_request"
    with HTTPScorer(url) as scorer, pytest.raises(UnusableEnvironment, match=name):
        scorer.score(QUERY, DOCUMENTS)
    async with HTTPScorer(url) as scorer:
        with pytest.raises(UnusableEnvironment, match=name):
            await scorer.ascore(QUERY, DOCUMENTS)


@pytest.fixture
def proxying() -> Iterator[tuple[str, list[Any]]]:
    """A proxy that answers by itself, and what it was asked."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"], self.headers["Proxy-Authorization"]))
            self.send_response(407)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_CONNECT = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_is_used_where_one_is_wanted_and_its_password_is_not_shown(
    scheme: str, proxying: Any, environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("DEBUG")
    address, asked = proxying
    environment.setenv(f"{scheme.upper()}_PROXY", f"http://me:secret@{address}")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine rerank.example.com login other password hidden\n")
    environment.setenv("NETRC", str(netrc))

    async with HTTPScorer(f"{scheme}://rerank.example.com", max_retries=0, api_key="key-of-mine") as scorer:
        with pytest.raises(RerankError) as caught:
            scorer.score(QUERY, DOCUMENTS)
        with pytest.raises(RerankError) as acaught:
            await scorer.ascore(QUERY, DOCUMENTS)

    assert len(asked) == 2
    for path, authorization, for_the_proxy in asked:
        assert "rerank.example.com" in path
        assert authorization == ("Bearer key-of-mine" if scheme == "http" else None)
        assert for_the_proxy.startswith("Basic ")
    for error in (caught.value, acaught.value):
        assert "407" in str(error)
        assert "secret" not in str(error) + caplog.text


@pytest.mark.parametrize(
    "address", ["http://a..b", "http://" + "a" * 70 + ".com", "http://h:99999", "http://h:0", "http://.", "http://a b"]
)
def test_an_address_that_no_resolver_takes_is_refused_at_once(address: str) -> None:
    with pytest.raises(InvalidRequest, match="base_url"):
        HTTPScorer(address)


def test_no_certificates_are_read_for_plain_http(url: str) -> None:
    code = (
        "import ssl, sys\n"
        "def fail(*_, **__): raise AssertionError('certificates are read')\n"
        "ssl.create_default_context = ssl.SSLContext.load_verify_locations = fail\n"
        "from rerank_integrations.client import HTTPScorer\n"
        "print(HTTPScorer(sys.argv[1]).score('a', ['a']).model)\n"
    )

    done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, timeout=60)

    assert done.stdout == "overlap\n", done.stderr
