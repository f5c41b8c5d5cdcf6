"""What a fetched model directory must hold, to the byte.

``rerank fetch`` writes the manifest; ``load`` checks the files against it, once in a process and again when a file's
size or time has changed since.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rerank_core.errors import CheckpointError

NAME = "rerank-manifest.json"

_verified: dict[Path, tuple[str, int, int]] = {}  # path → SHA-256, size, mtime_ns, as last verified


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file's size in bytes and its SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Where a model came from, and its files by their names relative to the directory."""

    model: str
    revision: str | None
    files: dict[str, ManifestFile]


def write_manifest(directory: Path, *, model: str, revision: str | None) -> Manifest:
    """Hash every file of the directory and write the manifest beside them."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != NAME)
    files = {path.relative_to(directory).as_posix(): ManifestFile(path.stat().st_size, sha256(path)) for path in paths}
    manifest = Manifest(model, revision, files)
    (directory / NAME).write_text(json.dumps(asdict(manifest), indent=2) + "\n")
    return manifest


def read_manifest(directory: Path) -> Manifest | None:
    """The manifest of a directory, or None where it has none. Raises ``CheckpointError`` for one that is damaged."""
    path = directory / NAME
    try:
        content = json.loads(path.read_text())
        files = {name: ManifestFile(file["size"], file["sha256"]) for name, file in content["files"].items()}
        return Manifest(content["model"], content["revision"], files)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged ({type(error).__name__}: {error}): fetch the model again") from error


def verify(directory: Path, manifest: Manifest) -> None:
    """Check every file against the manifest. Raises ``CheckpointError`` naming the file that differs."""
    for name, file in manifest.files.items():
        verify_file(directory / name, sha256_expected=file.sha256, size_expected=file.size)


def verify_file(path: Path, *, sha256_expected: str, size_expected: int | None = None) -> None:
    """Check one file; the hash is taken once, and again when size or time changed. Raises ``CheckpointError``."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing, its manifest lists it: fetch the model again") from None
    if size_expected is not None and stat.st_size != size_expected:
        raise CheckpointError(
            f"{path} has {stat.st_size} bytes, its manifest says {size_expected}: fetch the model again"
        )
    now = (sha256_expected, stat.st_size, stat.st_mtime_ns)
    if _verified.get(path.resolve()) == now:
        return
    found = sha256(path)
    if found != sha256_expected:
        raise CheckpointError(
            f"{path} is not the file it should be: its SHA-256 is {found}, expected {sha256_expected}. "
            "Fetch the model again"
        )
    _verified[path.resolve()] = now


def digest(directory: Path) -> str:
    """A SHA-256 over the names and contents of all files, the same wherever the directory lies."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != NAME)
    lines = [f"{sha256(path)} {path.relative_to(directory).as_posix()}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
