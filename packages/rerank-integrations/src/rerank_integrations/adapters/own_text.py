"""Finds a node's own text in what is read of it, which may hold its metadata too."""

from __future__ import annotations

from llama_index.core.schema import BaseNode, MetadataMode
from rerank_core.types import Span

_MARK = "\0own text\0"


def own_span(node: BaseNode, mode: MetadataMode, span: Span) -> Span | None:
    """Turn characters of what ``mode`` makes of a node into characters of the node's own text.

    A part that is metadata only becomes ``Span(0, 0)``. None where the own text is not found in what is read.
    """
    own, read = node.get_content(metadata_mode=MetadataMode.NONE), node.get_content(metadata_mode=mode)
    start = _start(node, mode, own, read)
    if start is None:
        return None
    first, last = (min(max(0, place - start), len(own)) for place in span)
    return Span(first, last) if first < last else Span(0, 0)


def _start(node: BaseNode, mode: MetadataMode, own: str, read: str) -> int | None:
    """Return where the own text starts in what is read; below 0 where white space at its start is not read."""
    if own == read:
        return 0
    text, indent = own.strip(), len(own) - len(own.lstrip())
    # The metadata may repeat the text, so the template says where it is; another kind of node may have none.
    template = getattr(node, "text_template", "")
    place = template.format(content=_MARK, metadata_str=node.get_metadata_str(mode).strip()).strip().find(_MARK)
    for start in (place + indent, place, read.find(text)):
        if start >= 0 and read.startswith(text, start):
            return start - indent
    return None
