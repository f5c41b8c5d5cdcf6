"""The golden files from the client's side: the requests that ``HTTPScorer`` makes, and how it reads the answers.

A file with a ``client`` has its options, and the scores that it makes of the answer, or the error.
"""

import asyncio
import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from rerank_core.errors import RerankError, error_class
from rerank_core.types import ScoreOptions, Scores, Sentence, Span, Usage
from rerank_integrations.client import HTTPScorer

HERE = Path(__file__).parent
CASES = {file.stem: json.loads(file.read_text()) for file in sorted((HERE / "documents").glob("*.json"))}
CLIENT = {name: case for name, case in CASES.items() if "client" in case}
ERRORS = {name: case for name, case in CASES.items() if case["answer"]["status"] != 200}
INFO = json.loads((HERE / "about" / "info.json").read_text())

Ask: TypeAlias = Callable[..., Scores]


def score(scorer: HTTPScorer, *arguments: Any, **options: Any) -> Scores:
    return scorer.score(*arguments, **options)


def ascore(scorer: HTTPScorer, *arguments: Any, **options: Any) -> Scores:
    return asyncio.run(scorer.ascore(*arguments, **options))


@contextmanager
def replaying(case: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that gives the answer of a file, and that of ``/info``; and the requests that it has got."""
    requests: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(INFO["answer"] if self.path == INFO["request"]["path"] else {"status": 404, "body": None})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append({"method": "POST", "path": self.path, "body": body})
            self.answer(case["answer"])

        def answer(self, answer: dict[str, Any]) -> None:
            content = json.dumps(answer["body"]).encode()
            self.send_response(answer["status"])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requests
        finally:
            server.shutdown()
            thread.join()


def expected(client: dict[str, Any]) -> Scores:
    """The scores in a file."""
    scores = client["scores"]
    spans, sentences = scores["spans"], scores.get("sentences")
    return Scores(
        values=tuple(scores["values"]),
        model=scores["model"],
        usage=Usage(**scores["usage"]),
        spans=None if spans is None else tuple(None if span is None else Span(*span) for span in spans),
        sentences=None
        if sentences is None
        else tuple(found and tuple(Sentence(*one) for one in found) for found in sentences),
    )


@pytest.mark.parametrize("ask", [score, ascore])
@pytest.mark.parametrize("name", CLIENT)
def test_the_client_makes_the_request_of_the_file_and_reads_the_answer_as_it_says(name: str, ask: Ask) -> None:
    case, client = CLIENT[name], CLIENT[name]["client"]
    asked = case["request"]["body"]
    with replaying(case) as (url, requests), HTTPScorer(url, max_retries=0) as scorer:
        options = ScoreOptions(**client["options"])
        if "scores" in client:
            scores = ask(scorer, asked["query"], asked["documents"], options=options)

            assert scores == expected(client)
            assert scores.raw_values == tuple(client["scores"]["raw_values"])
        else:
            with pytest.raises(RerankError) as caught:
                ask(scorer, asked["query"], asked["documents"], options=options)

            assert type(caught.value).__name__ == client["error"]
            assert str(caught.value) == case["answer"]["body"]["message"]

    assert requests == [case["request"]]


@pytest.mark.parametrize("name", ERRORS)
def test_the_client_reads_every_error_as_its_class_in_the_words_of_the_server(name: str) -> None:
    body = ERRORS[name]["answer"]["body"]
    with (
        replaying(ERRORS[name]) as (url, _),
        HTTPScorer(url, max_retries=0) as scorer,
        pytest.raises(RerankError) as caught,
    ):
        scorer.score("a query", ["a document"])

    assert type(caught.value) is error_class(body["code"])
    assert str(caught.value) == body["message"]


def test_every_option_is_in_a_file_with_a_value_that_is_not_the_default() -> None:
    default = ScoreOptions()
    differ = {
        name
        for case in CLIENT.values()
        for name, value in case["client"]["options"].items()
        if value != getattr(default, name)
    }

    assert differ == {field.name for field in dataclasses.fields(ScoreOptions)}
