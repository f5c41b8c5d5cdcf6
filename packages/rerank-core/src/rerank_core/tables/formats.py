"""Tells a file's format by its name and its first bytes, and refuses what holds no rows."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Literal, TypeAlias, get_args

from rerank_core.errors import InvalidRequest
from rerank_core.tables.encodings import decode_head

Format: TypeAlias = Literal["text", "csv", "tsv", "json", "jsonl", "parquet", "arrow"]
"""``text``: one row a line. ``json``: one array. ``jsonl``: one value a line."""

FORMATS: tuple[Format, ...] = get_args(Format)

_BY_SUFFIX: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
SUFFIXES = tuple(_BY_SUFFIX)

_PARQUET, _ARROW_FILE, _GZIP = b"PAR1", b"ARROW1", b"\x1f\x8b"
# Files that are often meant, and hold no rows: their first bytes, what they are, and the way out.
_OTHERS = {
    b"PK\x03\x04": ("an Excel workbook or another zip archive", "save the sheet as 'CSV UTF-8'"),
    b"\xd0\xcf\x11\xe0": ("an old Excel or Word file", "save the sheet as 'CSV UTF-8'"),
    b"%PDF": ("a PDF document", "extract its text first"),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "decompress it first"),
    b"BZh": ("compressed with bzip2", "decompress it first"),
}
# An array of objects, strings or nothing; "[1] as a footnote" begins a plain text.
_ARRAY = re.compile(r'\s*\[\s*[{"\]]')
_OBJECT = re.compile(r"\s*\{")
_LINES_LOOKED_AT = 50
_WORD = re.compile(r"[\w-]+")
_TABLE_NAMES = {"text", "passage", "document", "content", "id", "_id", "query", "title"}


def is_gzipped(head: bytes) -> bool:
    """Tell whether a file that begins with ``head`` is compressed with gzip."""
    return head.startswith(_GZIP)


def is_json_array(head: bytes) -> bool:
    """Tell whether a JSON file that begins with ``head`` holds one array, rather than one value a line."""
    return _ARRAY.match(decode_head(head).removeprefix("\ufeff")) is not None


def suffix_format(name: str) -> Format | None:
    """Return the format that a file's name says, ``.gz`` passed over; None where it says none."""
    return _BY_SUFFIX.get(PurePath(name.removesuffix(".gz")).suffix.lower())


def recognize(name: str, head: bytes, asked: Format | None = None) -> Format:
    """Return the format of a file: the one asked for, or that of its name, or that of its first bytes.

    Raises ``InvalidRequest`` for a file that has no rows, or that would be read as something else than it is.
    """
    for start, (what, way_out) in _OTHERS.items():
        if head.startswith(start):
            raise InvalidRequest(f"{name} is {what}: {way_out}")
    if head.startswith(_PARQUET):
        return _binary("parquet", name, asked)
    if head.startswith(_ARROW_FILE):
        return _binary("arrow", name, asked)
    found = asked or suffix_format(name)
    if found == "arrow":
        return found
    if found == "parquet":
        raise InvalidRequest(f"{name} is not Parquet: it does not begin with PAR1")
    text = decode_head(head).removeprefix("\ufeff")
    if "\0" in text:
        raise InvalidRequest(f"{name} is neither text nor Parquet: use text, CSV, TSV, JSON, JSON lines or Parquet")
    if found is None:
        if is_json_array(head):
            return "json"
        if _OBJECT.match(text):
            return "jsonl"
        _check_plain(name, text)
        return "text"
    if asked is None and found in ("json", "jsonl"):  # both names are used for both
        return "json" if is_json_array(head) else "jsonl"
    return found


def _binary(found: Format, name: str, asked: Format | None) -> Format:
    if asked not in (None, found):
        raise InvalidRequest(f"{name} is {found}, not {asked}: leave --format out")
    return found


def _check_plain(name: str, head: str) -> None:
    """Refuse a table that would be read as plain text, with its ids as part of the passages."""
    lines = [line for line in head[: head.rfind("\n") + 1].splitlines()[:_LINES_LOOKED_AT] if line.strip()]
    if len(lines) < 2:
        return
    way_out = "name its format with --format, or --format text for one passage a line"
    tabs = {line.count("\t") for line in lines}
    if len(tabs) == 1 and tabs != {0}:
        raise InvalidRequest(f"{name} has {tabs.pop() + 1} columns between tabs, and no ending that says so: {way_out}")
    for separator in ",;":
        cells = [cell.strip().strip('"') for cell in lines[0].split(separator)]
        if len(cells) > 1 and all(map(_WORD.fullmatch, cells)) and _TABLE_NAMES.intersection(map(str.lower, cells)):
            raise InvalidRequest(
                f"{name} begins like a table ({len(cells)} columns with {separator!r} between them), and has no ending "
                f"that says so: {way_out}"
            )
