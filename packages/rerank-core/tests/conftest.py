"""Models for the tests of the core: tiny random ones on disk, and the trained ones of ../shared where they are."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import rerank_core
from rerank_core.models.local import LocalModel
from rerank_core.testing.checkpoints import edit_json, write_tiny_checkpoint
from rerank_core.testing.language_models import write_chain, write_tiny_language_model
from rerank_core.types import Kind

REPOSITORY = Path(__file__).resolve().parents[3]
PROMPT = "{{ bos_token }}Question: {{ messages[0].content }}\nPassage: {{ messages[1].content }}\nIs that an answer?"


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """A directory of ../shared/models (or $SHARED_DIR/models); the test is skipped, loudly, where it is missing."""
    root = Path(os.environ.get("SHARED_DIR", REPOSITORY.parent / "shared"))

    def find(name: str) -> Path:
        path = root / "models" / name
        if not path.is_dir():
            pytest.skip(f"needs the checkpoint {name} in ../shared/models (or $SHARED_DIR/models): it is not there")
        return path

    return find


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Tiny random checkpoints, each written once. Not to be changed: copy one to damage it."""
    root = tmp_path_factory.mktemp("tiny")

    @cache
    def write(family: str = "bert", kind: Kind = "cross-encoder", labels: int = 1) -> Path:
        return write_tiny_checkpoint(root / f"{family}-{kind}-{labels}", family, kind=kind, labels=labels)

    return write


@pytest.fixture(scope="session")
def tiny_model(tiny: Callable[..., Path]) -> Callable[..., LocalModel]:
    """Tiny models, each loaded once."""

    @cache
    def load(family: str = "bert", kind: Kind = "cross-encoder") -> LocalModel:
        return rerank_core.load(str(tiny(family, kind)), device="cpu")

    return load


@pytest.fixture(scope="session")
def tiny_language_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LocalModel]:
    """Tiny language models that read 512 tokens, each loaded once: one of each kind of prompt, reading, and head."""
    root = tmp_path_factory.mktemp("tiny-language-models")

    @cache
    def load(kind: str) -> LocalModel:
        directory, recipe = root / kind, kind
        match kind:
            case "qwen3-reranker" | "ctxl-rerank-v2":
                write_tiny_language_model(directory, "qwen3")
            case "qwen3-reranker-seq-cls":
                write_tiny_language_model(directory, "qwen3", head="sequence-classification")
                recipe = "qwen3-reranker"
            case "mxbai-rerank-v2":
                write_tiny_language_model(directory, "qwen2")
            case "bge-reranker-v2-gemma":
                write_tiny_language_model(directory, "gemma")
            case "nemotron-rerank":  # its tokens see each other: nothing is shared between documents
                write_tiny_language_model(directory, "llama", head="sequence-classification")
                edit_json(directory / "config.json", is_causal=False)
            case "chain":
                write_chain(write_tiny_language_model(directory, "llama"), PROMPT)
                return rerank_core.load(str(directory), device="cpu", max_length=512)
        return rerank_core.load(str(directory), device="cpu", max_length=512, recipe=recipe)

    return load


@pytest.fixture(scope="session")
def lite() -> LocalModel:
    """The model of the extra ``lite``."""
    try:
        return rerank_core.load("lite", device="cpu")
    except rerank_core.MissingExtra as missing:
        pytest.skip(f"needs the extra 'lite': {missing}")


@pytest.fixture(scope="session")
def minilm(shared: Callable[[str], Path]) -> LocalModel:
    """A trained cross-encoder."""
    return rerank_core.load(str(shared("minilm-ce")), device="cpu")


@pytest.fixture(scope="session")
def rerank_program() -> str:
    """The installed command ``rerank``."""
    return str(Path(sysconfig.get_path("scripts")) / "rerank")


@pytest.fixture
def fresh_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python in a new process, where a mere import shows what it brings along."""

    def run(*arguments: str, env: dict[str, str] | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            env=os.environ | {"PYTHONIOENCODING": "utf-8"} | (env or {}),
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=100,
            check=False,
        )

    return run
