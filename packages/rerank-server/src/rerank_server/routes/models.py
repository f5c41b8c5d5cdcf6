"""The list of models, which has one, in the shapes of OpenAI, vLLM, Xinference and Infinity."""

from __future__ import annotations

from typing import Any

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct
from rerank_core.errors import UnknownModel

from rerank_server.dialects.replies import UnixTime
from rerank_server.dialects.routing import dialect_of_prefix
from rerank_server.inference.service import Service
from rerank_server.lifecycle.lifecycle import Lifecycle
from rerank_server.middleware.dialect_prefix import original_path
from rerank_server.routes.get import AnyRequest, get_and_head
from rerank_server.routes.replies import new_reply
from rerank_server.settings import Settings


class Stats(Struct):
    """The queue: the number of waiting sequences, and the share of RERANK_MAX_QUEUE_PAIRS in use, from 0 to 1."""

    queue_absolute: int
    queue_fraction: float


class Model(Struct):
    """A model.

    ``id`` to ``owned_by`` are OpenAI's fields, ``root`` to ``max_model_len`` vLLM's, ``model_type`` is Xinference's,
    and ``capabilities`` to ``stats`` are Infinity's. ``owned_by`` is the vendor of the path's prefix, or `rerank`.
    ``takes_instruction``: whether a request may have an instruction; ``instruction`` is used where it has none.
    """

    id: str
    object: str
    created: UnixTime
    owned_by: str
    root: str
    parent: str | None
    max_model_len: int | None
    model_type: str
    capabilities: list[str]
    backend: str
    stats: Stats
    max_input_length: int | None
    takes_instruction: bool | None
    instruction: str | None


class Models(Struct):
    """The list of models."""

    object: str
    data: list[Model]


class NoModel(Struct):
    """The error for a name that no model has."""

    detail: str


class Cluster(Struct):
    """Whether API keys are required. Xinference's clients ask before they send theirs."""

    auth: bool


def model_routes(lifecycle: Lifecycle, settings: Settings) -> list[HTTPRouteHandler]:
    """``/models``, ``/v1/models``, ``/v1/models/NAME``, and ``/v1/cluster/auth``."""

    def model(request: AnyRequest) -> Model:
        info = lifecycle.model.info if lifecycle.model else None
        dialect = dialect_of_prefix(original_path(request.scope))
        name, length = (info.name, info.max_length) if info else (settings.model, settings.max_length)
        return Model(
            id=name,
            object="model",
            created=0,  # not known from the files of a model
            owned_by=dialect.model_owner if dialect else "rerank",
            root=name,
            parent=None,
            max_model_len=length,
            model_type="rerank",
            capabilities=["rerank"],
            backend=info.engine if info else "",
            stats=_stats(lifecycle.service),
            max_input_length=length,
            takes_instruction=info.takes_instruction if info else None,
            instruction=info.instruction if info else None,
        )

    def models(request: AnyRequest) -> Response[Models]:
        return Response(Models("list", [model(request)]))

    def one(request: AnyRequest) -> Response[Any]:
        name, found = request.path_params["name"].strip("/"), model(request)
        if not settings.strict_model or name in (found.id, settings.model):
            return Response(found)
        error = UnknownModel(f"the model {name[:200]!r} does not run here: {found.id!r} does")
        dialect = dialect_of_prefix(original_path(request.scope))
        if dialect is None:
            return Response(NoModel(str(error)), status_code=404)
        return Response(dialect.error(error, new_reply()), status_code=dialect.status_of(error))

    def cluster(_: AnyRequest) -> Response[Cluster]:
        return Response(Cluster(auth=bool(settings.api_keys or settings.api_keys_file)))

    return [
        *get_and_head("/v1/cluster/auth", cluster, is_open=True),  # clients of Xinference ask there whether to send one
        *get_and_head("/models", models),
        *get_and_head("/v1/models", models),
        *get_and_head("/v1/models/{name:path}", one),
    ]


def _stats(service: Service | None) -> Stats:
    if service is None:
        return Stats(queue_absolute=0, queue_fraction=0.0)
    admission = service.admission
    return Stats(
        queue_absolute=service.scheduler.waiting_sequences, queue_fraction=admission.pairs / admission.max_pairs
    )
