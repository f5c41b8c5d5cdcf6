"""The settings of a job: what to read of a data set, and what to write."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from rerank_core.errors import InvalidRequest
from rerank_core.types import ScoreOptions

OnError: TypeAlias = Literal["fail", "skip"]
Kind: TypeAlias = Literal["score", "rank"]
"""Of a column that is added: a float, or a whole number."""

RANK = "rank"


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The names of the columns that a row must have; all others are kept as they are."""

    id: str = "id"
    query: str = "query"
    document: str = "document"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The settings by which rows become rows with scores.

    - ``columns``: where id, query and document are; ``score``: the column that the scores go to.
    - ``options``: what else may change a score.
    - ``rerank``: order the rows of each query, best first, with a column ``rank`` that counts from 1. The rows of one
      query must stand together; they are held in memory together. ``group``: the column that tells queries apart, by
      default the query itself. ``top_n``: keep so many of the best of each query.
    - ``on_error``: a row that cannot be scored ends the run (``fail``), or gets no score and is counted (``skip``).
    - ``chunk_rows``: how many rows are read, scored and written at once. No score depends on it: a model that scores
      a list as a whole gets the rows of a query at once, which then must stand together.

    Raises ``InvalidRequest`` for what cannot be.
    """

    columns: Columns = field(default_factory=Columns)
    score: str = "score"
    options: ScoreOptions = field(default_factory=ScoreOptions)
    rerank: bool = False
    group: str | None = None
    top_n: int | None = None
    on_error: OnError = "fail"
    chunk_rows: int = 4096

    def __post_init__(self) -> None:
        if self.chunk_rows < 1:
            raise InvalidRequest(f"chunk_rows is {self.chunk_rows}: use at least 1")
        if self.top_n is not None and self.top_n < 1:
            raise InvalidRequest(f"top_n is {self.top_n}: use at least 1, or none for all")
        if not self.rerank and (self.top_n is not None or self.group is not None):
            raise InvalidRequest("top_n and group order the rows of a query: they need rerank")
        if self.on_error not in ("fail", "skip"):
            raise InvalidRequest(f"on_error is {self.on_error!r}: use fail or skip")
        if len({*self.read, *self.added}) < len(self.read) + len(self.added):
            raise InvalidRequest(f"two columns have one name: {', '.join([*self.read, *self.added])}")

    @property
    def group_column(self) -> str:
        """The column that tells queries apart."""
        return self.group or self.columns.query

    @property
    def read(self) -> list[str]:
        """The columns that a row must have, each once."""
        names = [self.columns.query, self.columns.document]
        # An id may be any column, the group also.
        return names + [name for name in dict.fromkeys((self.columns.id, self.group_column)) if name not in names]

    @property
    def added(self) -> dict[str, Kind]:
        """The columns that a row gets."""
        columns: dict[str, Kind] = {self.score: "score"}
        if self.rerank:
            columns[RANK] = "rank"
        return columns
