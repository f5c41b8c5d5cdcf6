"""The manifest of a fetched model directory: the size and the SHA-256 of every file.

``rerank fetch`` writes the manifest; ``load`` checks the files against it, once in a process and again when a file's
size or time has changed since. A file that a model is read from and that the manifest does not list is refused: it
would be read without any check.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path

from rerank_core.checkpoints.files import is_there, member, read_json
from rerank_core.errors import CheckpointError

NAME = "rerank-manifest.json"

# The names of files that a model is read from, here or by transformers: in whichever folder they lie.
_READ = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*config*.json",
    "*token*.json",
    "*token*.model",
    "modules.json",
    "vocab.*",
    "merges.txt",
    "*.bpe.model",
    "spiece.model",
    "spm.model",
    "*.tiktoken",
    "*.jinja",
    "*.py",
    "README.md",  # the recipe of a language model is recognised by the model card
)
_SHA256 = re.compile("[0-9a-f]{64}")

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
    """Read the manifest of a directory; None where it has none. Raises ``CheckpointError`` for one that is damaged."""
    path = directory / NAME
    if not is_there(path):
        return None
    content = read_json(path)
    try:
        files = {name: ManifestFile(file["size"], file["sha256"]) for name, file in content["files"].items()}
        manifest = Manifest(content["model"], content["revision"], files)
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged ({type(error).__name__}: {error}): fetch the model again") from error
    if not _is_sound(manifest):
        raise CheckpointError(f"{path} is damaged (a value of the wrong kind): fetch the model again")
    if not files:
        raise CheckpointError(f"{path} lists no files: fetch the model again")
    return manifest


def _is_sound(manifest: Manifest) -> bool:
    return (
        isinstance(manifest.model, str)
        and isinstance(manifest.revision, str | None)
        and all(type(file.size) is int and _SHA256.fullmatch(str(file.sha256)) for file in manifest.files.values())
    )


def verify(directory: Path, manifest: Manifest) -> None:
    """Check every file against the manifest. Raises ``CheckpointError`` naming the file that differs, or is not listed.

    Names are checked first: of a file outside the directory nothing is read, and nothing is said.
    """
    path, root = directory / NAME, directory.resolve()
    files = {name: member(directory, name, path) for name in manifest.files}
    for name, file in files.items():
        if not _resolved(file).is_relative_to(root):
            raise CheckpointError(f"{path} lists {name!r:.200}, a link that leads out of the directory")
    for found in _files_that_are_read(directory):
        if found.relative_to(directory).as_posix() not in files:
            raise CheckpointError(
                f"{found} is not in {NAME}, and would be read: take it away, or fetch the model again"
            )
    for name, expected in manifest.files.items():
        verify_file(files[name], sha256_expected=expected.sha256, size_expected=expected.size)


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # a link to itself
        raise CheckpointError(f"{path} cannot be read: it is a link without an end") from error


def _files_that_are_read(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() and path.is_dir():
            raise CheckpointError(f"{path} is a link to a folder, whose files {NAME} cannot list: copy them here")
        if path.name != NAME and any(fnmatch(path.name, pattern) for pattern in _READ) and not path.is_dir():
            yield path


def verify_file(path: Path, *, sha256_expected: str, size_expected: int | None = None) -> None:
    """Check one file; the hash is taken once, and again when size or time changed. Raises ``CheckpointError``."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing, its manifest lists it: fetch the model again") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file, its manifest lists it: fetch the model again")
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
    """Hash the names and contents of all files (SHA-256): the same wherever the directory lies."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != NAME)
    lines = [f"{sha256(path)} {path.relative_to(directory).as_posix()}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Hash a file (SHA-256, in hexadecimal). Raises ``CheckpointError`` where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
