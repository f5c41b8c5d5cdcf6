"""Every setting, its default, and what it may be. The only reader of the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from rerank_core.devices import DType
from rerank_core.sources import DEFAULT_MODEL
from rerank_core.types import LongDocuments, Truncation

PREFIX = "RERANK_"

# The names that the replaced service documented, spelled as they were.
DOCUMENTED = {
    "MODEL_NAME": "model",
    "PORT": "port",
    "HOST": "host",
    "USE_FP16": "use_fp16",
    "CORS_ORIGINS": "cors_origins",
}


class SettingsError(Exception):
    """A setting that cannot be: the message names the variable and what is allowed."""


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a server runs. See ``docs/configuration.md``, which is generated from here."""

    model: Annotated[
        str, Meta(min_length=1, description="The model: a local directory, a name on the Hugging Face hub, or `lite`.")
    ] = DEFAULT_MODEL
    port: Annotated[int, Meta(ge=0, le=65_535, description="The TCP port to listen on; 0 takes a free one.")] = 8000
    host: Annotated[str, Meta(min_length=1, description="The address to listen on.")] = "0.0.0.0"  # noqa: S104
    use_fp16: Annotated[
        bool,
        Meta(
            description="Compute in float16 on CUDA. Without CUDA the server starts in float32, with one warning. "
            "Must not contradict `RERANK_DTYPE`."
        ),
    ] = False
    cors_origins: Annotated[
        str, Meta(description="Origins whose pages may call the server, separated by commas, or `*` for all.")
    ] = "*"
    revision: Annotated[str | None, Meta(description="The branch, tag or commit of a hub model.")] = None
    device: Annotated[
        str, Meta(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="`auto`, `cpu`, `cuda`, `cuda:1`, ... or `mps`.")
    ] = "auto"
    dtype: Annotated[
        DType,
        Meta(
            description="The numbers to compute with. `auto` is float32. A CPU has also `float16-weights` (half the "
            "memory, nearly exact), `bfloat16` and `int8` (faster, less exact: see `docs/scores.md`), a GPU `float16` "
            "and `bfloat16`."
        ),
    ] = "auto"
    engine: Annotated[
        Literal["auto", "packed", "reference"],
        Meta(description="What runs the network: `packed` is the fast one, `reference` is plain transformers."),
    ] = "auto"
    max_length: Annotated[
        Annotated[int, Meta(ge=8)] | None,
        Meta(description="Tokens the model reads of a pair. Without it: 512, or fewer where it reads fewer."),
    ] = None
    truncation: Annotated[
        Truncation,
        Meta(description="What is cut where a pair is longer: the longer text first, or only the document."),
    ] = "longest_first"
    long_documents: Annotated[
        LongDocuments,
        Meta(
            description="What becomes of a document longer than the model reads, where a request does not say: "
            "`truncate` cuts it, `chunk` scores all of it, in windows, and takes as much longer."
        ),
    ] = "truncate"
    calibration: Annotated[
        str | None,
        Meta(
            description="`a,b`, or a file of `rerank eval --calibrate`: scores in [0, 1] are then "
            "sigmoid(a * raw + b), instead of sigmoid(raw)."
        ),
    ] = None
    strict_model: Annotated[
        bool, Meta(description="Answer 404 where a request names another model; otherwise any name will do.")
    ] = False
    label: Annotated[
        str | None, Meta(description="Which output is the score, by number or name, for a model with several.")
    ] = None
    threads: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="CPU threads of the network. Without it: as many as the container may use."),
    ] = None
    trust_remote_code: Annotated[bool, Meta(description="Run Python code that a checkpoint brings along.")] = False
    max_documents: Annotated[int, Meta(ge=1, description="Documents a request may have.")] = 1000
    max_text_chars: Annotated[
        int,
        Meta(
            ge=1,
            description="Characters a query or a document may have where it may not be cut (`truncate` false). "
            "Where it may, so many of it are read for windows (`long_documents` is `chunk`), and by a tokenizer that "
            "cannot read only the beginning; otherwise the body's size is the limit. `/rerank` with pairs: 10,000.",
        ),
    ] = 100_000
    max_body_bytes: Annotated[int, Meta(ge=1024, description="Bytes a request's body may have.")] = 10_000_000
    max_queue_pairs: Annotated[
        int,
        Meta(ge=1, description="Pairs of all requests that may be in the server at once; beyond them it answers 429."),
    ] = 4000
    max_queue_tokens: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="The same in tokens. Without it: `RERANK_MAX_QUEUE_PAIRS` of the longest that the model reads."
        ),
    ] = None
    timeout: Annotated[
        float,
        Meta(
            gt=0, description="Seconds a request may take, then it is answered 504; `X-Request-Timeout` may shorten it."
        ),
    ] = 300.0
    receive_timeout: Annotated[
        float,
        Meta(
            gt=0,
            description="Seconds a client has to deliver its request, or may take nothing of its answer; then the "
            "connection is closed.",
        ),
    ] = 30.0
    stuck_seconds: Annotated[
        float,
        Meta(
            gt=0,
            description="Seconds that one batch may take before the server is not ready, and refuses what waits with "
            "503; at twice that the process ends with status 1. Earlier, at twenty times the longest of late (5 s at "
            "least); later on a machine where batches take long, at five times the longest, and for the first batch at "
            "ten times this.",
        ),
    ] = 60.0
    cache_mb: Annotated[
        int, Meta(ge=0, description="Megabytes for the scores of pairs that were scored before; 0 keeps none.")
    ] = 0
    prestop_seconds: Annotated[
        float,
        Meta(ge=0, description="Seconds that new requests are still taken after the server is told to stop."),
    ] = 0.0
    drain_seconds: Annotated[int, Meta(ge=0, description="Seconds that requests in flight then have to finish.")] = 30
    api_keys: Annotated[
        str | None,
        Meta(description="Keys that clients may use, separated by commas. Without any, no key is asked for."),
    ] = None
    api_keys_file: Annotated[
        str | None, Meta(description="A file with such keys, one a line, beside those of `RERANK_API_KEYS`.")
    ] = None
    metrics_auth: Annotated[bool, Meta(description="Ask for a key at `/metrics` too.")] = False
    uds: Annotated[str | None, Meta(description="A Unix socket to listen on, instead of `HOST` and `PORT`.")] = None
    root_path: Annotated[
        str,
        Meta(
            pattern=r"^(/[^/\s]+)*$", description="The prefix under which an ingress serves this, such as `/ranking`."
        ),
    ] = ""
    otlp_endpoint: Annotated[
        str | None,
        Meta(
            description="Where to send OpenTelemetry traces over HTTP, such as `http://collector:4318`; needs "
            "the extra `otel`."
        ),
    ] = None
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="What is logged.")] = "info"
    log_format: Annotated[Literal["console", "json"], Meta(description="How a line of the log looks.")] = "console"

    def __post_init__(self) -> None:
        """Refuse what is well-formed and still cannot be."""
        if self.use_fp16 and self.dtype not in {"auto", "float16"}:
            raise _disagreement(self)
        for origin in self.origins:
            if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin):
                raise SettingsError(
                    f"CORS_ORIGINS holds {origin!r}: an origin is like https://app.example, or there is just one *"
                )
        if self.root_path in {"/rerank", "/v1"}:
            raise SettingsError(
                f"RERANK_ROOT_PATH is {self.root_path!r}, where a route of ours begins: use another prefix"
            )
        if self.max_queue_pairs < self.max_documents:
            raise SettingsError(
                f"RERANK_MAX_QUEUE_PAIRS is {self.max_queue_pairs}, less than the {self.max_documents} documents that "
                "a request may have (RERANK_MAX_DOCUMENTS): such a request could never be taken"
            )
        if "*" in self.origins and len(self.origins) > 1:
            raise SettingsError("CORS_ORIGINS holds * and named origins: use one or the other")

    def __repr__(self) -> str:
        """All fields; of the keys only that there are some."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        if self.api_keys is not None:
            values["api_keys"] = "(hidden)"
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in values.items())})"

    @property
    def origins(self) -> tuple[str, ...]:
        """The CORS origins, one by one."""
        return tuple(origin.strip().rstrip("/") for origin in self.cors_origins.split(",") if origin.strip())

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read the environment; an empty value is none.

        The names that Kubernetes injects for a Service called rerank (``RERANK_SERVICE_*``, ``RERANK_PORT*``) are
        passed over. Raises ``SettingsError`` for an unknown name or a value that is not allowed.
        """
        values: dict[str, Any] = {}
        for variable, value in environ.items():
            field = DOCUMENTED.get(variable)
            if field is None:
                if not variable.startswith(PREFIX) or _is_injected(variable):
                    continue
                field = variable.removeprefix(PREFIX).lower()
                if field not in cls.__struct_fields__ or field in DOCUMENTED.values():
                    raise SettingsError(f"{variable} is not a setting: {_suggestion(cls, variable)}")
            if field in {"api_keys", "api_keys_file"} and value and not value.strip():
                raise SettingsError(f"{variable} is blank: set a key, or leave it out to ask for none")
            if value != "":
                values[field] = value.strip()
        for field, value in values.items():
            _check(cls, field, value)
        settings = msgspec.convert(values, cls, strict=False)
        if "use_fp16" in values and not settings.use_fp16 and settings.dtype == "float16":
            raise _disagreement(settings)
        return settings


def variable_of(field: str) -> str:
    """The environment variable that sets a field."""
    names = {field: variable for variable, field in DOCUMENTED.items()}
    return names.get(field, PREFIX + field.upper())


def settings_fields() -> tuple[msgspec.structs.FieldInfo, ...]:
    """Every field, in the order they are documented."""
    return msgspec.structs.fields(Settings)


def allowed(field: msgspec.structs.FieldInfo) -> str:
    """What a field may be, in words."""
    return _in_words(msgspec.inspect.type_info(field.type))


def description(field: msgspec.structs.FieldInfo) -> str:
    """What a field does, as its declaration says."""
    kind = msgspec.inspect.type_info(field.type)
    schema = kind.extra_json_schema if isinstance(kind, msgspec.inspect.Metadata) else None
    return str((schema or {}).get("description", ""))


def _in_words(kind: msgspec.inspect.Type) -> str:
    match kind:
        case msgspec.inspect.Metadata(type=inner):
            return _in_words(inner)
        case msgspec.inspect.UnionType(types=types):
            return _in_words(next(one for one in types if not isinstance(one, msgspec.inspect.NoneType)))
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.IntType(ge=low, le=high):
            return f"a whole number from {low} to {high}" if high is not None else f"a whole number, at least {low}"
        case msgspec.inspect.FloatType(gt=0):
            return "a number above 0"
        case msgspec.inspect.FloatType():
            return "a number, at least 0"
        case msgspec.inspect.LiteralType(values=values):
            return "one of " + ", ".join(str(value) for value in values)
        case msgspec.inspect.StrType(pattern=pattern) if pattern:
            return f"text that matches {pattern}"
        case _:
            return "text"


def _check(cls: type[Settings], name: str, value: str) -> None:
    """Convert one value alone, so that the message can name its variable and what is allowed."""
    field = next(field for field in msgspec.structs.fields(cls) if field.name == name)
    try:
        msgspec.convert(value, field.type, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{variable_of(name)} is {value!r}: it must be {allowed(field)}") from error


def _disagreement(settings: Settings) -> SettingsError:
    said = str(settings.use_fp16).lower()
    return SettingsError(f"USE_FP16={said} and RERANK_DTYPE={settings.dtype} disagree: set only one of them")


def _is_injected(variable: str) -> bool:
    return variable.startswith(("RERANK_SERVICE_", "RERANK_PORT_")) or variable == "RERANK_PORT"


def _suggestion(cls: type[Settings], variable: str) -> str:
    names = sorted(variable_of(field) for field in cls.__struct_fields__)
    close = get_close_matches(variable, names, n=1, cutoff=0.75)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"
