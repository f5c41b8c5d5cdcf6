"""Tries every endpoint of a running service, and says of each how it answered: `make test-client`.

Exit codes: 0 all of them answered as they should, 1 at least one did not, or nobody answers, 2 the command line is
wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

QUERY = "What is a giant panda?"
PANDA = "The giant panda is a bear species endemic to China."
PARIS = "Paris is the capital of France."
SECONDS = 60.0  # for one answer; a busy server on a small machine takes some


class Wrong(Exception):
    """What is wrong with an answer."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One question, the statuses that answer it, and what the answer has to hold."""

    method: str
    path: str
    read: Callable[[httpx.Response], str]
    body: object = None
    statuses: tuple[int, ...] = (200,)
    note: str = ""

    @property
    def title(self) -> str:
        """Method, path and what is special about it."""
        return f"{self.method} {self.path}" + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How an endpoint answered. ``status`` is None where it did not."""

    title: str
    status: int | None
    milliseconds: float
    is_right: bool
    said: str

    def __str__(self) -> str:
        verdict = "ok  " if self.is_right else "FAIL"
        return f"{verdict} {self.status or '-':>3} {self.milliseconds:8.1f} ms  {self.title:<34} {self.said}".rstrip()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Gives the exit code."""
    parser = argparse.ArgumentParser(description="Try every endpoint of a running service, and report.")
    parser.add_argument("--url", default="http://localhost:8000", help="where the service is (default: %(default)s)")
    parser.add_argument(
        "--api-key", default=os.environ.get("RERANK_API_KEY"), help="a key of the service (default: $RERANK_API_KEY)"
    )
    arguments = parser.parse_args(argv)
    url = arguments.url.rstrip("/")
    headers = {"Authorization": f"Bearer {arguments.api_key}"} if arguments.api_key else {}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=SECONDS) as client:
            client.get("/livez")  # whether anybody is there, before all that would fail for the same reason
            reports = [attempt(client, endpoint) for endpoint in ENDPOINTS]
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        print(f"{arguments.url} is not an address ({error}): it looks like http://localhost:8000", file=sys.stderr)
        return 1
    except httpx.TransportError as error:
        print(nobody_answers(url, error), file=sys.stderr)
        return 1
    for report in reports:
        print(report)
    failed = sum(not report.is_right for report in reports)
    print(f"\n{len(reports) - failed} of {len(reports)} answered as they should, at {url}")
    if any(report.status == 401 for report in reports):
        print("401: the service asks for an API key: give one with --api-key or in RERANK_API_KEY", file=sys.stderr)
    if any(report.status == 503 for report in reports):
        print("503: it loads its model, is about to end, or is broken: GET /health and its log say", file=sys.stderr)
    return 1 if failed else 0


def attempt(client: httpx.Client, endpoint: Endpoint) -> Report:
    """Ask one endpoint. Whatever is wrong is in the report, not raised."""
    began = time.perf_counter()
    status = None
    try:
        answer = client.request(endpoint.method, endpoint.path, json=endpoint.body)
        status = answer.status_code
        milliseconds = (time.perf_counter() - began) * 1000
        if status not in endpoint.statuses:
            raise Wrong(f"expected {' or '.join(map(str, endpoint.statuses))}: {_start_of(answer)}")
        is_right, said = True, endpoint.read(answer)
    except httpx.HTTPError as error:
        milliseconds = (time.perf_counter() - began) * 1000
        is_right, said = False, f"no answer ({type(error).__name__}: {error})"
    except Wrong as wrong:
        is_right, said = False, str(wrong)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        is_right, said = False, f"not the answer of a reranker ({type(error).__name__}: {error}): {_start_of(answer)}"
    return Report(title=endpoint.title, status=status, milliseconds=milliseconds, is_right=is_right, said=said)


def nobody_answers(url: str, error: Exception) -> str:
    """What to do where there is no service."""
    return (
        f"{url} does not answer ({type(error).__name__}: {error}).\n"
        "Start a service with `make run` (a container) or `make serve` (none; MODEL_NAME=lite needs no hub),\n"
        "look into its log with `make logs`, or name another place with --url (make test-client URL=...)."
    )


# ---------------------------------------------------------------------------- what an answer has to hold


def _service(answer: httpx.Response) -> str:
    body = answer.json()
    return f"{body['service']} {body['version']}, {body['model']['name']}"


def _health(answer: httpx.Response) -> str:
    body = answer.json()
    _expect(body["model_loaded"] is True, "the model is not loaded")
    return f"{body['status']}, {body['model_name']} on {body['device']} in {body['dtype']}, version {body['version']}"


def _probe(answer: httpx.Response) -> str:
    return str(answer.json()["status"])


def _pair(answer: httpx.Response) -> str:
    body = answer.json()
    _expect(
        (body["normalized"], body["query_length"], body["passage_length"]) == (True, len(QUERY), len(PANDA)),
        "normalized or a length is not what was sent",
    )
    _expect(0 <= body["score"] <= 1, f"score {body['score']} is not in [0, 1]")
    return f"score {body['score']:.4f}"


def _batch(answer: httpx.Response) -> str:
    body = answer.json()
    scores = body["scores"]
    _expect(body["pairs_count"] == len(scores) == 2, f"2 pairs were sent, {len(scores)} scores came")
    return "scores " + ", ".join(f"{score:.4f}" for score in scores)


def _documents(answer: httpx.Response) -> str:
    results = answer.json()["results"]
    _expect(sorted(result["index"] for result in results) == [0, 1], "not every document has a place")
    scores = [result["relevance_score"] for result in results]
    _expect(scores == sorted(scores, reverse=True), f"not the best first: {scores}")
    return f"document {results[0]['index']} is first, with {scores[0]:.4f}"


def _page(answer: httpx.Response) -> str:
    kind = answer.headers.get("content-type", "")
    _expect(kind.startswith("text/html"), f"the content type is {kind!r}, not a page's")
    return f"{len(answer.content):,} bytes"


def _document(answer: httpx.Response) -> str:
    body = answer.json()
    missing = {"/rerank", "/rerank/batch", "/v1/rerank"} - body["paths"].keys()
    _expect(not missing, f"it does not describe {', '.join(sorted(missing))}")
    return f"OpenAPI {body['openapi']}, {len(body['paths'])} paths"


def _metrics(answer: httpx.Response) -> str:
    names = {line.split()[2] for line in answer.text.splitlines() if line.startswith("# TYPE rerank_")}
    _expect("rerank_requests_total" in names, "rerank_requests_total is not among them")
    return f"{len(names)} metrics of ours"


def _refusal(answer: httpx.Response) -> str:
    detail: Any = answer.json()["detail"]
    return str(detail[0]["msg"] if isinstance(detail, list) else detail)


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Wrong(otherwise)


def _start_of(answer: httpx.Response) -> str:
    return " ".join(answer.text.split())[:200]


ENDPOINTS = (
    Endpoint("GET", "/", _service),
    Endpoint("GET", "/health", _health),
    Endpoint("GET", "/livez", _probe),
    Endpoint("GET", "/readyz", _probe),
    Endpoint("POST", "/rerank", _pair, {"query": QUERY, "passage": PANDA, "normalize": True}),
    Endpoint(
        "POST",
        "/rerank/batch",
        _batch,
        {"pairs": [{"query": QUERY, "passage": PANDA}, {"query": QUERY, "passage": PARIS}]},
    ),
    Endpoint("POST", "/v1/rerank", _documents, {"query": QUERY, "documents": [PARIS, PANDA]}),
    Endpoint("POST", "/rerank", _refusal, {"query": QUERY}, (400, 422), "without a passage"),
    Endpoint("GET", "/docs", _page),
    Endpoint("GET", "/redoc", _page),
    Endpoint("GET", "/openapi.json", _document),
    Endpoint("GET", "/metrics", _metrics),
)


if __name__ == "__main__":
    sys.exit(main())
