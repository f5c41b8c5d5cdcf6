"""The systems to compare: models in one way to run them, and servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import cast
from urllib.parse import urlsplit

from rerank_core.engines.hardware.devices import DTYPES
from rerank_core.errors import InvalidRequest
from rerank_core.load_options import LoadOptions
from rerank_core.types import LongDocuments, ScoreOptions

_LONGEST = 40  # characters of an instruction in a label


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One way to score: ``model`` in a process here, or ``url``, a running server, and never both.

    ``dtype``, ``max_length``, ``long_documents`` and ``instruction`` are as ``LoadOptions`` and ``ScoreOptions`` have
    them; None: not asked for, so the default. ``load`` has all other options of loading the model.
    """

    model: str | None = None
    url: str | None = None
    dtype: str | None = None
    max_length: int | None = None
    long_documents: str | None = None
    instruction: str | None = None
    load: LoadOptions = field(default_factory=LoadOptions)

    def options(self) -> ScoreOptions:
        """Return the options: raw scores, in the system's mode. Raises ``InvalidRequest`` for a mode that is none."""
        mode = cast("LongDocuments | None", self.long_documents)
        return ScoreOptions(raw=True, long_documents=mode, instruction=self.instruction)


def systems(
    *,
    models: Sequence[str],
    urls: Sequence[str],
    dtypes: Sequence[str] = (),
    max_lengths: Sequence[int] = (),
    long_documents: Sequence[str] = (),
    instructions: Sequence[str] = (),
    load: LoadOptions = LoadOptions(),
) -> list[System]:
    """List every model in every way that is asked for, then every server with every mode and instruction, each once.

    A server has its own dtype and length. Raises ``InvalidRequest`` for a mode or a dtype that is none.
    """
    modes: list[str | None] = [*long_documents] or [None]
    texts: list[str | None] = [*instructions] or [None]
    types: list[str | None] = [*dtypes] or [None]
    lengths: list[int | None] = [*max_lengths] or [None]
    found = [
        System(
            model=model,
            dtype=dtype,
            max_length=length,
            long_documents=mode,
            instruction=text,
            load=load,
        )
        for model, dtype, length, mode, text in product(models, types, lengths, modes, texts)
    ]
    found += [System(url=url, long_documents=mode, instruction=text) for url, mode, text in product(urls, modes, texts)]
    if not found:
        raise InvalidRequest("nothing is to be compared: name a model or a server's address")
    for system in found:
        system.options()
        if system.dtype is not None and system.dtype not in DTYPES:
            raise InvalidRequest(f"dtype is {system.dtype!r}: use one of {', '.join(DTYPES)}")
    return list(dict.fromkeys(found))


def labels(all_: Sequence[System]) -> list[str]:
    """Make a short name for each system, in their order: its model's, and what else was asked for.

    Of a model's name as many last parts as tell it from the others: no more of a path than that. What is still alike
    is numbered.
    """
    names = _short_names([system.model for system in all_ if system.model is not None])
    plain = [_label(system, names) for system in all_]
    numbers = [plain[: place + 1].count(label) for place, label in enumerate(plain)]
    return [label if number == 1 else f"{label} ({number})" for label, number in zip(plain, numbers, strict=True)]


def _label(system: System, names: dict[str, str]) -> str:
    parts = [names[system.model] if system.model is not None else _address(system.url or "")]
    if system.dtype is not None:
        parts.append(system.dtype)
    if system.max_length is not None:
        parts.append(f"{system.max_length} tokens")
    if system.long_documents is not None:
        parts.append(system.long_documents)
    if system.instruction is not None:
        parts.append(f'"{_shortened(system.instruction)}"')
    return " ".join(parts)


def _shortened(instruction: str) -> str:
    """Put an instruction on one line, with its beginning only where it is long."""
    text = " ".join(instruction.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _short_names(models: Sequence[str]) -> dict[str, str]:
    parts = {model: [part for part in model.split("/") if part not in ("", ".")] or [model] for model in models}
    short = {}
    for model, own in parts.items():
        others = [other for name, other in parts.items() if name != model]
        count = 1
        while count < len(own) and any(other[-count:] == own[-count:] for other in others):
            count += 1
        short[model] = "/".join(own[-count:])
    return short


def _address(url: str) -> str:
    """Strip a server's address of the name and password that may be in it."""
    split = urlsplit(url)
    host = split.netloc.rpartition("@")[2]
    return f"{split.scheme}://{host}{split.path}".rstrip("/") if host else url
