"""Files that are there whole, or not at all."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def atomic_write(target: Path, *, remove_leftovers: bool = False) -> Iterator[Path]:
    """Give a path to write to. At the end of the block the file is on the disk, and takes ``target``'s name at once.

    Makes the folder. Where the block fails, nothing is left and ``target`` is as it was. Each attempt has a path of its
    own, so that two that write the same file do not meet. ``remove_leftovers``: also remove what attempts that were
    killed have left, where no other attempt can be running.

    Raises ``OSError`` where the file cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
    try:
        yield path
        _sync(path)
        path.replace(target)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    _sync(target.parent)
    if remove_leftovers:
        for left in target.parent.glob(f".{glob.escape(target.name)}.{'?' * 8}.part"):
            left.unlink(missing_ok=True)


def write_text(target: Path, content: str) -> None:
    """Write a text file, UTF-8, in the same way. Raises ``OSError``."""
    with atomic_write(target) as path:
        path.write_text(content, encoding="utf-8")


def _sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk: whatever happens to the machine from here on."""
    if os.name != "posix":  # others open no folder, and sync no file that is only read
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
