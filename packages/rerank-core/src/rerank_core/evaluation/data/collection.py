"""A judged collection, and questions made of it. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A collection as it is on disk.

    - ``documents``, ``queries``: texts by their ids, in the order of their files; a document's title is part of it.
    - ``grades``: judgements by query id and document id; above 0 is relevant.
    - ``digest``: of the files of documents and queries; ``description``: what its files were read as.
    """

    name: str
    documents: Mapping[str, str]
    queries: Mapping[str, str]
    grades: Mapping[str, Mapping[str, int]]
    digest: str
    description: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A query and the candidates to rank, best first as they came.

    ``documents`` are the texts of ``candidates``, in their order; ``grades`` holds every judgement of the query, of
    candidates or not.
    """

    id: str
    query: str
    candidates: tuple[str, ...]
    documents: tuple[str, ...]
    grades: Mapping[str, int]

    @cached_property
    def digest(self) -> str:
        """Return a hash of the texts: what scores depend on."""
        return digest_of(self.query, *self.documents)

    @cached_property
    def relevant(self) -> frozenset[str]:
        """Return the ids of all relevant documents."""
        return frozenset(document for document, grade in self.grades.items() if grade > 0)


def digest_of(*texts: str) -> str:
    """Hash texts (SHA-256), each with its length, so that no two lists have the same."""
    found = sha256()
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        found.update(len(content).to_bytes(8, "big"))
        found.update(content)
    return found.hexdigest()
