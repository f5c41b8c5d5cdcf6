"""``/docs`` in a real browser."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

Visit: TypeAlias = Callable[..., AbstractAsyncContextManager[Any]]


async def test_it_opens_on_the_routes_that_people_look_for(visit: Visit, tiny_server: Any) -> None:
    async with visit(tiny_server.url, "/docs") as page:
        await page.locator("#operations-server-get_metrics").wait_for()
        shown = await page.locator(".opblock-summary-path").all_inner_texts()
        folded = await page.get_by_text("Cohere, versions 1 and 2").count()

    assert sorted(path.replace("\u200b", "") for path in shown) == sorted(
        ["/v1/rerank", "/rerank", "/rerank/batch", "/health", "/readyz", "/livez", "/info", "/metrics"]
    )
    assert folded == 1


async def test_a_link_to_a_folded_route_opens_it(visit: Visit, tiny_server: Any) -> None:
    async with visit(tiny_server.url, "/docs#/cohere/cohere_v2_rerank") as page:
        await page.locator("#operations-cohere-cohere_v2_rerank.is-open").wait_for()
