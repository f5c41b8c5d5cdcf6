"""Which language is spoken where: every path that scores, and what tells at those that speak several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rerank_server.dialects.base import Dialect
from rerank_server.dialects.cohere import COHERE_V1, COHERE_V2
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
from rerank_server.errors import AmbiguousBody

# A body has its texts below some of these, and they tell its language.
_CONTENT_KEYS = ("passage", "documents", "texts", "passages", "pairs")
_SIDES = ("queries", "items", "data_1", "data_2", "text_1", "text_2")


@dataclass(frozen=True, slots=True)
class Place:
    """A path that scores, and the languages that are spoken there: the first is that of a body that tells nothing.

    ``told_by`` are the keys that tell the language. Without any, every body is in the first.
    """

    path: str
    dialects: tuple[Dialect, ...]
    told_by: tuple[str, ...] = ()

    @property
    def default(self) -> Dialect:
        """The language of a body that tells nothing."""
        return self.dialects[0]

    def dialect(self, body: object) -> Dialect:
        """The language that has all the keys of a body. A null tells no more than a field that is not about texts.

        Raises ``AmbiguousBody`` for one in two languages at once, or in one that is spoken elsewhere.
        """
        if not self.told_by or not isinstance(body, dict):
            return self.default
        found = [key for key in self.told_by if body.get(key) is not None]
        possible = self._knowing(found)
        if possible:  # of several it is the one that has most of the fields: who sends `top_n` misses no `passage`
            return max(possible, key=lambda dialect: len(_fields(dialect).intersection(body)))
        texts = [key for key in found if key != "query"]
        names = found if self._knowing(texts) else texts
        if len(names) > 1:
            raise AmbiguousBody(f"the body has {' and '.join(names)}: send only one of them")
        if names == ["pairs"]:
            raise AmbiguousBody("the body has pairs: send it to /rerank/batch")
        return self.default

    def keys_of(self, dialect: Dialect) -> list[str]:
        """The keys that tell this language here."""
        return [key for key in self.told_by if key != "query" and self._knowing([key])[:1] == [dialect]]

    @property
    def refusal(self) -> Dialect:
        """The language of an error before the body is read: the one whose errors have the most to say."""
        return DOCUMENTS if DOCUMENTS in self.dialects else self.default

    def _knowing(self, keys: Sequence[str]) -> list[Dialect]:
        """The languages that have each of these fields."""
        return [dialect for dialect in self.dialects if _fields(dialect).issuperset(keys)]


def _fields(dialect: Dialect) -> frozenset[str]:
    return frozenset(dialect.request.__struct_fields__)


_FAMILY = ("/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking", "/")
_RERANK = ("/rerank", "/v1/rerank", "/v2/rerank")

# For what a body cannot tell: a language for all that is below a prefix.
PREFIXES: Mapping[str, Mapping[str, Dialect]] = {
    "/cohere": {"/rerank": COHERE_V2, "/v1/rerank": COHERE_V1, "/v2/rerank": COHERE_V2},
    "/jina": dict.fromkeys(_RERANK, JINA),
    "/siliconflow": dict.fromkeys(_RERANK, JINA),
    "/voyage": dict.fromkeys(_RERANK, VOYAGE),
    "/infinity": dict.fromkeys(_RERANK, INFINITY),
    "/tei": dict.fromkeys((*_RERANK, "/", "/invocations"), TEI),
    "/vllm": dict.fromkeys((*_RERANK, "/invocations"), VLLM) | dict.fromkeys(("/score", "/v1/score"), SCORE),
    "/llamacpp": dict.fromkeys((*_RERANK, "/reranking", "/v1/reranking"), LLAMA_CPP),
    "/xinference": dict.fromkeys(_RERANK, XINFERENCE),
    "/nim": {"/v1/ranking": NIM},
}

# Below a prefix, where one path has several.
_SEVERAL: Mapping[str, Place] = {
    **{
        path: Place(path, (LLAMA_CPP, LLAMA_CPP_TEXTS), _CONTENT_KEYS)
        for path in (f"/llamacpp{path}" for path in PREFIXES["/llamacpp"])
    },
    "/vllm/invocations": Place("/vllm/invocations", (VLLM, SCORE), ("query", *_CONTENT_KEYS, *_SIDES)),
}


def _places() -> Iterator[Place]:
    family = (DOCUMENTS, PAIR, TEI, NIM)
    yield Place("/rerank", (PAIR, DOCUMENTS, TEI, NIM), _CONTENT_KEYS)
    yield Place("/rerank/batch", (BATCH,), _CONTENT_KEYS)
    for path in _FAMILY:
        yield Place(path, family, _CONTENT_KEYS)
    yield Place("/invocations", (*family, SCORE), ("query", *_CONTENT_KEYS, *_SIDES))
    yield Place("/score", (SCORE,))
    yield Place("/v1/score", (SCORE,))
    yield Place("/v1/ranking", (NIM,))
    for prefix, paths in PREFIXES.items():
        for path, dialect in paths.items():
            below = (prefix + path).rstrip("/")
            yield _SEVERAL.get(below) or Place(below, (dialect,))


PLACES = tuple(_places())
BY_PATH = {place.path: place for place in PLACES}


def dialect_of_prefix(path: str) -> Dialect | None:
    """The language of the prefix that a path begins with; None without a prefix."""
    below = PREFIXES.get(prefix_of(path))
    return next(iter(below.values())) if below else None


def fallback_dialect(path: str) -> Dialect:
    """The language of an error at a path, for those who answer before a body is read: the documented API's for most."""
    place = BY_PATH.get("/" + "/".join(_parts(path)))
    return place.refusal if place else dialect_of_prefix(path) or BATCH


def prefix_of(path: str) -> str:
    """The first part of a path, which may be a prefix, however many slashes are around it."""
    return "/" + next(iter(_parts(path)), "")


def paths_beside(path: str) -> list[str]:
    """The paths that score below the prefix of a path."""
    prefix = prefix_of(path)
    return [prefix + below for below in PREFIXES[prefix]]


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


# Every field that some dialect reads, and those of them that may hold documents.
FIELDS = frozenset(_CONTENT_KEYS).union(
    *(dialect.request.__struct_fields__ for place in PLACES for dialect in place.dialects)
)
ARRAYS = (*_CONTENT_KEYS, *_SIDES)
