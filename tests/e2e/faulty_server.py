"""A server process whose model does what words in the documents tell it, so that tests can break it from outside.

``hold`` waits until somebody opens the FIFO named by FIFO for writing; ``poison`` fails, ``lost`` is a device that is
lost, ``exit`` asks to end the process; ``hang`` never ends, and ``clutch`` holds the interpreter's lock for ever.
A document that begins with ``panic`` makes the tokenizer panic, one that begins with ``ponder`` is never tokenised.
The model takes an instruction where INSTRUCTION is its own one. Where LANGUAGE_MODEL is the directory of a Qwen3, that
is served, and a text with ``ponder`` is never tokenised, be it query, document or instruction.
"""

import ctypes
import os
import sys
import threading
import zlib
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rerank_core
from rerank_core.errors import DeviceError
from rerank_core.models.local import LocalModel
from rerank_core.scorer import Output
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import Encoding, ScoreOptions, SharedPrefix, TokenSequence
from rerank_server.lifecycle import watchdog
from rerank_server.observability.logs import configure_logging
from rerank_server.process.server import serve
from rerank_server.settings import Settings

OWN = {"FIFO", "INSTRUCTION", "LANGUAGE_MODEL"}
"""Environment variables that are not the server's."""


def word(text: str) -> int:
    return zlib.crc32(text.encode()) % 2**30 + 1


class PanicException(BaseException):
    """As a panic of a library in Rust comes to Python: no Exception."""


class Obedient(OverlapModel):
    def forward(self, sequences: Sequence[TokenSequence], shared: Sequence[SharedPrefix | None] = ()) -> list[Output]:
        said = {token for sequence in sequences for token in array("i", sequence.token_ids)}
        if word("hold") in said:
            Path(os.environ["FIFO"]).read_bytes()
        if word("poison") in said:
            raise RuntimeError("poisoned")
        if word("lost") in said:
            raise DeviceError("the device is lost")
        if word("exit") in said:
            raise SystemExit(1)
        if word("hang") in said:
            threading.Event().wait()
        if word("clutch") in said:
            ctypes.PyDLL(None).sleep(10**6)
        return super().forward(sequences)

    def encode(self, query: str, documents: Sequence[str], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        if any(document.startswith("panic") for document in documents):
            raise PanicException(documents[0])
        if any(document.startswith("ponder") for document in documents):
            threading.Event().wait()
        return super().encode(query, documents, options, first)


class Pondering:
    """A task whose tokenizer never comes back from some texts."""

    def __init__(self, task: Any) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def encode(self, query: str, documents: Sequence[str], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        if any("ponder" in text for text in (query, *documents, options.instruction or "")):
            threading.Event().wait()
        encodings: list[Encoding] = self._task.encode(query, documents, options, first)
        return encodings


def language_model(directory: str) -> LocalModel:
    model = rerank_core.load(directory, recipe="qwen3-reranker", device="cpu")
    model._task = Pondering(model._task)
    return model


if __name__ == "__main__":
    watchdog._LEAST = 86_400.0  # who holds a batch does so on purpose: only RERANK_STUCK_SECONDS says when it is stuck
    settings = Settings.from_env({name: value for name, value in os.environ.items() if name not in OWN})
    configure_logging(settings.log_level, settings.log_format)
    if "LANGUAGE_MODEL" in os.environ:
        sys.exit(serve(settings, load=lambda _: language_model(os.environ["LANGUAGE_MODEL"])))
    instruction = os.environ.get("INSTRUCTION")
    model = Obedient(takes_instruction=instruction is not None, instruction=instruction)
    sys.exit(serve(settings, load=lambda _: model))
