"""Which language a body is written in: its content key says so."""

from __future__ import annotations

from rerank_server.body import AmbiguousBody
from rerank_server.dialects.dialect import Dialect
from rerank_server.dialects.documents import DOCUMENTS
from rerank_server.dialects.native import PAIR

_DIALECTS = {"passage": PAIR, "documents": DOCUMENTS}
_CONTENT_KEYS = ("passage", "documents", "texts", "pairs")


def check_one_language(body: object) -> None:
    """Raises ``AmbiguousBody`` for a body that speaks two languages at once. A null is as good as nothing."""
    found = _content_keys(body)
    if len(found) > 1:
        raise AmbiguousBody(f"the body has {' and '.join(found)}: send only one of them")


def by_content_key(body: object) -> Dialect:
    """The dialect of a body that came to ``/rerank``; the documented one where nothing tells.

    Raises ``AmbiguousBody`` for one that belongs elsewhere.
    """
    found = _content_keys(body)
    if found == ["pairs"]:
        raise AmbiguousBody("the body has pairs: send it to /rerank/batch")
    return _DIALECTS.get(found[0], PAIR) if found else PAIR


def _content_keys(body: object) -> list[str]:
    return [key for key in _CONTENT_KEYS if body.get(key) is not None] if isinstance(body, dict) else []
