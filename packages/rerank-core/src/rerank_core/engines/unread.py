"""Finds what a checkpoint has and a network of transformers does not read, though it changes what is computed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

# Fields that transformers once computed with, and the values that ask for nothing.
_NOTHING: Mapping[str, tuple[object, ...]] = {
    "position_embedding_type": (None, "absolute"),
    "pruned_heads": (None, {}),
}


def unread_fields(config: Mapping[str, Any], known: Collection[str]) -> Iterator[str]:
    """Yield fields that ask for what a network does not compute. ``known``: the fields that its configuration has."""
    for name, nothing in _NOTHING.items():
        value = config.get(name)
        is_rotary = "rope_parameters" in known and value in ("rope", "rotary", "sans_pos")
        if value not in nothing and name not in known and not is_rotary:
            yield f"{name} {value!r:.100}"


def unread_parameters(unknown: Iterable[str], modules: Iterable[str], buffers: Iterable[str]) -> list[str]:
    """List the parameters that lie in a layer of the network, out of those that it does not know.

    A part of a layer that is not computed, such as an adapter or positions of its own, means other scores. Other
    heads, layers that the configuration leaves out, and buffers that the network computes anew do not. ``modules``,
    ``buffers``: the names of the network's own.
    """
    layers = [f".{name}." for name in modules if name.rpartition(".")[2].isdecimal()]
    computed = tuple(f".{name}" for name in buffers)
    names = sorted(name for name in unknown if not f".{name}".endswith(computed))
    return [name for name in names if any(layer in f".{name}" for layer in layers)]
