"""Scores a data set on Spark: each worker process loads the model once, and scores what it is given.

    spark-submit examples/spark/score_on_spark.py pairs.parquet scored.parquet --model lite

The pairs have columns ``id``, ``query`` and ``document``; all others are kept. Python, rerank-integrations[local] and
the model must be on every machine. See docs/batch.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from pyspark.sql import DataFrame, SparkSession  # type: ignore[import-not-found]
from pyspark.sql.types import DoubleType, StructType  # type: ignore[import-not-found]
from rerank_core.types import Pair
from rerank_integrations.local import ModelScorer


def with_scores(pairs: DataFrame, scorer: ModelScorer) -> DataFrame:
    """The same rows with a column ``score``."""

    def score(frames: Iterator[Any]) -> Iterator[Any]:
        for frame in frames:
            scores = scorer.score_pairs([Pair(*pair) for pair in zip(frame["query"], frame["document"], strict=True)])
            yield frame.assign(score=scores.values)

    schema = StructType([*pairs.schema.fields]).add("score", DoubleType())
    return pairs.mapInPandas(score, schema)


def main() -> None:
    parser = argparse.ArgumentParser(description="Score pairs on Spark.")
    parser.add_argument("source", help="a Parquet data set with id, query and document")
    parser.add_argument("target", help="where the same with a score goes")
    parser.add_argument("--model", default="BAAI/bge-reranker-v2-m3")
    arguments = parser.parse_args()

    spark = SparkSession.builder.appName("rerank").getOrCreate()
    # Spark runs a task a core: each keeps to one thread.
    scorer = ModelScorer(arguments.model, threads=1)
    with_scores(spark.read.parquet(arguments.source), scorer).write.parquet(arguments.target)
    spark.stop()


if __name__ == "__main__":
    main()
