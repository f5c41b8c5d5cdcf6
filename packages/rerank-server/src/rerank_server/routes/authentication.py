"""Authentication by an API key, as a guard of the framework."""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from rerank_server.api_keys import ApiKeys

IS_OPEN = "is_open"
"""The key in the ``opt`` of a route whose requests need no API key."""


def require_key(api_keys: ApiKeys) -> Guard:
    """Make the guard of all routes, except those that are open. It raises ``Unauthorized``."""

    async def check(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        if not handler.opt.get(IS_OPEN):
            api_keys.check(connection.headers.get("authorization"))

    return check
