"""The service, its model, and its limits."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta, Struct
from rerank_core.types import ModelInfo

from rerank_server import __version__
from rerank_server.lifecycle.lifecycle import Lifecycle
from rerank_server.routes.get import AnyRequest, get_and_head
from rerank_server.routes.pages import redirect
from rerank_server.settings import Settings


class Calibration(Struct):
    """The calibration of the model: scores in [0, 1] are sigmoid(a * raw + b)."""

    a: float
    b: float


class ModelDescription(Struct):
    """The model. Fields that are not known before it is loaded are null.

    ``languages`` are those that the model card names, as codes such as `en`; the list is empty where it names none.
    ``takes_instruction``: whether a request may have an instruction; ``instruction`` is used where it has none.
    """

    name: str
    revision: str | None = None
    kind: str | None = None
    engine: str | None = None
    engine_reason: str | None = None
    device: str | None = None
    dtype: str | None = None
    max_length: int | None = None
    activation: str | None = None
    long_documents: str | None = None
    calibration: Calibration | None = None
    languages: list[str] | None = None
    takes_instruction: bool | None = None
    instruction: str | None = None


class Service(Struct):
    """The service and its model, as ``/`` returns them."""

    service: str
    version: str
    status: str
    model: ModelDescription
    docs: dict[str, str]
    endpoints: dict[str, str]


class Info(Struct):
    """The fields of text-embeddings-inference's ``/info``, followed by our own.

    ``independent``: a document's score does not depend on the other documents of the request. ``takes_instruction``:
    whether a request may have an instruction; ``instruction`` is the one that is used where it has none. ``recipe``
    names where the prompt of a language model comes from, and ``example_prompt`` is that of an example.
    """

    model_id: str
    model_sha: str | None
    model_dtype: str | None
    model_type: dict[str, Any]
    max_concurrent_requests: int | None
    max_input_length: int | None
    max_batch_tokens: int | None
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None
    docker_label: str | None
    kind: str | None
    calibration: Calibration | None
    truncation_side: str | None
    max_text_chars: int
    max_body_bytes: Annotated[int, Meta(extra_json_schema={"format": "int64"})]
    independent: bool | None
    takes_instruction: bool | None
    instruction: str | None
    recipe: str | None
    example_prompt: str | None


_DOCS = {"swagger": "/docs", "redoc": "/redoc", "openapi": "/openapi.json"}
_ENDPOINTS = {
    "POST /rerank": "score one query and passage",
    "POST /rerank/batch": "score up to 100 pairs",
    "POST /v1/rerank": "order documents by how well they answer a query; /docs lists the APIs of other vendors",
    "GET /health": "the state of the server",
    "GET /readyz": "200 while scoring requests are accepted",
    "GET /livez": "200 while the process answers",
    "GET /info": "the model and the limits",
}


def info_routes(lifecycle: Lifecycle, settings: Settings) -> list[HTTPRouteHandler]:
    """``/`` and ``/info``."""

    def root(request: AnyRequest) -> Response[Any]:
        if _is_browser(request):
            if settings.root_path:
                return Response(b"", status_code=302, headers={"Location": f"{settings.root_path}/playground"})
            return redirect(request, "/playground")
        info = lifecycle.model.info if lifecycle.model else None
        model = ModelDescription(name=settings.model)
        if info is not None:
            fields = {name: getattr(info, name) for name in ModelDescription.__struct_fields__}
            model = ModelDescription(**fields | {"calibration": _calibration(info), "languages": list(info.languages)})
        return Response(Service("rerank", __version__, lifecycle.state, model, _DOCS, _ENDPOINTS))

    def info(_: AnyRequest) -> Response[Info]:
        model = lifecycle.model
        body = Info(
            model_id=model.info.name if model else settings.model,
            model_sha=model.info.revision if model else settings.revision,
            model_dtype=model.info.dtype if model else None,
            model_type={"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
            max_concurrent_requests=None,
            max_input_length=model.info.max_length if model else settings.max_length,
            max_batch_tokens=model.batch_tokens if model else None,
            max_batch_requests=None,
            max_client_batch_size=settings.max_documents,
            auto_truncate=True,
            tokenization_workers=1,
            version=__version__,
            sha=None,
            docker_label=None,
            kind=model.info.kind if model else None,
            calibration=_calibration(model.info) if model else None,
            truncation_side=model.info.truncation_side if model else None,
            max_text_chars=settings.max_text_chars,
            max_body_bytes=settings.max_body_bytes,
            independent=model.independent if model else None,
            takes_instruction=model.info.takes_instruction if model else None,
            instruction=model.info.instruction if model else None,
            recipe=model.info.recipe if model else settings.recipe,
            example_prompt=model.info.example_prompt if model else None,
        )
        return Response(body)

    return [*get_and_head("/", root, is_open=True), *get_and_head("/info", info)]


def _calibration(info: ModelInfo) -> Calibration | None:
    return Calibration(*info.calibration) if info.calibration else None


def _is_browser(request: AnyRequest) -> bool:
    """Whether the client prefers HTML to JSON. One that accepts anything, as most programs do, gets JSON."""
    return request.accept.best_match(["application/json", "text/html"]) == "text/html"
