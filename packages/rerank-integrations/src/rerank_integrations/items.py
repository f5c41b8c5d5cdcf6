"""Lists of what the caller gives in any form: iterators are read once, and what is surely a mistake is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from rerank_core.errors import InvalidRequest
from rerank_core.types import Pair

_Item = TypeVar("_Item")


def as_list(items: Iterable[_Item], name: str) -> list[_Item]:
    """Return the items of anything that can be iterated.

    Raises ``InvalidRequest``, calling them by ``name``, for one string, a mapping, and what has no items.
    """
    if isinstance(items, str | bytes | bytearray):
        raise InvalidRequest(f"{name} is one string: pass a list")
    if isinstance(items, Mapping):
        raise InvalidRequest(f"{name} is a mapping: pass its values, or a list")
    try:
        return list(items)
    except TypeError:
        if hasattr(items, "__iter__"):
            raise  # an error of the caller's own iterator
        raise InvalidRequest(f"{name} is {type(items).__name__}: pass a list") from None


def as_pair(given: Any, index: int) -> Pair:
    """Return a query and a document given as two items in a row. Raises ``InvalidRequest`` for anything else."""
    if not isinstance(given, str | bytes | bytearray | Mapping | set | frozenset) and hasattr(given, "__iter__"):
        items = tuple(given)
        if len(items) == 2:
            return Pair(*items)
        raise InvalidRequest(f"pair {index} has {len(items)} items: use a query and a document")
    raise InvalidRequest(f"pair {index} is {type(given).__name__}: use a tuple of a query and a document")
