"""The page on the HTTP API lists the routes, fields and prefixes that a real server has."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rerank_server.dialects import routing

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "http-api.md").read_text(encoding="utf-8")
UNLISTED = {"query", "documents"}  # in the example


@pytest.fixture(scope="module")
def client(lite_server: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=str(lite_server.url), trust_env=False) as made:
        yield made


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_cells(text: str) -> list[list[str]]:
    """What stands in backticks in the first cell of each row."""
    rows = (line.split("|")[1] for line in text.splitlines() if line.startswith("| "))
    return [found for row in rows if (found := re.findall(r"`([^`]+)`", row))]


GETS = [path.removeprefix("GET ") for cell in first_cells(section("Routes")) for path in cell if "POST" not in path]
PREFIX_ROWS = re.findall(r"^\| (`/\w+`(?:, `/\w+`)*) \| ([^|]+) \|", section("Dialects of other servers"), re.MULTILINE)
PREFIXES = [
    (prefix, path)
    for prefixes, paths in PREFIX_ROWS
    for prefix in re.findall(r"`([^`]+)`", prefixes)
    for path in re.findall(r"`([^`]+)`", paths)
]


@pytest.mark.parametrize("path", GETS)
def test_a_route_that_is_listed_answers(client: httpx.Client, path: str) -> None:
    name = client.get("/v1/models").json()["data"][0]["id"]

    assert client.get(path.replace("NAME", name)).status_code == 200


def test_the_fields_that_are_listed_are_those_of_the_request(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()["components"]["schemas"]["RerankRequest"]["properties"]

    listed = {field for cell in first_cells(section("`/v1/rerank`")) for field in cell}
    opposites = set(re.findall(r"`(normalize|use_activation)`", section("`/v1/rerank`")))

    assert listed | opposites | UNLISTED == set(described)


def test_the_answer_has_the_fields_of_the_example(client: httpx.Client) -> None:
    request, answer = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[:2])

    got = client.post("/v1/rerank", json=request).json()

    assert shape(got) == shape(answer)


def shape(value: Any) -> Any:
    """Its keys, and those of what it holds."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value)


def test_every_header_of_a_scoring_answer_is_listed(client: httpx.Client) -> None:
    listed = {name.lower() for cell in first_cells(section("Headers")) for name in cell}

    answer = client.post("/v1/rerank", json={"query": "a", "documents": ["b"]})

    own = {name for name in answer.headers if name.startswith("x-")} - {"x-content-type-options"}  # of every answer
    assert own <= listed


UNSERVED = re.findall(r"`(/[^`]+)`", PAGE.partition("This server only scores.")[2].partition("completions")[0])


@pytest.mark.parametrize("path", UNSERVED)
def test_a_path_that_is_not_served_names_those_that_are_below_a_prefix(client: httpx.Client, path: str) -> None:
    bare, below = client.post(path, json={}), client.post(f"/vllm{path}", json={})

    assert (bare.status_code, bare.json()) == (404, {"detail": "Not Found"})
    assert below.status_code == 404
    assert "/vllm/v1/rerank" in below.json()["error"]["message"]


def test_every_prefix_of_a_dialect_is_listed() -> None:
    assert {prefix for prefix, _ in PREFIXES} == set(routing.PREFIXES)


@pytest.mark.parametrize(("prefix", "path"), PREFIXES)
def test_a_path_below_a_prefix_scores(client: httpx.Client, prefix: str, path: str) -> None:
    """An empty object is a wrong request in every dialect; elsewhere it would be 404 or 405."""
    assert client.post(prefix + path.rstrip("/"), json={}).status_code in {400, 422}


@pytest.mark.parametrize("line", re.findall(r"^\$ (curl .*)$", PAGE, re.MULTILINE), ids=lambda text: text[:40])
def test_a_curl_of_the_page_is_answered(line: str, client: httpx.Client) -> None:
    if shutil.which("curl") is None:
        pytest.skip("SKIPPED LOUDLY: curl is not installed, the commands of docs/http-api.md were not run")
    address = client.base_url.netloc.decode()

    command = line.replace("localhost:8000", address) + " --fail"
    ended = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0
    assert ended.stdout.startswith("{")
