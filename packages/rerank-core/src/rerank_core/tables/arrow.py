"""Parquet files, Arrow files and the folders that ``datasets`` saves, by pyarrow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from rerank_core.errors import InvalidRequest, MissingExtra

_STATE, _SPLITS = "state.json", "dataset_dict.json"
DESCRIPTIONS = frozenset({"dataset_info.json", _STATE, _SPLITS})
"""Files beside the data in a folder of ``datasets``, which hold no rows."""


def import_pyarrow(extra: str = "rerank-core[parquet]") -> Any:
    """Import pyarrow. Raises ``MissingExtra`` naming the extra where it is not installed."""
    try:
        return import_module("pyarrow")
    except ModuleNotFoundError as missing:
        if missing.name != "pyarrow":
            raise
        raise MissingExtra.needs("Parquet and Arrow files need pyarrow", extra) from missing


def read_parquet(content: bytes, name: str) -> Any:
    """Read a Parquet file into a ``pyarrow.Table``. Raises ``InvalidRequest`` for a file that is none."""
    arrow = import_pyarrow()
    try:
        return import_module("pyarrow.parquet").read_table(arrow.BufferReader(content))
    except arrow.ArrowException as error:
        raise InvalidRequest(f"{name} cannot be read as Parquet: {error}") from error


@contextmanager
def open_arrow(source: Path | bytes, name: str) -> Iterator[tuple[Any, Iterator[Any]]]:
    """Open an Arrow file of either kind: its schema, and its batches one by one.

    ``datasets`` writes streams; a file of the other kind (Feather) begins with ``ARROW1``. Raises ``InvalidRequest``.
    """
    arrow, ipc = import_pyarrow(), import_module("pyarrow.ipc")
    try:
        with arrow.BufferReader(source) if isinstance(source, bytes) else arrow.memory_map(str(source)) as opened:
            is_file = opened.read(6) == b"ARROW1"
            opened.seek(0)
            if is_file:
                with ipc.open_file(opened) as file:
                    yield file.schema, (file.get_batch(number) for number in range(file.num_record_batches))
            else:
                with ipc.open_stream(opened) as stream:
                    yield stream.schema, iter(stream)
    except arrow.ArrowException as error:
        raise InvalidRequest(f"{name} cannot be read as an Arrow file: {error}") from error


def read_arrow(source: Path | bytes, name: str) -> Any:
    """Read an Arrow file into a ``pyarrow.Table``. Raises ``InvalidRequest``."""
    with open_arrow(source, name) as (schema, batches):
        return import_pyarrow().Table.from_batches(list(batches), schema)


def dataset_files(folder: Path) -> list[Path] | None:
    """List the Arrow files of a folder that ``Dataset.save_to_disk`` wrote, in their order; None where it is none.

    Raises ``InvalidRequest`` for a folder of several splits, of which one must be named.
    """
    try:
        if (folder / _SPLITS).is_file():
            splits = json.loads((folder / _SPLITS).read_text("utf-8"))["splits"]
            raise InvalidRequest(f"{folder} holds the splits {', '.join(splits)}: name one, {folder / splits[0]}")
        if not (folder / _STATE).is_file():
            return None
        state = json.loads((folder / _STATE).read_text("utf-8"))
        if state.get("_indices_files"):
            raise InvalidRequest(f"{folder} holds a selection of rows: save it with flatten_indices() before")
        files = [folder / str(file["filename"]) for file in state["_data_files"]]
    except InvalidRequest:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InvalidRequest(f"{folder} looks like a folder of datasets, and {error!r} stands in its way") from None
    if missing := [file.name for file in files if not file.is_file()]:
        raise InvalidRequest(f"{folder} lacks {missing[0]}, which its {_STATE} lists")
    return files


def read_dataset(folder: Path) -> Any:
    """Read such a folder into a ``pyarrow.Table``. Raises ``InvalidRequest`` for one that is none."""
    files = dataset_files(folder)
    if files is None:
        raise InvalidRequest(
            f"{folder} is a folder: name a file in it, or a folder that Dataset.save_to_disk has written"
        )
    arrow = import_pyarrow()
    return arrow.concat_tables([read_arrow(file, str(file)) for file in files])
