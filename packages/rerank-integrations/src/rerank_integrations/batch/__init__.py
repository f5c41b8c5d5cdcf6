"""Whole data sets, file by file: ``rerank batch``.

- ``job``: what is done with every file; ``files``: which files there are, and which of them are done
- ``jsonl``, ``json_array``, ``delimited``, ``parquet``, ``arrow``: a file's rows, read and written; ``rows``: what all
  have in common; ``gzipped``: files that may be compressed
- ``groups``: the rows of one query together, best first; ``scoring``: rows to scores
- ``run_manifest``: what the scores of a folder were made with
- ``run``: one file, and all of them; ``command``: the command
"""

from rerank_integrations.batch.job import Columns, Job
from rerank_integrations.batch.run import Summary, score_files

__all__ = ["Columns", "Job", "Summary", "score_files"]
