"""``/docs`` and ``/redoc`` come from files that the package carries."""

import re

import pytest
from httpx import AsyncClient as Client


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_a_page_and_all_it_loads_come_from_this_server(client: Client, path: str) -> None:
    page = await client.get(path)

    loaded = re.findall(r"(?:src|href|spec-url)=\"(?!data:)([^\"]+)\"", page.text)
    assert page.headers["Content-Type"].startswith("text/html")
    assert any(name.endswith(".js") for name in loaded)
    for name in loaded:
        assert ":" not in name
        assert (await client.get(f"/{name}")).status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_a_page_forbids_the_browser_to_ask_anybody_else(client: Client, path: str) -> None:
    """The bundles would fetch a logo from outside; a policy holds whatever they would like."""
    page = (await client.get(path)).text

    policy = re.search(r"Content-Security-Policy\" content=\"([^\"]+)\"", page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'")
    assert "http" not in policy[1]
    assert "*" not in policy[1]


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_a_slash_behind_a_page_leads_to_the_page(client: Client, path: str) -> None:
    """Its relative addresses would lead astray there."""
    response = await client.get(f"{path}/")

    assert response.status_code == 302
    assert response.headers["Location"] == f"..{path}"
