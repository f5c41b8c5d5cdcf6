"""``/playground`` comes from files that the package carries, and ``GET /`` leads browsers there."""

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from urllib.parse import urljoin

import pytest
import rerank_server
from httpx import AsyncClient as Client
from rerank_core.testing.doubles import OverlapModel
from rerank_server.dialects.routing import PREFIXES

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


PAGES = ["/playground", "/docs", "/redoc", "/openapi.json", "/static/playground.js"]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("prefix", PREFIXES)
async def test_below_the_prefix_of_a_dialect_a_page_leads_to_its_one_address(
    client: Client, below: Client, prefix: str, page: str
) -> None:
    """Its files and requests are relative to its address, and the dialect's own path would answer them otherwise."""
    for asked in (prefix + page, f"{prefix}{page}/", f"http://server/{prefix}/{page}"):
        for method in ("GET", "HEAD"):
            answer = await client.request(method, asked)

            assert answer.status_code == 302
            assert urljoin(str(answer.url), answer.headers["Location"]) == f"http://server{page}"
    inside = await below.get(f"/models/rerank{prefix}{page}")
    assert urljoin(str(inside.url), inside.headers["Location"]) == f"http://server/models/rerank{page}"


@pytest.mark.parametrize("asked", ["/playground", "/tei/playground", "/nim/playground/", "/tei", "/tei/", "/"])
async def test_wherever_a_browser_comes_from_the_requests_of_the_page_are_answered(client: Client, asked: str) -> None:
    page = await client.get(asked, headers={"Accept": CHROME}, follow_redirects=True)
    question = {"query": "where do pandas live", "documents": ["in China"]}

    answer = await client.post(urljoin(str(page.url), "v1/rerank"), json=question)
    script = await client.get(urljoin(str(page.url), "static/playground.js"))

    assert answer.json()["results"][0]["index"] == 0
    assert (page.status_code, answer.status_code, script.status_code) == (200, 200, 200)


async def test_a_slash_behind_a_file_leads_to_the_file(client: Client) -> None:
    answer = await client.get("/static/playground.js/")

    assert urljoin(str(answer.url), answer.headers["Location"]) == "http://server/static/playground.js"


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
