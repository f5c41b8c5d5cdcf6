"""Pickles of pydantic models by what they were made with."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from pydantic import BaseModel


def reduced(model: BaseModel, *, without: Collection[str] = ()) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return what ``__reduce__`` should: the class and the fields that were set.

    Such a pickle works in all protocols, is the same in every process, which a set of names would not be, and leaves
    out nothing in silence. What a model has learnt by its work is not in it.
    """
    names = [name for name in type(model).model_fields if name in model.model_fields_set and name not in without]
    return _make, (type(model), {name: getattr(model, name) for name in names})


def _make(kind: type[BaseModel], fields: dict[str, Any]) -> BaseModel:
    return kind(**fields)
