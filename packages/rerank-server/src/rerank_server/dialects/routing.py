"""The scoring routes: the dialects of each path, and how a body tells its dialect at a path that has several."""

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

# The keys of a body that hold its texts, and tell its dialect.
_CONTENT_KEYS = ("passage", "documents", "texts", "passages", "pairs")
_SIDES = ("queries", "items", "data_1", "data_2", "text_1", "text_2")


@dataclass(frozen=True, slots=True)
class ScoringRoute:
    """A path that scores, and its dialects. The first one is the default.

    ``dialect_keys`` are the keys of a body that tell its dialect. Without any, every body is in the default dialect.
    """

    path: str
    dialects: tuple[Dialect, ...]
    dialect_keys: tuple[str, ...] = ()

    @property
    def default(self) -> Dialect:
        """The dialect of a body that has none of the keys."""
        return self.dialects[0]

    def dialect(self, body: object) -> Dialect:
        """The dialect that has all of the body's keys. A key with a null counts as missing.

        Raises ``AmbiguousBody`` for a body with keys of two dialects, or of a dialect that has another path.
        """
        if not self.dialect_keys or not isinstance(body, dict):
            return self.default
        found = [key for key in self.dialect_keys if body.get(key) is not None]
        possible = self._with_fields(found)
        if possible:  # of several it is the one that has most of the fields: who sends `top_n` misses no `passage`
            return max(possible, key=lambda dialect: len(_fields(dialect).intersection(body)))
        texts = [key for key in found if key != "query"]
        names = found if self._with_fields(texts) else texts
        if len(names) > 1:
            raise AmbiguousBody(f"the body has {' and '.join(names)}: send only one of them")
        if names == ["pairs"]:
            raise AmbiguousBody("the body has pairs: send it to /rerank/batch")
        return self.default

    def keys_of(self, dialect: Dialect) -> list[str]:
        """The keys that tell this dialect at this path."""
        return [key for key in self.dialect_keys if key != "query" and self._with_fields([key])[:1] == [dialect]]

    @property
    def fallback(self) -> Dialect:
        """The dialect of an error before the body is read: the one whose errors have the most fields."""
        return DOCUMENTS if DOCUMENTS in self.dialects else self.default

    def _with_fields(self, keys: Sequence[str]) -> list[Dialect]:
        """The dialects that have all of these fields."""
        return [dialect for dialect in self.dialects if _fields(dialect).issuperset(keys)]


def _fields(dialect: Dialect) -> frozenset[str]:
    return frozenset(dialect.request.__struct_fields__)


_COMMON_PATHS = ("/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking", "/")
_RERANK = ("/rerank", "/v1/rerank", "/v2/rerank")

# Where a body cannot tell its dialect, the prefix of the path does.
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

# Paths below a prefix that have several dialects.
_SHARED: Mapping[str, ScoringRoute] = {
    **{
        path: ScoringRoute(path, (LLAMA_CPP, LLAMA_CPP_TEXTS), _CONTENT_KEYS)
        for path in (f"/llamacpp{path}" for path in PREFIXES["/llamacpp"])
    },
    "/vllm/invocations": ScoringRoute("/vllm/invocations", (VLLM, SCORE), ("query", *_CONTENT_KEYS, *_SIDES)),
}


def _routes() -> Iterator[ScoringRoute]:
    family = (DOCUMENTS, PAIR, TEI, NIM)
    yield ScoringRoute("/rerank", (PAIR, DOCUMENTS, TEI, NIM), _CONTENT_KEYS)
    yield ScoringRoute("/rerank/batch", (BATCH,), _CONTENT_KEYS)
    for path in _COMMON_PATHS:
        yield ScoringRoute(path, family, _CONTENT_KEYS)
    yield ScoringRoute("/invocations", (*family, SCORE), ("query", *_CONTENT_KEYS, *_SIDES))
    yield ScoringRoute("/score", (SCORE,))
    yield ScoringRoute("/v1/score", (SCORE,))
    yield ScoringRoute("/v1/ranking", (NIM,))
    for prefix, paths in PREFIXES.items():
        for path, dialect in paths.items():
            below = (prefix + path).rstrip("/")
            yield _SHARED.get(below) or ScoringRoute(below, (dialect,))


ROUTES = tuple(_routes())
ROUTES_BY_PATH = {route.path: route for route in ROUTES}


def dialect_of_prefix(path: str) -> Dialect | None:
    """The dialect of the prefix that a path begins with; None without a prefix."""
    below = PREFIXES.get(prefix_of(path))
    return next(iter(below.values())) if below else None


def fallback_dialect(path: str) -> Dialect:
    """The dialect of an error before the body is read: that of the path, else that of its prefix, else our own."""
    route = ROUTES_BY_PATH.get("/" + "/".join(_parts(path)))
    return route.fallback if route else dialect_of_prefix(path) or BATCH


def prefix_of(path: str) -> str:
    """The first segment of a path, which may be a prefix; slashes around it do not count."""
    return "/" + next(iter(_parts(path)), "")


def paths_beside(path: str) -> list[str]:
    """The scoring paths below the prefix of a path."""
    prefix = prefix_of(path)
    return [prefix + below for below in PREFIXES[prefix]]


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


# Every field that some dialect reads, and those of them that may hold documents.
FIELDS = frozenset(_CONTENT_KEYS).union(
    *(dialect.request.__struct_fields__ for route in ROUTES for dialect in route.dialects)
)
ARRAYS = (*_CONTENT_KEYS, *_SIDES)
