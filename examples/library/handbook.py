"""The handbook of a small library, its questions, and a keyword search (BM25) over it."""

import json
import re
from pathlib import Path

import bm25s

FOLDER = Path(__file__).parent


def read(name: str) -> dict[str, str]:
    """Read texts by their ids, in the order of the file."""
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return {record["_id"]: record["text"] for record in map(json.loads, lines)}


def words(text: str) -> list[str]:
    """Split a text into words of three letters or more, in lower case, without the s of a plural."""
    return [word.removesuffix("s") for word in re.findall(r"\w{3,}", text.lower())]


PAGES = read("corpus.jsonl")

index = bm25s.BM25()
index.index([words(text) for text in PAGES.values()], show_progress=False)


def search(question: str, k: int = 10) -> list[str]:
    """Return the ids of the ``k`` best pages by BM25, best first."""
    found = index.retrieve([words(question)], corpus=list(PAGES), k=k, show_progress=False)
    return [str(page) for page in found.documents[0]]
