"""``/playground`` comes from files that the package carries, and ``GET /`` leads browsers there."""

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import rerank_server
from httpx import AsyncClient as Client
from rerank_core.testing.doubles import OverlapModel

FILES = sorted((Path(rerank_server.__file__).parent / "static").glob("playground*"))
CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"

Serve = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
async def below(serve: Serve, until_ready):
    """A client of a server that is served under a prefix, and asks for keys."""
    async with serve(lambda _: OverlapModel(), root_path="/models/rerank", api_keys="secret") as client:
        await until_ready(client)
        yield client


async def test_the_page_and_all_it_loads_come_from_this_server(client: Client) -> None:
    page = await client.get("/playground")

    assert page.headers["Content-Type"].startswith("text/html")
    loaded = re.findall(r"(?:src|href)=\"(static/[^\"]+)\"", page.text)
    assert {name.rpartition(".")[2] for name in loaded} == {"css", "js"}
    types = {"css": "text/css", "js": "text/javascript"}
    for name in [*loaded, *(f"static/{file.name}" for file in FILES if file.suffix == ".js")]:
        file = await client.get(f"/{name}")
        assert file.status_code == 200
        assert file.headers["Content-Type"].startswith(types[name.rpartition(".")[2]])


async def test_a_policy_in_the_head_lets_the_page_talk_to_this_server_only(client: Client) -> None:
    policy = (await client.get("/playground")).headers["Content-Security-Policy"]

    said = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert said["default-src"] == "'none'"
    assert said["script-src"] == said["style-src"] == said["connect-src"] == "'self'"
    assert "unsafe" not in policy
    assert "*" not in policy


async def test_head_answers_as_get_without_the_page(client: Client) -> None:
    got, head = await client.get("/playground"), await client.head("/playground")

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Security-Policy"] == got.headers["Content-Security-Policy"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_file_of_the_page_names_an_address_elsewhere(file: Path) -> None:
    text = file.read_text(encoding="utf-8")

    assert not re.search(r"https?://|[\"'(]//", text)
    assert not re.search(r"<script(?![^>]*src=)|\sstyle=|\son\w+=", text)  # the policy would not let it


@pytest.mark.parametrize("path", ["/models/rerank/playground", "/models/rerank/static/playground.js", "/playground"])
async def test_below_a_prefix_the_page_is_open_to_those_without_a_key(below: Client, path: str) -> None:
    assert (await below.get(path)).status_code == 200
    assert (await below.head(path)).status_code == 200


async def test_a_slash_behind_the_page_leads_to_the_page(client: Client) -> None:
    """Its relative addresses would lead astray there."""
    for answer in (await client.get("/playground/"), await client.head("/playground/")):
        assert (answer.status_code, answer.headers["Location"]) == (302, "../playground")


@pytest.mark.parametrize("accept", ["text/html", CHROME, "text/html;q=0.9, application/json;q=0.8"])
async def test_a_browser_that_asks_for_the_root_is_led_to_the_page(client: Client, accept: str) -> None:
    for method in ("GET", "HEAD"):
        answer = await client.request(method, "/", headers={"Accept": accept})

        assert (answer.status_code, answer.headers["Location"], answer.content) == (302, "playground", b"")


@pytest.mark.parametrize("path", ["/models/rerank", "/models/rerank/", "/"])
async def test_below_a_prefix_a_browser_is_led_to_the_page_there(below: Client, path: str) -> None:
    """With or without a slash at the end, and where an ingress has taken the prefix off."""
    answer = await below.get(path, headers={"Accept": CHROME})

    assert (answer.status_code, answer.headers["Location"]) == (302, "/models/rerank/playground")


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "application/json, text/plain, */*", "application/json, text/html", "", "?"]
)
async def test_everybody_else_gets_the_json_at_the_root(client: Client, accept: str) -> None:
    answer = await client.get("/", headers={"Accept": accept})

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert list(answer.json()) == ["service", "version", "status", "model", "docs", "endpoints"]


async def test_who_names_no_type_gets_the_json_at_the_root(client: Client) -> None:
    del client.headers["Accept"]

    assert (await client.get("/")).json()["service"] == "rerank"
