"""The files of a model directory: names that stay inside it, and JSON of a bounded size."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from rerank_core.errors import CheckpointError

# The largest JSON file known, a tokenizer's configuration with a hundred thousand added tokens, has 20 MB.
_MOST_JSON = 64 * 2**20

_FORBIDDEN = set("\\:\0")  # a separator and a drive on Windows; the end of a name for every system


def member(directory: Path, name: object, named_by: Path) -> Path:
    """Return the path of a file or folder that a JSON file names, relative to its directory.

    Raises ``CheckpointError`` for a name that leads out of the directory on any system, without a look at what is
    there: ``..``, an absolute path, a drive, a backslash.
    """
    if not isinstance(name, str) or name.startswith("/") or ".." in name.split("/") or set(name) & _FORBIDDEN:
        raise CheckpointError(
            f"{named_by} names {name!r:.200}, which does not lie in the directory: "
            "a file of a model is named relative to it, as in folder/file"
        )
    return directory / name


def is_there(path: Path) -> bool:
    """Return whether a directory has an entry of this name, even one that cannot be read: a broken link, say.

    Raises ``CheckpointError`` where the directory does not let us see.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {_reason(error)}") from error
    return True


def read_text(path: Path) -> str:
    """Read a UTF-8 file of at most 64 MiB. Raises ``CheckpointError`` where that cannot be done."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise CheckpointError(f"{path} is not a file")
        if found.st_size > _MOST_JSON:
            raise CheckpointError(f"{path} has {found.st_size:,} bytes, and at most {_MOST_JSON:,} are read")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing: {path.parent} does not hold a model") from None
    except (UnicodeDecodeError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {_reason(error)}") from error


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises ``CheckpointError`` where it is missing, damaged, too large or nested too deep."""
    text = read_text(path)
    try:
        return json.loads(text)
    except RecursionError:
        raise CheckpointError(f"{path} cannot be read: its values are nested too deep") from None
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def read_settings(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one where the file is missing. Raises ``CheckpointError``."""
    content = read_json(path) if is_there(path) else {}
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object")
    return content


def _reason(error: UnicodeDecodeError | OSError) -> str:
    return str(error) if isinstance(error, UnicodeDecodeError) else error.strerror or type(error).__name__
