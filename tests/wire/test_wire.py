"""Golden files: what is asked on the wire in each language, and what is answered, to the last field.

A file has a request and its answer. ``<id>`` stands for what differs from answer to answer, ``<created>`` for a
time, ``<version>`` for the server's.
Scores are those of ``OverlapModel``, which counts the words that a document shares with its query.
"""

import asyncio
import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
from httpx import ASGITransport, AsyncClient
from rerank_core.testing.doubles import OverlapModel
from rerank_server import __version__
from rerank_server.app import create_app
from rerank_server.dialects.dispatch import PLACES
from rerank_server.settings import Settings

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*/*.json"))
UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")


def golden(value: Any, key: str = "") -> Any:
    """An answer as it stands in a file."""
    if isinstance(value, dict):
        return {name: golden(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [golden(item) for item in value]
    if key == "created":
        return "<created>"
    if key == "version" and value == __version__:
        return "<version>"
    return UUID.sub("<id>", value) if key == "id" and isinstance(value, str) else value


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
async def test_a_request_is_answered_as_its_language_has_it(file: Path) -> None:
    case = json.loads(file.read_text())  # noqa: ASYNC240 (a test)
    request = case["request"]
    app = create_app(Settings(model="overlap", **case.get("settings", {})), load=lambda _: OverlapModel())

    transport = ASGITransport(cast("Any", app))
    async with app.lifespan(), AsyncClient(transport=transport, base_url="http://server") as client:
        while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 (there is no event to wait for)
            await asyncio.sleep(0)  # lets the loop turn: in process, nothing else does
        answer = await client.request(request["method"], request["path"], json=request.get("body"))

    assert {"status": answer.status_code, "body": golden(answer.json())} == case["answer"]


def test_every_language_has_an_answer_and_an_error_here() -> None:
    asked: dict[bool, set[str]] = {True: set(), False: set()}
    for file in FILES:
        case = json.loads(file.read_text())
        place = next((place for place in PLACES if place.path == case["request"]["path"].rstrip("/")), None)
        if place is not None:
            dialect = (
                place.dialects if case["answer"]["status"] == 400 else [place.dialect(case["request"].get("body"))]
            )
            asked[case["answer"]["status"] == 200] |= {each.name for each in dialect}
    spoken = {dialect.name for place in PLACES for dialect in place.dialects}

    assert asked[True] == spoken
    assert asked[False] == spoken
