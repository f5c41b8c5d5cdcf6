"""The operations of the OpenAPI document: one for each route and method."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from rerank_server import __version__
from rerank_server.dialects.native import Problem
from rerank_server.dialects.routing import PREFIXES, ROUTES, ROUTES_BY_PATH, ScoringRoute, prefix_of
from rerank_server.routes.health import Health, State
from rerank_server.routes.info import Info, Service
from rerank_server.routes.models import Cluster, Model, Models, NoModel
from rerank_server.routes.openapi.errors import UNAUTHORIZED, WWW_AUTHENTICATE, error_replies


@dataclass(frozen=True, slots=True)
class Tag:
    """A group of operations: its name in generated code, its title on a page, and its description."""

    name: str
    title: str
    description: str


# In the order of the pages. The first two are open there, and the others folded.
TAGS = (
    Tag("scoring", "Scoring", "Scores of pairs, and documents in the order of their scores."),
    Tag("server", "Server", "State, probes, metrics and limits."),
    Tag("models", "Models", "The service and its model."),
    Tag("aliases", "Aliases", "Other paths of `/v1/rerank`, for clients whose path is fixed."),
    Tag("sagemaker", "SageMaker", "The paths that Amazon SageMaker calls."),
    Tag("cohere", "Cohere", "The API of Cohere, versions 1 and 2."),
    Tag("jina", "Jina", "The API of Jina."),
    Tag("siliconflow", "SiliconFlow", "The API of SiliconFlow."),
    Tag("voyage", "Voyage", "The API of Voyage."),
    Tag("infinity", "Infinity", "The API of Infinity."),
    Tag("tei", "text-embeddings-inference", "The API of text-embeddings-inference."),
    Tag("vllm", "vLLM", "The API of vLLM."),
    Tag("llamacpp", "llama.cpp", "The API of the server of llama.cpp."),
    Tag("xinference", "Xinference", "The API of Xinference."),
    Tag("nim", "NVIDIA NIM", "The API of NVIDIA's NIM."),
)


@dataclass(frozen=True, slots=True)
class Reply:
    """A response: status, description, types of the body (empty: no body), and an example.

    ``text``: the media type of a body that is not JSON.
    """

    status: int
    description: str
    body: tuple[Any, ...] = ()
    example: object = None
    headers: dict[str, Any] = field(default_factory=dict)
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """A route, for one method.

    ``id`` is the name of its function in generated code. ``needs_key``: where the server requires an API key.
    """

    method: str
    path: str
    id: str
    tag: str
    summary: str
    replies: tuple[Reply, ...]
    body: type[Struct] | None = None
    example: object = None
    description: str = ""
    needs_key: bool = True


# ---------------------------------------------------------------------------- scoring

_OURS = {"/v1/rerank": "rerank", "/rerank": "score_pair", "/rerank/batch": "score_pairs"}

# The first path at which a dialect is the default one, by the dialect's name.
_HOMES = {route.default.name: route.path for route in reversed(ROUTES)}


def _scoring(route: ScoringRoute) -> Operation:
    """The operation of a scoring route.

    Its request and its response are those of the default dialect, so that they have one type each: a generator makes
    a clumsy type of several, and Java that does not compile where one of them is a list. The other dialects are told
    in words.
    """
    dialect = route.default
    errors = (
        Reply(error.status, error.meaning, error.body, error.example, error.headers) for error in error_replies(dialect)
    )
    return Operation(
        method="post",
        path=route.path,
        id=_id(route.path),
        tag=_tag(route),
        summary=dialect.summary,
        replies=(Reply(200, "The scores.", (dialect.response,), dialect.answered), *errors),
        body=dialect.request,
        example=dict(dialect.example),
        description=" ".join(_elsewhere(route)),
    )


def _id(path: str) -> str:
    if path in PREFIXES or path == "/":
        return f"{path[1:] or 'rerank'}_root"
    return _OURS.get(path) or path[1:].replace("/", "_")


def _tag(route: ScoringRoute) -> str:
    prefix = prefix_of(route.path)
    if route.path in _OURS:
        return "scoring"
    if route.path == "/invocations":
        return "sagemaker"
    if prefix in PREFIXES:
        return prefix[1:]
    # Another server's own path: that of the prefix with the same dialect.
    return next((name[1:] for name, paths in PREFIXES.items() if route.default in paths.values()), "aliases")


def _elsewhere(route: ScoringRoute) -> Iterator[str]:
    """A sentence for each other dialect of the route."""
    for dialect in route.dialects[1:]:
        keys = " or ".join(f"`{key}`" for key in route.keys_of(dialect))
        if dialect.name in _HOMES:
            yield f"A body with {keys} is answered as at `{_HOMES[dialect.name]}`."
        else:
            yield f"A body with {keys}: {dialect.summary[0].lower()}{dialect.summary[1:]}."


# ---------------------------------------------------------------------------- everything else

_HEALTH = {
    "status": "healthy",
    "model_loaded": True,
    "model_name": "BAAI/bge-reranker-v2-m3",
    "device": "cpu",
    "dtype": "float32",
    "version": __version__,
}
_READY = (
    Reply(200, "The server accepts scoring requests.", (State,), {"status": "healthy"}),
    Reply(503, "The server is loading, draining, stuck or broken.", (State,), {"status": "loading"}),
)
_ALIVE = (Reply(200, "The process answers.", (State,), {"status": "alive"}),)
_NO_KEY = Reply(401, UNAUTHORIZED, (Problem,), headers=WWW_AUTHENTICATE)
_MODELS = (Reply(200, "A list of one model.", (Models,)), _NO_KEY)


def _get(path: str, id: str, tag: str, summary: str, *replies: Reply) -> Operation:  # noqa: A002
    """An operation that needs a key where one of its replies says so."""
    return Operation("get", path, id, tag, summary, replies, needs_key=_NO_KEY in replies)


OPERATIONS = (
    *(_scoring(ROUTES_BY_PATH[path]) for path in _OURS),
    *(_scoring(route) for route in ROUTES if route.path not in _OURS),
    _get(
        "/health",
        "get_health",
        "server",
        "The state of the server",
        Reply(200, "The model is loaded.", (Health,), _HEALTH),
        Reply(
            503,
            "The server is loading, draining, stuck or broken.",
            (Health,),
            _HEALTH | {"status": "loading", "model_loaded": False},
        ),
    ),
    _get("/readyz", "get_readiness", "server", "Readiness: whether the server accepts scoring requests", *_READY),
    _get("/livez", "get_liveness", "server", "Liveness: whether the process answers", *_ALIVE),
    _get(
        "/info",
        "get_info",
        "server",
        "The model and the limits, in the shape of text-embeddings-inference",
        Reply(200, "The model and the limits.", (Info,)),
        _NO_KEY,
    ),
    _get(
        "/metrics",
        "get_metrics",
        "server",
        "Metrics for Prometheus",
        Reply(200, "The metrics in the text format of Prometheus.", text="text/plain"),
    ),
    _get(
        "/",
        "get_service",
        "models",
        "The service and its model",
        Reply(200, "The service, its version and its model.", (Service,)),
        Reply(302, "A redirection of browsers to the playground."),
    ),
    _get("/v1/models", "list_models", "models", "The list of models", *_MODELS),
    _get(
        "/v1/models/{name}",
        "get_model",
        "models",
        "A model by its name",
        Reply(200, "The model.", (Model,)),
        _NO_KEY,
        Reply(404, "No model has this name, and RERANK_STRICT_MODEL is set.", (NoModel,)),
    ),
    _get("/models", "list_models_unversioned", "models", "The list of models, at the path of Infinity", *_MODELS),
    _get("/ping", "ping", "sagemaker", "Readiness, for SageMaker", *_READY),
    _get("/v1/health/ready", "nim_readiness", "nim", "Readiness, for clients of NIM", *_READY),
    _get("/v1/health/live", "nim_liveness", "nim", "Liveness, for clients of NIM", *_ALIVE),
    _get(
        "/v1/cluster/auth",
        "xinference_auth",
        "xinference",
        "Whether API keys are required, for clients of Xinference",
        Reply(200, "Whether API keys are required.", (Cluster,)),
    ),
)
