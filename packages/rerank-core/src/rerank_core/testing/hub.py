"""A model hub on loopback: real processes and builds fetch from it, as ``HF_ENDPOINT`` allows."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """Serves the directories of ``repositories``, by their names.

    ``asked`` lists the files that were downloaded, ``attempts`` the questions about a repository. With ``status`` set,
    that is the answer to everything.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Path] = {}
        self.asked: list[str] = []
        self.status: int | None = None
        self.attempts: list[str] = []

    def answer(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        """Return status, body and headers for a GET."""
        if path.startswith("/api/models/"):
            self.attempts.append(path)
        if self.status:
            return self.status, b"{}", {}
        for name, directory in self.repositories.items():
            if path.startswith(f"/api/models/{name}/tree/{COMMIT}"):
                return 200, json.dumps([self._entry(directory, file) for file in files_of(directory)]).encode(), {}
            if path in (
                f"/api/models/{name}",
                f"/api/models/{name}/revision/{COMMIT}",
                f"/api/models/{name}/revision/main",
            ):
                siblings = [{"rfilename": file} for file in files_of(directory)]
                return 200, json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode(), {}
            if path.startswith(f"/api/models/{name}/revision/"):
                return 404, b"{}", {"X-Error-Code": "RevisionNotFound"}
            if path.startswith(f"/{name}/resolve/{COMMIT}/"):
                file = path.removeprefix(f"/{name}/resolve/{COMMIT}/")
                content = (directory / file).read_bytes()
                self.asked.append(file)
                return 200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        return 401, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}

    @staticmethod
    def _entry(directory: Path, file: str) -> dict[str, object]:
        content = (directory / file).read_bytes()
        return {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha256(content).hexdigest()[:40]}


def files_of(directory: Path) -> list[str]:
    """List all files below a directory, relative to it, in order."""
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


@contextmanager
def serve_hub() -> Iterator[tuple[FakeHub, str]]:
    """Run a hub that serves nothing yet until the block ends; give it with its address."""
    fake = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, headers = fake.answer(self.path.partition("?")[0])
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 (named by http.server)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
