"""Files that may be compressed with gzip, as their name says."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rerank_core.errors import InvalidRequest


def is_gzipped(path: Path) -> bool:
    """Tell whether a file's name says that it is compressed."""
    return path.suffix == ".gz"


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open a file for reading. Raises ``InvalidRequest`` where it is cut off or damaged."""
    try:
        with gzip.open(path, "rb") if is_gzipped(path) else path.open("rb") as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidRequest(f"{path} is not a whole gzip file: {error}") from error


@contextmanager
def write_bytes(path: Path, *, gzipped: bool) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open a new file for writing, compressed or not."""
    with path.open("xb") as file:
        if not gzipped:
            yield file
            return
        # Without name and time, so that the same rows make the same bytes.
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as zipped:
            yield zipped
