"""Reads a collection from a folder, in the layouts that collections come in.

A collection is documents (``corpus``), queries (``queries``) and judgements (``qrels``). Texts are a table in any
format: ``corpus.jsonl`` as in BEIR, ``collection.tsv`` without a header as in TREC and MS MARCO, ``queries.parquet``, a
folder of ``datasets``. Judgements are ``qrels/SPLIT.tsv`` as in BEIR, or one file beside the texts; they have three
columns or TREC's four.

What is wrong is an ``InvalidRequest`` that names the file and the line, and holds no text of a document or a query.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from rerank_core.errors import InvalidRequest
from rerank_core.evaluation.data.collection import Collection
from rerank_core.evaluation.data.judgements import parse_judgements
from rerank_core.evaluation.data.texts import DOCUMENT_NAMES, QUERY_NAMES, read_texts
from rerank_core.tables.arrow import dataset_files
from rerank_core.tables.encodings import decode

CORPUS, QUERIES, JUDGEMENTS, CANDIDATES = "corpus.jsonl", "queries.jsonl", "qrels.tsv", "candidates.jsonl"

_CORPORA, _TOPICS = ("corpus", "collection", "documents"), ("queries", "topics")
_ENDINGS = (".jsonl", ".jsonl.gz", ".ndjson", ".json", ".parquet", ".arrow", ".tsv", ".tsv.gz", ".csv", "")
_JUDGED = (".tsv", ".txt", ".trec")


def read_collection(folder: Path, *, split: str | None = None) -> Collection:
    """Read a collection; ``split`` chooses among several files in ``qrels/`` (by default ``test``).

    Raises ``InvalidRequest`` where the folder is none, or a line of it cannot be read.
    """
    corpus, queries = _find_texts(folder, _CORPORA), _find_texts(folder, _TOPICS)
    path = _find_judgements(folder, split)
    documents, questions = read_texts(corpus, DOCUMENT_NAMES), read_texts(queries, QUERY_NAMES)
    name = path.relative_to(folder).as_posix()
    judgements = parse_judgements(read_lines(path), name)
    collection = Collection(
        name=folder.resolve().name,
        documents=documents.by_id,
        queries=questions.by_id,
        grades=judgements.grades,
        digest=_digest(corpus, queries),
        description=f"documents from {documents.description}, queries from {questions.description}, judgements from "
        f"{name} ({judgements.layout})",
    )
    if not any(query in collection.queries for query in collection.grades):
        raise InvalidRequest(
            f"{folder}: none of the {len(collection.grades)} queries of {path.name} is one of the "
            f"{len(collection.queries)} of {queries.name}: the files belong to different collections"
        )
    return collection


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file. Raises ``InvalidRequest`` where it is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from error
    return decode(content, str(path)).split("\n")


def parse_object(line: str, name: str, number: int) -> Mapping[str, object]:
    """Parse a line's JSON object. Raises ``InvalidRequest`` where it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise InvalidRequest(f"{name}, line {number} is not JSON: write one JSON object a line") from None
    if not isinstance(record, dict):
        raise InvalidRequest(f"{name}, line {number} is {type(record).__name__}, not a JSON object")
    return record


def _find_texts(folder: Path, stems: Sequence[str]) -> Path:
    """Find the file, or the folder of ``datasets``, with the texts that ``stems`` are the usual names of."""
    usual = folder / f"{stems[0]}.jsonl"
    if usual.is_file():
        return usual
    paths = [folder / f"{stem}{ending}" for stem in stems for ending in _ENDINGS]
    found = [path for path in paths if (path.is_file() and path.suffix) or (path.is_dir() and dataset_files(path))]
    if not found:
        raise InvalidRequest(f"{folder} has no {usual.name}: {_advice(folder)}")
    if len(found) > 1:
        raise InvalidRequest(
            f"{folder} holds {' and '.join(path.name for path in found)}: leave only one of them there"
        )
    return found[0]


def _find_judgements(folder: Path, split: str | None) -> Path:
    """Find the file with the judgements."""
    flat = [path for path in (folder / f"qrels{ending}" for ending in (*_JUDGED, "")) if path.is_file()]
    splits = sorted(path for path in (folder / "qrels").glob("*") if path.suffix in _JUDGED)
    names = [path.stem for path in splits]
    if split is None and flat:
        if len(flat) > 1:
            raise InvalidRequest(
                f"{folder} holds {' and '.join(path.name for path in flat)}: leave only one of them there"
            )
        return flat[0]
    if not splits:
        wanted = JUDGEMENTS if split is None else f"qrels/{split}.tsv"
        raise InvalidRequest(f"{folder} has no {wanted}: {_advice(folder)}")
    if split is None and len(splits) > 1 and "test" not in names:
        raise InvalidRequest(f"{folder}/qrels has {', '.join(names)}: choose one with --split")
    wanted = split or ("test" if "test" in names else names[0])
    if wanted not in names:
        raise InvalidRequest(f"{folder}/qrels has no {wanted}.tsv: there are {', '.join(names)}")
    return splits[names.index(wanted)]


def _only(found: Sequence[Path], folder: Path) -> Path:
    """Return the only file. Raises ``InvalidRequest`` for several, of which any could be meant."""
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise InvalidRequest(f"{folder} holds {names}: leave only one of them there")
    return found[0]


def _advice(folder: Path) -> str:
    """Explain what to do about a folder that holds no collection."""
    if not folder.is_dir():
        return "there is no such folder"
    if below := sorted(path.parent.name for path in folder.glob(f"*/{CORPUS}")):
        return f"it holds the collections {', '.join(below)}: name one of them"
    return (
        f"a collection is {CORPUS}, {QUERIES} and {JUDGEMENTS} (or BEIR's qrels/test.tsv); the texts may also be .tsv, "
        ".csv, .json, .parquet or folders of datasets, and the judgements TREC's four columns"
    )


def _digest(*paths: Path) -> str:
    found = sha256()
    for path in paths:
        for file in dataset_files(path) or [] if path.is_dir() else [path]:
            found.update(sha256(file.read_bytes()).digest())
    return found.hexdigest()
