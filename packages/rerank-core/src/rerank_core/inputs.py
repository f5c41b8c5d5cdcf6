"""Checks of what callers pass: texts, pairs, lists and options."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict

from rerank_core.deprecation import warn
from rerank_core.errors import InvalidRequest
from rerank_core.types import ModelInfo, Pair, ScoreOptions
from rerank_core.valid_text import check_text

_MISSING = {"NAType", "NaTType"}  # of pandas, which also uses None and NaN


class DeprecatedOptions(TypedDict, total=False):
    """The keywords of ``Scorer.score`` that became part of ``options``."""

    raw: bool
    truncate: bool


def score_options(options: ScoreOptions | None, deprecated: DeprecatedOptions) -> ScoreOptions:
    """Return the options of a call to ``score`` or ``ascore``, which calls this itself.

    ``deprecated`` are its other keywords: they warn, and ``raw=True`` and ``truncate=False`` win over ``options``.
    """
    given = as_options(options)
    if not deprecated:
        return given
    if unknown := deprecated.keys() - DeprecatedOptions.__annotations__:
        raise TypeError(f"score() got an unexpected keyword argument {min(unknown)!r}")
    shown = ", ".join(f"{name}={value!r}" for name, value in deprecated.items())
    warn(f"score(..., {shown}) is now score(..., ScoreOptions({shown}))", stacklevel=4)
    return replace(
        given,
        raw=given.raw or deprecated.get("raw", False),
        truncate=given.truncate and deprecated.get("truncate", True),
    )


def as_options(options: ScoreOptions | None) -> ScoreOptions:
    """Return the options, the defaults for None. Raises ``InvalidRequest`` for anything else, such as a dict."""
    if options is None:
        return ScoreOptions()
    if not isinstance(options, ScoreOptions):
        raise InvalidRequest(
            f"options is a {type(options).__name__}: pass ScoreOptions, such as ScoreOptions(raw=True)"
        )
    return options


def as_pairs(query: str, documents: Iterable[str]) -> list[Pair]:
    """Put the query beside each document of any iterable, which is read once.

    Raises ``InvalidRequest`` for what is not text: another type, or a lone surrogate, which no encoding can write.
    """
    text = as_text(query, "the query")
    return [
        Pair(text, as_text(document, f"document {index}"))
        for index, document in enumerate(as_list(documents, "documents", "strings"))
    ]


def as_pair_list(pairs: Iterable[Sequence[str]]) -> list[Pair]:
    """Read pairs from any iterable, which is read once: tuples, lists or rows of an array, each a query and a document.

    Raises ``InvalidRequest`` for what is no pair, a string of two characters among it, and for what is not text.
    """
    return [_as_pair(pair, index) for index, pair in enumerate(as_list(pairs, "pairs", "pairs"))]


def _as_pair(pair: object, index: int) -> Pair:
    items = as_list(pair, f"pair {index}", "two strings")
    if len(items) != 2:
        raise InvalidRequest(f"pair {index} has {len(items)} items: pass two, a query and a document")
    query, document = items
    return Pair(as_text(query, f"the query of pair {index}"), as_text(document, f"document {index}"))


def as_list(values: object, name: str, of: str) -> list[Any]:
    """List the items of any iterable with an order: lists, generators, views of a dict, columns and arrays.

    Raises ``InvalidRequest``, calling it by ``name``, for what surely is a mistake: one text, whose characters would be
    taken for its items; a dict or a table, of which it would be the names; a set, which has no order that scores could
    have.
    """
    way_out = f"pass a list of {of}"
    if isinstance(values, str | bytes | bytearray | memoryview):
        kind = "string" if isinstance(values, str) else type(values).__name__
        raise InvalidRequest(f"{name} is one {kind}: {way_out}")
    if isinstance(values, Mapping):
        raise InvalidRequest(f"{name} is a {type(values).__name__}, whose keys would be taken: {way_out}")
    if isinstance(values, set | frozenset):
        raise InvalidRequest(f"{name} is a {type(values).__name__}, which has no order: {way_out}")
    if hasattr(values, "columns"):
        raise InvalidRequest(
            f"{name} is a {type(values).__name__}, whose column names would be taken: pass one of its columns, or for "
            "pairs zip(...) of two"
        )
    if not isinstance(values, Iterable) or getattr(values, "ndim", 1) == 0:
        raise InvalidRequest(f"{name} is {type(values).__name__}: {way_out}")
    # Arrow's columns iterate over wrappers, and have their values in this way only.
    return list(values.to_pylist() if hasattr(values, "to_pylist") else values)


def as_text(text: object, name: str) -> str:
    """Return the text as plain ``str``: a subclass, such as numpy's, may behave otherwise. Raises as ``check_text``."""
    if text is None or type(text).__name__ in _MISSING or (isinstance(text, float) and math.isnan(text)):
        raise InvalidRequest(
            f"{name} is {type(text).__name__}, not a string: what is missing has no score; drop it, or fill it with an "
            "empty string"
        )
    check_text(text, name)
    return str.__str__(text)


def check_instruction(options: ScoreOptions, info: ModelInfo) -> None:
    """Refuse an instruction to a model that takes none; an empty one asks nothing of it. Raises ``InvalidRequest``."""
    if options.instruction and not info.takes_instruction:
        raise InvalidRequest(
            f"{info.name} takes no instruction: leave it out, or choose a model that takes one", option="instruction"
        )


def instruction_of(options: ScoreOptions, info: ModelInfo) -> str | None:
    """Return the instruction of a call: that of the options, else the model's own; None where there is neither."""
    return info.instruction if options.instruction is None else options.instruction
