"""A scorer as a field of a pydantic model: its dump holds the settings that make it again, and no key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypeAlias, runtime_checkable

from pydantic import ConfigDict, GetJsonSchemaHandler, PlainSerializer, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from rerank_core.load_options import LoadOptions
from rerank_core.scorer import Scorer

from rerank_integrations.adapters.local import local_scorer
from rerank_integrations.adapters.remote import Timeout, remote_scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """The settings of a scorer that asks a server: the arguments of an adapter's ``from_url``, without the key."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    url: str | list[str]
    timeout: Timeout = "auto"
    max_retries: int = 3
    hedge_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings(LoadOptions):
    """The settings of a model in this process: the arguments of an adapter's ``from_model``."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    model: str


@runtime_checkable
class Configured(Protocol):
    """A scorer that may know the settings which make it again."""

    def configuration(self) -> dict[str, Any] | None:
        """Return settings that JSON can hold, and no key; None where nothing makes it again."""
        ...


def settings_of(scorer: Scorer) -> dict[str, Any] | None:
    """Return the settings that make a scorer again; None for a scorer of the caller's own."""
    return scorer.configuration() if isinstance(scorer, Configured) else None


def with_scorer(adapter: type, fields: Any) -> Any:
    """Return the fields that an adapter is made of, with a scorer in place of its settings.

    ``api_key`` may stand beside the settings of a server. Raises ``ValueError`` with the way out for fields that make
    no scorer, and what making it raises.
    """
    if not isinstance(fields, dict):
        return fields
    fields = dict(fields)
    api_key = fields.pop("api_key", None)
    scorer = fields.get("scorer")
    ways = f"{adapter.__name__}.from_url(URL) asks a server, {adapter.__name__}.from_model(NAME) loads a model"
    if misplaced := fields.keys() & {"url", "base_url", "model"}:
        raise ValueError(f"{min(misplaced)} is not a field: {ways}")
    if isinstance(scorer, str):
        raise ValueError(f"scorer is a string: {ways}")
    if "scorer" not in fields:
        raise ValueError(f"scorer is missing: {ways}")
    if scorer is None:
        raise ValueError("scorer is None, as in the dump of an adapter with a scorer of your own: pass scorer=")
    if isinstance(scorer, dict):
        fields["scorer"] = _made(scorer, api_key, fields)
    elif api_key is not None:
        raise ValueError(f"api_key is an argument of the scorer: {adapter.__name__}.from_url(URL, api_key=...)")
    return fields


def _made(settings: dict[str, Any], api_key: str | Callable[[], str] | None, fields: dict[str, Any]) -> Scorer:
    if "model" in settings:
        if api_key is not None:
            raise ValueError("api_key is for a server, and scorer has a model: leave one of the two out")
        chosen = _MODEL.validate_python(settings)  # reads the text "false" as False
        return local_scorer(chosen.model, **{name: getattr(chosen, name) for name in settings if name != "model"})
    server = _SERVER.validate_python(settings)
    return remote_scorer(
        server.url,
        api_key=api_key,
        timeout=server.timeout,
        max_retries=server.max_retries,
        hedge_after=server.hedge_after,
        on_error=fields.get("on_error", "raise"),
    )


class _AsSettings:
    """Makes the JSON schema of a field that holds a scorer: that of its settings."""

    @staticmethod
    def __get_pydantic_json_schema__(_: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"title": "Scorer", "anyOf": [_SERVER.json_schema(), _MODEL.json_schema()]}


SavedScorer: TypeAlias = Annotated[Scorer, PlainSerializer(settings_of), _AsSettings]
"""The type of the field."""

_SERVER = TypeAdapter(ServerSettings)
_MODEL = TypeAdapter(ModelSettings)
