"""The one model that runs here, as OpenAI, Xinference and Infinity list theirs."""

from __future__ import annotations

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from rerank_server.lifecycle import Lifecycle
from rerank_server.routes.get import AnyRequest, get_and_head
from rerank_server.settings import Settings


class Model(Struct):
    """A model."""

    id: str
    object: str
    created: int
    owned_by: str
    model_type: str
    capabilities: list[str]
    max_input_length: int | None


class Models(Struct):
    """All of them: one."""

    object: str
    data: list[Model]


class NoModel(Struct):
    """No model has that name here."""

    detail: str


class Cluster(Struct):
    """Whether keys are asked for. Xinference's clients look before they send theirs."""

    auth: bool


def model_routes(lifecycle: Lifecycle, settings: Settings) -> list[HTTPRouteHandler]:
    """``/models``, ``/v1/models``, ``/v1/models/NAME``, and ``/v1/cluster/auth``."""

    def model() -> Model:
        info = lifecycle.model.info if lifecycle.model else None
        return Model(
            id=info.name if info else settings.model,
            object="model",
            created=0,  # files do not say
            owned_by="rerank",
            model_type="rerank",
            capabilities=["rerank"],
            max_input_length=info.max_length if info else settings.max_length,
        )

    def models(_: AnyRequest) -> Response[Models]:
        return Response(Models("list", [model()]))

    def one(request: AnyRequest) -> Response[Model] | Response[NoModel]:
        name, found = request.path_params["name"].strip("/"), model()
        if settings.strict_model and name not in (found.id, settings.model):
            return Response(NoModel(f"the model {name[:200]!r} does not run here: {found.id!r} does"), status_code=404)
        return Response(found)

    def cluster(_: AnyRequest) -> Response[Cluster]:
        return Response(Cluster(auth=bool(settings.api_keys or settings.api_keys_file)))

    return [
        *get_and_head("/v1/cluster/auth", cluster),
        *get_and_head("/models", models),
        *get_and_head("/v1/models", models),
        *get_and_head("/v1/models/{name:path}", one),
    ]
