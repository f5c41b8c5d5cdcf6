"""A server behind https: the same promises, also after a fork and where it stops."""

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from rerank_core.testing.doubles import OverlapModel
from rerank_integrations.client import HTTPScorer
from rerank_integrations.http import connections

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None or not hasattr(os, "fork"), reason="it needs openssl and a system with fork"
)

CODE = """
import asyncio, os, signal, sys
from rerank_core.testing.doubles import OverlapModel
from rerank_integrations.http import flow
from rerank_integrations.client import HTTPScorer

signal.alarm(60)
url, QUERY = sys.argv[1], "giant panda"
WANTED = {text: OverlapModel().score(QUERY, [text]) for text in ("a train", "a panda", "a giant panda")}

def check(scorer, times=10):
    for _ in range(times):
        for text, wanted in WANTED.items():
            assert scorer.score(QUERY, [text]) == wanted

async def acheck(scorer, times=10):
    for _ in range(times):
        for text, wanted in WANTED.items():
            assert await scorer.ascore(QUERY, [text]) == wanted
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        *subject,
    ]
    subprocess.run(
        [*command, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True
    )
    return folder / "cert.pem"


@pytest.fixture
def tls_url(url: str, certificate: Path) -> Iterator[str]:
    """What speaks TLS in front of the server, a connection there for each one here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.parent / "key.pem")
    behind = ("127.0.0.1", int(url.rpartition(":")[2]))

    def start(work: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()

    def forward(accepted: socket.socket) -> None:
        with (
            suppress(OSError),
            context.wrap_socket(accepted, server_side=True) as outer,
            socket.create_connection(behind) as inner,
        ):
            while request := outer.recv(1 << 20):
                while b"\r\n\r\n" not in request or (request.startswith(b"POST") and not request.endswith(b"}")):
                    request += outer.recv(1 << 20)
                inner.sendall(request)
                outer.sendall(inner.recv(1 << 20))  # head and body come in one piece

    def accept() -> None:
        with suppress(OSError):
            while True:
                start(forward, server.accept()[0])

    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        start(accept)
        yield f"https://localhost:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def run(code: str, *arguments: str, certificate: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE + code, *arguments],
        env=os.environ | {"SSL_CERT_FILE": str(certificate)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_scores_come_by_https(tls_url: str, certificate: Path) -> None:
    run("with HTTPScorer(url) as scorer: check(scorer)\nasyncio.run(acheck(scorer))", tls_url, certificate=certificate)


def test_a_certificate_that_is_not_trusted_is_an_error_of_ours(tls_url: str) -> None:
    from rerank_core.errors import Unavailable
    from rerank_integrations.client import HTTPScorer

    with HTTPScorer(tls_url, max_retries=0) as scorer, pytest.raises(Unavailable, match="certificate verify failed"):
        scorer.score("a", ["b"])


def test_a_child_says_nothing_on_its_parents_connections(tls_url: str, certificate: Path) -> None:
    """A closing alert of the child's would end the parent's connection."""
    run(
        """
scorer = HTTPScorer(url)
check(scorer, 1)
async def main():
    await acheck(scorer, 1)
    opened = len(scorer._state.connections._opened._sockets)
    for _ in range(3):
        child = os.fork()
        if not child:
            signal.alarm(40)
            check(scorer)
            asyncio.run(acheck(scorer))
            scorer.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        check(scorer, 1)
        await acheck(scorer, 1)
    assert len(scorer._state.connections._opened._sockets) == opened  # none had to be opened anew
asyncio.run(main())
scorer.close()
""",
        tls_url,
        certificate=certificate,
    )


def test_a_stopped_server_behind_tls_is_noticed(tls_url: str, certificate: Path, silent_url: str) -> None:
    """What accepts and says nothing does not even shake hands."""
    run(
        """
import logging
logging.disable()
flow._QUIET_SECONDS, flow._LIFE_SECONDS, flow._CONNECT_SECONDS_AMONG_SEVERAL = 0.1, 0.3, 0.3
scorer = HTTPScorer([sys.argv[2], url])
for _ in range(3):
    check(scorer, 1)
    asyncio.run(acheck(scorer, 1))
scorer.close()
""",
        tls_url,
        silent_url.replace("http:", "https:"),
        certificate=certificate,
    )


async def test_a_cancelled_handshake_closes_its_connection() -> None:
    greeted, ended = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        greeted.set()
        await reader.read()  # until the client closes
        ended.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        call = asyncio.create_task(HTTPScorer(f"https://127.0.0.1:{port}").ascore("a panda", ["a panda"]))
        async with asyncio.timeout(60):
            await greeted.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await ended.wait()


async def test_the_event_loop_goes_on_while_the_first_call_reads_certificates(
    tls_url: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it held, its other task would never run, and the certificates would not be read."""
    beat = threading.Event()
    read = connections.tls_context

    def tls_context() -> ssl.SSLContext:
        assert beat.wait(60)
        return read()

    async def other_task() -> None:
        beat.set()

    monkeypatch.setattr(connections, "tls_context", tls_context)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with HTTPScorer(tls_url) as scorer:
        first, second, _ = await asyncio.gather(scorer.ascore("a", ["b"]), scorer.ascore("a", ["b"]), other_task())

    assert first == second == OverlapModel().score("a", ["b"])


async def test_plain_http_makes_no_tls_context(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    make = ssl.SSLContext.__new__

    def counted(*arguments: Any, **keywords: Any) -> ssl.SSLContext:
        made.append(arguments)
        return make(*arguments, **keywords)

    monkeypatch.setattr(ssl.SSLContext, "__new__", counted)
    ssl.create_default_context()
    assert len(made) == 1  # it counts

    async with HTTPScorer(url) as scorer:
        await scorer.ascore("a", ["b"])
        scorer.score("a", ["b"])

    assert len(made) == 1
