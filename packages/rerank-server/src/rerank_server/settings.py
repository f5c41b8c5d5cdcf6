"""All settings: defaults, allowed values and descriptions. Nothing else reads the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from rerank_core.checkpoints.language_model import PromptChoice
from rerank_core.checkpoints.sources import DEFAULT_MODEL
from rerank_core.engines import EngineName
from rerank_core.engines.hardware.devices import DType
from rerank_core.errors import InvalidRequest
from rerank_core.load_options import LoadOptions, help_of
from rerank_core.types import LongDocuments, Truncation

from rerank_server.machine.memory import available_memory
from rerank_server.middleware.origins import parse_origins

PREFIX = "RERANK_"
_DAY = 86_400  # seconds; a longer time is a mistake in the unit
_THREADS_PER_CPU = 4
_LONGEST = 512  # tokens of a pair where RERANK_MAX_LENGTH is not set

_LOAD = LoadOptions()

# Variables with our prefix that are no settings: those of our own client and of the examples, and those that Kubernetes
# injects for every Service of the namespace, and Docker for a link, whose name begins with rerank.
_OTHERS = frozenset({"RERANK_API_KEY", "RERANK_URL"})
_INJECTED = re.compile(
    r"RERANK_(?:[A-Z0-9_]+_)?"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR|START|END))?|ENV_.+)"
)
_INJECTED_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://.*")
_INJECTED_NAME = re.compile(r"/[^/]+/[^/]+")
_QUOTED = re.compile(r"([\"']).*\1", re.DOTALL)
# Text in quotes, which is a value, or a keyword, with the first character of its value if it has one.
_QUOTED_OR_KEYWORD = re.compile(
    r"(?<!\w)(?P<quote>[\"'])(?:\\.|(?!(?P=quote)).)*(?P=quote)"
    r"|(?<![^\s(])(?P<field>[a-z][a-z0-9_]*)=(?=(?P<value>[\w'\"\[])?)",
    re.DOTALL,
)
_WITH_UNIT = re.compile(r"[-+]?[0-9][0-9_,.]*\s*[A-Za-z%]+")

# The names without our prefix.
DOCUMENTED = {
    "MODEL_NAME": "model",
    "PORT": "port",
    "HOST": "host",
    "USE_FP16": "use_fp16",
    "CORS_ORIGINS": "cors_origins",
}


class SettingsError(Exception):
    """Settings that are not allowed: each of ``wrong`` names a variable and the allowed values."""

    def __init__(self, *wrong: str) -> None:
        super().__init__("; ".join(wrong))
        self.wrong = wrong


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The configuration of a server. ``docs/configuration.md`` is generated from it."""

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
        str,
        Meta(
            description="Origins whose pages may call the server, separated by commas, or `*` for all. "
            "`https://*.example.com` means every host below that name, `http://localhost:*` every port, "
            "`chrome-extension://ID` an extension, `moz-extension://*` or `app://*` every origin of a scheme."
        ),
    ] = "*"
    revision: Annotated[str | None, Meta(description=help_of("revision"))] = _LOAD.revision
    device: Annotated[str, Meta(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description=help_of("device"))] = _LOAD.device
    dtype: Annotated[DType, Meta(description=help_of("dtype"))] = "auto"
    engine: Annotated[EngineName, Meta(description=help_of("engine"))] = "auto"
    max_length: Annotated[Annotated[int, Meta(ge=8)] | None, Meta(description=help_of("max_length"))] = _LOAD.max_length
    truncation: Annotated[Truncation, Meta(description=help_of("truncation"))] = _LOAD.truncation
    long_documents: Annotated[LongDocuments, Meta(description=help_of("long_documents"))] = _LOAD.long_documents
    recipe: Annotated[str | None, Meta(description=help_of("recipe"))] = _LOAD.recipe
    template: Annotated[str | None, Meta(description=help_of("template"))] = _LOAD.template
    instruction: Annotated[str | None, Meta(description=help_of("instruction"))] = _LOAD.instruction
    calibration: Annotated[str | None, Meta(description=help_of("calibration"))] = None
    strict_model: Annotated[
        bool, Meta(description="Answer 404 where a request names another model. Without it any name is accepted.")
    ] = False
    label: Annotated[str | None, Meta(description=help_of("label"))] = None
    threads: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description=help_of("threads"))] = _LOAD.threads
    trust_remote_code: Annotated[bool, Meta(description=help_of("trust_remote_code"))] = _LOAD.trust_remote_code
    max_documents: Annotated[int, Meta(ge=1, description="The maximum number of documents in a request.")] = 1000
    max_text_chars: Annotated[
        int,
        Meta(
            ge=1,
            description="The maximum number of characters in a text that must not be truncated (`truncate` is false), "
            "and in an instruction. Of other texts, this many are read for windows (`long_documents` is `chunk`), and "
            "by a tokenizer that cannot read only the beginning; else the size of the body is the limit. `/rerank` "
            "with pairs: 10,000.",
        ),
    ] = 100_000
    max_body_bytes: Annotated[
        int, Meta(ge=1024, description="The maximum number of bytes in the body of a request.")
    ] = 10_000_000
    max_body_bytes_in_flight: Annotated[
        Annotated[int, Meta(ge=1024)] | None,
        Meta(
            description="The maximum number of bytes of all bodies that are received at once; beyond it the server "
            "answers 429, but never to a body of up to 64 KiB. Without it: 16 times `RERANK_MAX_BODY_BYTES`."
        ),
    ] = None
    max_queue_pairs: Annotated[
        int,
        Meta(
            ge=1,
            description="The maximum number of pairs of all requests in the server; beyond it the answer is 429.",
        ),
    ] = 4000
    max_queue_tokens: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="The same in tokens. Without it: `RERANK_MAX_QUEUE_PAIRS` times the maximum length of a pair."
        ),
    ] = None
    timeout: Annotated[
        float,
        Meta(
            ge=0.01,
            le=_DAY,
            description="Seconds after which a request is answered 504; the header `X-Request-Timeout` may shorten it.",
        ),
    ] = 300.0
    receive_timeout: Annotated[
        float,
        Meta(
            ge=0.1,
            le=_DAY,
            description="Seconds after which a connection is closed whose request is not complete, or whose client "
            "reads nothing of the answer.",
        ),
    ] = 30.0
    keep_alive_seconds: Annotated[
        float,
        Meta(
            ge=0.1,
            le=_DAY,
            description="Seconds that a connection is kept open after an answer, for the next request. Set more than "
            "the load balancer in front has (often 60), so that the balancer closes it.",
        ),
    ] = 75.0
    max_connections: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="The maximum number of open connections; beyond it the one that has been idle longest is "
            "closed. Without it: 4096, or fewer where the process may open fewer files."
        ),
    ] = None
    stuck_seconds: Annotated[
        float,
        Meta(
            ge=0.1,
            le=_DAY,
            description="Seconds after which a batch counts as stuck: the server is not ready, and answers waiting "
            "requests with 503; after twice that time the process ends with status 1. The limit is less, twenty times "
            "the longest recent batch (at least 5 s), where that is shorter. It is more for slow batches, at least "
            "five times the longest one, and up to ten times as much for the first batch and for one that is larger "
            "than all recent ones.",
        ),
    ] = 60.0
    cache_mb: Annotated[int, Meta(ge=0, description="Megabytes of the cache for scores of pairs; 0 is no cache.")] = 0
    prestop_seconds: Annotated[
        float,
        Meta(ge=0, le=_DAY, description="Seconds in which new requests are still accepted after the signal to stop."),
    ] = 0.0
    drain_seconds: Annotated[
        int, Meta(ge=0, le=_DAY, description="Seconds that requests in flight then have to finish.")
    ] = 30
    api_keys: Annotated[
        str | None,
        Meta(description="API keys of clients, separated by commas. Without any, no key is required."),
    ] = None
    api_keys_file: Annotated[str | None, Meta(description="A file with more API keys, one per line.")] = None
    metrics_auth: Annotated[bool, Meta(description="Require an API key for `/metrics` too.")] = False
    uds: Annotated[str | None, Meta(description="A Unix socket to listen on, instead of `HOST` and `PORT`.")] = None
    uds_mode: Annotated[
        str,
        Meta(
            pattern=r"^0?[0-7]{3}$",
            description="The permissions of that socket, as in `chmod`: by default its user and group may open it.",
        ),
    ] = "0660"
    root_path: Annotated[
        str,
        Meta(
            pattern=r"^(/[^/\s]+)*$",
            description="The prefix of the paths under which an ingress serves the server, such as `/ranking`.",
        ),
    ] = ""
    otlp_endpoint: Annotated[
        str | None,
        Meta(
            description="The URL of an OpenTelemetry collector for traces over HTTP, such as "
            "`http://collector:4318`; needs the extra `otel`."
        ),
    ] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The lowest level that is logged.")
    ] = "info"
    log_format: Annotated[Literal["console", "json"], Meta(description="The format of log lines.")] = "console"

    def __post_init__(self) -> None:
        """Refuse values that contradict each other, all of them at once."""
        if wrong := list(self._contradictions()):
            raise SettingsError(*wrong)

    def _contradictions(self) -> Iterator[str]:
        if self.use_fp16 and self.dtype not in {"auto", "float16"}:
            yield _disagreement(self)
        if self.root_path in {"/rerank", "/v1"}:
            yield f"RERANK_ROOT_PATH is {self.root_path!r}, where a route of ours begins: use another prefix"
        if self.max_body_bytes_in_flight is not None and self.max_body_bytes_in_flight < self.max_body_bytes:
            yield (
                f"RERANK_MAX_BODY_BYTES_IN_FLIGHT is {self.max_body_bytes_in_flight}, less than the "
                f"{self.max_body_bytes} bytes that one body may have (RERANK_MAX_BODY_BYTES): such a body could never "
                "be taken"
            )
        tokens = self.max_documents * (self.max_length or _LONGEST)
        if self.max_queue_tokens is not None and self.max_queue_tokens < tokens:
            yield (
                f"RERANK_MAX_QUEUE_TOKENS is {self.max_queue_tokens}, less than the {tokens} tokens that a request may "
                f"have (RERANK_MAX_DOCUMENTS, {self.max_documents}, times RERANK_MAX_LENGTH, "
                f"{self.max_length or _LONGEST}): such a request could never be taken"
            )
        if self.max_queue_pairs < self.max_documents:
            yield (
                f"RERANK_MAX_QUEUE_PAIRS is {self.max_queue_pairs}, less than the {self.max_documents} documents that "
                "a request may have (RERANK_MAX_DOCUMENTS): such a request could never be taken"
            )
        try:
            PromptChoice(recipe=self.recipe, template=self.template)
        except InvalidRequest as error:
            yield in_variables(str(error))
        try:
            parse_origins(self.cors_origins)
        except ValueError as error:
            yield str(error)

    def __repr__(self) -> str:
        """All fields, without the API keys."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        if self.api_keys is not None:
            values["api_keys"] = "(hidden)"
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in values.items())})"

    def remarks(self) -> Iterator[str]:
        """Yield what an operator should know about settings that are allowed, and may surprise together."""
        if (self.api_keys or self.api_keys_file) and self.origins == ("*",):
            yield (
                "API keys are required, and CORS_ORIGINS is *: a page of any origin may call with a key in the header "
                "Authorization, but browsers refuse its requests with credentials (credentials: 'include'), and those "
                "of a public page to a private network: name the origins of your pages in CORS_ORIGINS"
            )

    @property
    def origins(self) -> tuple[str, ...]:
        """The CORS origins, one by one, in the form that browsers send."""
        return parse_origins(self.cors_origins)

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, cpus: int | None = None, memory: int | None = None) -> Settings:
        """Read the environment; an empty value is none.

        The variables that Kubernetes and Docker inject for a neighbour whose name begins with rerank, and those of our
        own client, are passed over. ``cpus`` and ``memory`` (bytes) are those of the machine that will compute; None:
        of this one. Raises ``SettingsError``, which names every variable that is unknown or has a value that is not
        allowed.
        """
        values: dict[str, Any] = {}
        wrong: list[str] = []
        refused: list[str] = []
        for variable, value in environ.items():
            field = _field_of(cls, variable)
            if field is None:
                if variable.startswith(PREFIX) and not _is_of_others(variable, value):
                    wrong.append(f"{variable} is not a setting: {_suggestion(cls, variable)}")
            elif field in {"api_keys", "api_keys_file"} and value and not value.strip():
                wrong.append(f"{variable} is blank: set a key, or leave it out to ask for none")
            elif value != "":
                values[field] = value.strip()
                if complaints := list(_check(cls, field, value.strip())):
                    wrong += complaints
                    refused.append(variable)
                    del values[field]
        try:
            settings = msgspec.convert(values, cls, strict=False)
        except SettingsError as error:
            # A value that was refused has its default here, of which nothing can be said.
            contradictions = [line for line in error.wrong if not any(variable in line for variable in refused)]
            raise SettingsError(*wrong, *contradictions) from None
        if "use_fp16" in values and not settings.use_fp16 and settings.dtype == "float16":
            wrong.append(_disagreement(settings))
        wrong += settings._beyond_machine(cpus or os.cpu_count() or 1, memory or available_memory())
        if wrong:
            raise SettingsError(*wrong)
        return settings

    def _beyond_machine(self, cpus: int, memory: int) -> Iterator[str]:
        """Yield what a machine with these CPUs and bytes of memory does not allow."""
        if self.threads is not None and self.threads > _THREADS_PER_CPU * cpus:
            yield (
                f"RERANK_THREADS is {self.threads}, more than {_THREADS_PER_CPU} for each of the {cpus} CPUs here: use "
                f"at most {_THREADS_PER_CPU * cpus}, or leave it out"
            )
        if self.cache_mb * 1_000_000 > memory:
            yield f"RERANK_CACHE_MB is {self.cache_mb}, more than the {memory // 1_000_000} MB of memory here: use less"


def variable_of(field: str) -> str:
    """The environment variable that sets a field."""
    names = {field: variable for variable, field in DOCUMENTED.items()}
    return names.get(field, PREFIX + field.upper())


def in_variables(message: str) -> str:
    """Name the variables in a message of the library, which names the arguments of ``load``: ``recipe=``.

    Values in quotes, paths and addresses stay as they are.
    """

    def variable(found: re.Match[str]) -> str:
        if found["field"] not in Settings.__struct_fields__:  # None: a value
            return found[0]
        return variable_of(found["field"]) + ("=" if found["value"] else "")

    return _QUOTED_OR_KEYWORD.sub(variable, message)


def settings_fields() -> tuple[msgspec.structs.FieldInfo, ...]:
    """Every field, in the order they are documented."""
    return msgspec.structs.fields(Settings)


def allowed(field: msgspec.structs.FieldInfo) -> str:
    """The allowed values of a field, in words."""
    return _in_words(msgspec.inspect.type_info(field.type))


def description(field: msgspec.structs.FieldInfo) -> str:
    """The description of a field."""
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
        case msgspec.inspect.FloatType(ge=low, le=high):
            return f"a number from {low:g} to {high:g}"
        case msgspec.inspect.LiteralType(values=values):
            return "one of " + ", ".join(str(value) for value in values)
        case msgspec.inspect.StrType(pattern=pattern) if pattern:
            return f"text that matches {pattern}"
        case _:
            return "text"


def _field_of(cls: type[Settings], variable: str) -> str | None:
    """The field that a variable sets, None for one that is not a setting."""
    if variable in DOCUMENTED:
        return DOCUMENTED[variable]
    field = variable.removeprefix(PREFIX).lower()
    is_ours = variable.startswith(PREFIX) and field in cls.__struct_fields__
    return field if is_ours and field not in DOCUMENTED.values() else None


def _check(cls: type[Settings], name: str, value: str) -> Iterator[str]:
    """Convert one value alone, so that the message can name its variable and the allowed values."""
    if _QUOTED.fullmatch(value):
        yield f"{variable_of(name)} stands in quotes: leave them out"
        return
    field = next(field for field in msgspec.structs.fields(cls) if field.name == name)
    try:
        msgspec.convert(value, field.type, strict=False)
    except msgspec.ValidationError:
        unit = ", without a unit" if _WITH_UNIT.fullmatch(value) else ""
        yield f"{variable_of(name)} is {value[:200]!r}: it must be {allowed(field)}{unit}"


def _disagreement(settings: Settings) -> str:
    use_fp16 = str(settings.use_fp16).lower()
    return f"USE_FP16={use_fp16} and RERANK_DTYPE={settings.dtype} disagree: set only one of them"


def _is_of_others(variable: str, value: str) -> bool:
    """Whether a variable with our prefix belongs to another program."""
    return (
        variable in _OTHERS
        or _INJECTED.fullmatch(variable) is not None
        or (variable.endswith("_PORT") and _INJECTED_ADDRESS.fullmatch(value) is not None)
        or (variable.endswith("_NAME") and _INJECTED_NAME.fullmatch(value) is not None)
    )


def _suggestion(cls: type[Settings], variable: str) -> str:
    if variable.removeprefix(PREFIX) in DOCUMENTED:
        return f"did you mean {variable.removeprefix(PREFIX)}?"
    names = sorted(variable_of(field) for field in cls.__struct_fields__)
    close = get_close_matches(variable, names, n=1, cutoff=0.75)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"
