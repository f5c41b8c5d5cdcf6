"""Which language a body is written in: its content key says so."""

from __future__ import annotations

from rerank_core.errors import InvalidRequest

from rerank_server.dialects.dialect import Dialect
from rerank_server.dialects.documents import DOCUMENTS
from rerank_server.dialects.native import PAIR

_DIALECTS = {"passage": PAIR, "documents": DOCUMENTS}
_CONTENT_KEYS = ("passage", "documents", "texts", "pairs")


def by_content_key(body: object) -> Dialect:
    """The dialect of a body that came to ``/rerank``; the documented one where nothing tells.

    Raises ``InvalidRequest`` for a body that speaks two at once. A null is as good as nothing.
    """
    found = [key for key in _CONTENT_KEYS if body.get(key) is not None] if isinstance(body, dict) else []
    if len(found) > 1:
        raise InvalidRequest(f"the body has {' and '.join(found)}: send exactly one of {', '.join(_DIALECTS)}")
    if found == ["pairs"]:
        raise InvalidRequest("the body has pairs: send it to /rerank/batch")
    return _DIALECTS.get(found[0], PAIR) if found else PAIR
