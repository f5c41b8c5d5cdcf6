"""Which language is spoken where: every path that scores, and what tells at those that speak several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rerank_server.body import AmbiguousBody
from rerank_server.dialects.cohere import COHERE_V1, COHERE_V2
from rerank_server.dialects.dialect import Dialect
from rerank_server.dialects.documents import DOCUMENTS
from rerank_server.dialects.infinity import INFINITY
from rerank_server.dialects.jina import JINA
from rerank_server.dialects.llama_cpp import LLAMA_CPP, LLAMA_CPP_TEXTS
from rerank_server.dialects.native import BATCH, PAIR
from rerank_server.dialects.nim import NIM
from rerank_server.dialects.tei import TEI
from rerank_server.dialects.vllm import SCORE, VLLM
from rerank_server.dialects.voyage import VOYAGE
from rerank_server.dialects.xinference import XINFERENCE

_CONTENT_KEYS = ("passage", "documents", "texts", "passages", "pairs")


@dataclass(frozen=True, slots=True)
class Place:
    """A path that scores.

    ``default`` is its language, and of several the one of a body that none of ``by_key`` is in: there the content key
    of the body tells which it is.
    """

    path: str
    default: Dialect
    by_key: Mapping[str, Dialect] = field(default_factory=dict)

    @property
    def dialects(self) -> tuple[Dialect, ...]:
        """All that is spoken here."""
        others = [dialect for dialect in self.by_key.values() if dialect is not self.default]
        return (self.default, *others)

    def dialect(self, body: object) -> Dialect:
        """The language of a body. A null is as good as nothing.

        Raises ``AmbiguousBody`` for one in two languages at once, or in one that is spoken elsewhere.
        """
        found = [key for key in _CONTENT_KEYS if body.get(key) is not None] if isinstance(body, dict) else []
        if not self.by_key:
            return self.default
        if len(found) > 1:
            raise AmbiguousBody(f"the body has {' and '.join(found)}: send only one of them")
        if found == ["pairs"] and "pairs" not in self.by_key:
            raise AmbiguousBody("the body has pairs: send it to /rerank/batch")
        return self.by_key.get(found[0], self.default) if found else self.default

    @property
    def refusal(self) -> Dialect:
        """The language of an error before the body is read: the one whose errors have the most to say."""
        return self.by_key.get("documents", self.default)


_EVERY_KEY = {"passage": PAIR, "documents": DOCUMENTS, "texts": TEI, "passages": NIM}
_FAMILY = ("/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking", "/", "/invocations")
_RERANK = ("/rerank", "/v1/rerank", "/v2/rerank")

# For what a body cannot tell: a language for all that is below a prefix.
PREFIXES: Mapping[str, Mapping[str, Dialect]] = {
    "/cohere": {"/rerank": COHERE_V2, "/v1/rerank": COHERE_V1, "/v2/rerank": COHERE_V2},
    "/jina": dict.fromkeys(_RERANK, JINA),
    "/siliconflow": dict.fromkeys(_RERANK, JINA),
    "/voyage": dict.fromkeys(_RERANK, VOYAGE),
    "/infinity": dict.fromkeys(_RERANK, INFINITY),
    "/tei": dict.fromkeys((*_RERANK, "/", "/invocations"), TEI),
    "/vllm": dict.fromkeys(_RERANK, VLLM) | dict.fromkeys(("/score", "/v1/score"), SCORE),
    "/llamacpp": dict.fromkeys((*_RERANK, "/reranking", "/v1/reranking"), LLAMA_CPP),
    "/xinference": dict.fromkeys(_RERANK, XINFERENCE),
    "/nim": {"/v1/ranking": NIM},
}


def _places() -> Iterator[Place]:
    yield Place("/rerank", PAIR, _EVERY_KEY)
    yield Place("/rerank/batch", BATCH, {"pairs": BATCH})
    for path in _FAMILY:
        yield Place(path, DOCUMENTS, _EVERY_KEY)
    yield Place("/score", SCORE)
    yield Place("/v1/score", SCORE)
    yield Place("/v1/ranking", NIM)
    for prefix, paths in PREFIXES.items():
        for path, dialect in paths.items():
            both = {"documents": LLAMA_CPP, "texts": LLAMA_CPP_TEXTS} if dialect is LLAMA_CPP else {}
            yield Place((prefix + path).rstrip("/"), dialect, both)


PLACES = tuple(_places())
BY_PATH = {place.path: place for place in PLACES}

# Every field that some dialect reads, and those of them that may hold documents.
FIELDS = frozenset(_CONTENT_KEYS).union(
    *(dialect.request.__struct_fields__ for place in PLACES for dialect in place.dialects)
)
ARRAYS = (*_CONTENT_KEYS, "queries", "items", "data_1", "data_2", "text_1", "text_2")
