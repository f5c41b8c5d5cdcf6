"""An app with a reranker beside it: answers GET /?q=... with its few passages, best first. Standard library only."""

from __future__ import annotations

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import URLError
from urllib.parse import parse_qs, urlparse
from urllib.request import Request, urlopen

RERANK_URL = os.environ.get("RERANK_URL", "http://localhost:8000")
API_KEY = os.environ.get("RERANK_API_KEYS", "").split(",")[0]
PORT = int(os.environ.get("APP_PORT", "8080"))

# What a retriever would have found.
PASSAGES = [
    "The giant panda is a bear that lives in the mountains of central China.",
    "A cross-encoder reads a query and a passage together.",
    "Bamboo is nearly all that a panda eats.",
    "A balancer spreads requests over many servers.",
]


def ranked(query: str) -> list[dict[str, object]]:
    body = json.dumps({"query": query, "documents": PASSAGES, "return_documents": True}).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {API_KEY}"} if API_KEY else {})
    request = Request(f"{RERANK_URL}/v1/rerank", body, headers)  # noqa: S310  # an address of ours
    with urlopen(request, timeout=30) as answer:  # noqa: S310
        results: list[dict[str, object]] = json.load(answer)["results"]
    return results


class Handler(BaseHTTPRequestHandler):
    """One question, one answer."""

    def do_GET(self) -> None:
        """Rank the passages for ``q``."""
        query = parse_qs(urlparse(self.path).query).get("q", [""])[0]
        if not query:
            self._answer(400, {"detail": "ask with ?q=..."})
            return
        try:
            self._answer(200, ranked(query))
        except URLError as error:  # HTTP statuses too
            self._answer(502, {"detail": f"the reranker did not answer: {error}"})

    def _answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("", PORT), Handler).serve_forever()
