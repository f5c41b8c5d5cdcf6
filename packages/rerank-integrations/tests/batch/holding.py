"""Scores files, and holds for ever where a document says so, for a test that kills it there."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import Scores
from rerank_integrations.batch import Job, score_files


class Holding(OverlapModel):
    """A model that counts words, and stops at one."""

    def score(self, query: str, documents: Sequence[str], **options: Any) -> Scores:
        """See ``Scorer.score``."""
        if any(document.endswith("hold") for document in documents):
            with Path(sys.argv[3]).open("w"):  # whoever waits for it now knows
                self.gate.clear()
                self.gate.wait()
        return super().score(query, documents, **options)


if __name__ == "__main__":
    score_files(sys.argv[1], sys.argv[2], Holding(), Job(chunk_rows=100))
