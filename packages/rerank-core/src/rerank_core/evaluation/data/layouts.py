"""Reads a collection from a folder, in one of two layouts.

Both have ``corpus.jsonl`` (``_id``, ``text`` and perhaps ``title``) and ``queries.jsonl`` (``_id``, ``text``). BEIR's
has its judgements in ``qrels/SPLIT.tsv``; the flat one in ``qrels.tsv``, and may bring ``candidates.jsonl``. Judgements
are lines of query id, document id and grade between tabs, below a header.

What is wrong is an ``InvalidRequest`` that names the file and the line, and holds no text of a document or a query.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from rerank_core.errors import InvalidRequest
from rerank_core.evaluation.data.collection import Collection

CORPUS, QUERIES, JUDGEMENTS, CANDIDATES = "corpus.jsonl", "queries.jsonl", "qrels.tsv", "candidates.jsonl"


def read_collection(folder: Path, *, split: str | None = None) -> Collection:
    """Read a collection; ``split`` chooses among several files in ``qrels/`` (by default ``test``).

    Raises ``InvalidRequest`` where the folder is none, or a line of it cannot be read.
    """
    for name in (CORPUS, QUERIES):
        if not (folder / name).is_file():
            raise InvalidRequest(f"{folder} has no {name}: {_advice(folder)}")
    judgements = _judgements(folder, split)
    corpus, queries = read_lines(folder / CORPUS), read_lines(folder / QUERIES)
    collection = Collection(
        name=folder.resolve().name,
        documents=parse_texts(corpus, CORPUS),
        queries=parse_texts(queries, QUERIES),
        grades=parse_grades(read_lines(judgements), judgements.relative_to(folder).as_posix()),
        digest=_digest(folder / CORPUS, folder / QUERIES),
    )
    if not any(query in collection.queries for query in collection.grades):
        raise InvalidRequest(
            f"{folder}: none of the {len(collection.grades)} queries of {judgements.name} is one of the "
            f"{len(collection.queries)} of {QUERIES}: the files belong to different collections"
        )
    return collection


def read_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 file. Raises ``InvalidRequest`` where it is none."""
    content = b""
    try:
        content = path.read_bytes()
        return content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is not UTF-8: byte {error.start} is 0x{content[error.start]:02x}") from None
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from error


def parse_texts(lines: Iterable[str], name: str) -> dict[str, str]:
    """Parse texts by id, in their order, a title before its text. ``name`` is the file's, for error messages."""
    texts: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        record = parse_object(line, name, number)
        identity, text, title = record.get("_id"), record.get("text"), record.get("title") or ""
        if not (isinstance(identity, str) and isinstance(text, str) and isinstance(title, str)):
            raise InvalidRequest(f"{name}, line {number}: needs strings '_id' and 'text', and a title may be one more")
        if identity in texts:
            raise InvalidRequest(f"{name}, line {number}: the id {identity!r} is there twice: ids must be different")
        texts[identity] = f"{title} {text}".strip()
    if not texts:
        raise InvalidRequest(f"{name} is empty: it needs one JSON object a line, with '_id' and 'text'")
    return texts


def parse_object(line: str, name: str, number: int) -> Mapping[str, object]:
    """Parse a line's JSON object. Raises ``InvalidRequest`` where it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise InvalidRequest(f"{name}, line {number} is not JSON: write one JSON object a line") from None
    if not isinstance(record, dict):
        raise InvalidRequest(f"{name}, line {number} is {type(record).__name__}, not a JSON object")
    return record


def parse_grades(lines: Iterable[str], name: str) -> dict[str, dict[str, int]]:
    """Parse grades by query id and document id from three columns; a first line without a grade is a header."""
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        cells = line.rstrip("\r").split("\t")
        grade = _grade(cells[-1])
        if number == 1 and grade is None:
            continue
        if len(cells) != 3 or grade is None:
            raise InvalidRequest(
                f"{name}, line {number} has {len(cells)} columns between tabs: it needs three, "
                "query id, document id and a whole number (above 0 is relevant)"
            )
        grades[cells[0]][cells[1]] = grade
    if not grades:
        raise InvalidRequest(f"{name} holds no judgement: nothing can be judged without")
    return dict(grades)


def _grade(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _judgements(folder: Path, split: str | None) -> Path:
    """Find the file with the judgements."""
    flat, splits = folder / JUDGEMENTS, sorted((folder / "qrels").glob("*.tsv"))
    names = [path.stem for path in splits]
    if split is None and flat.is_file():
        return flat
    if not splits:
        wanted = JUDGEMENTS if split is None else f"qrels/{split}.tsv"
        raise InvalidRequest(f"{folder} has no {wanted}: {_advice(folder)}")
    if split is None and len(splits) > 1 and "test" not in names:
        raise InvalidRequest(f"{folder}/qrels has {', '.join(names)}: choose one with --split")
    wanted = split or ("test" if "test" in names else names[0])
    if wanted not in names:
        raise InvalidRequest(f"{folder}/qrels has no {wanted}.tsv: there are {', '.join(names)}")
    return splits[names.index(wanted)]


def _advice(folder: Path) -> str:
    """Explain what to do about a folder that holds no collection."""
    if not folder.is_dir():
        return "there is no such folder"
    if below := sorted(path.parent.name for path in folder.glob(f"*/{CORPUS}")):
        return f"it holds the collections {', '.join(below)}: name one of them"
    return f"a collection is {CORPUS}, {QUERIES} and {JUDGEMENTS} (or BEIR's qrels/test.tsv)"


def _digest(*paths: Path) -> str:
    found = sha256()
    for path in paths:
        found.update(sha256(path.read_bytes()).digest())
    return found.hexdigest()
