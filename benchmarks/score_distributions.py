"""Draw how scores of relevant and of other candidates lie, model by model: why a threshold of one is none of another.

    .venv/bin/python benchmarks/score_distributions.py docs/score-distributions.svg lite ../shared/models/minilm-ce

Needs judged collections; without them it is skipped loudly.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib as mpl
import rerank_core
from bench_quality import DATA
from matplotlib import pyplot
from retrieval import read_collection

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "rerank"  # the same figures, the same file


def main() -> None:
    """Score, and draw a row for each model and a column for each collection."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the SVG to write")
    parser.add_argument("models", nargs="+", help="directories, hub names or lite")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--collections", nargs="+", default=["scifact", "wikiqa-test", "xquad-en"])
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--depth", type=int, default=20)
    given = parser.parse_args()
    if not given.data.is_dir():
        print(f"SKIPPED LOUDLY: no judged collections at {given.data}", file=sys.stderr)
        return
    rows, columns = len(given.models), len(given.collections)
    figure, axes = pyplot.subplots(rows, columns, figsize=(3.2 * columns, 2.2 * rows), squeeze=False, sharex="row")
    for row, name in enumerate(given.models):
        model = rerank_core.load(name, device="cpu")
        for column, collection in enumerate(given.collections):
            relevant, other = scores(model, given.data / collection, given)
            axis = axes[row][column]
            bins = [index / 40 for index in range(41)]
            axis.hist(
                [other, relevant],
                bins=bins,
                density=True,
                histtype="stepfilled",
                alpha=0.6,
                label=["other", "relevant"],
            )
            axis.set_title(f"{Path(name).name}, {collection}", fontsize=9)
            axis.tick_params(labelsize=7)
            axis.set_yticks([])
    axes[0][0].legend(fontsize=7)
    figure.supxlabel("score (sigmoid)", fontsize=9)
    figure.tight_layout()
    figure.savefig(given.out, metadata={"Date": None})


def scores(model: rerank_core.Scorer, directory: Path, given: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Of candidates that are relevant, and of those that are not."""
    relevant: list[float] = []
    other: list[float] = []
    for question in read_collection(directory, queries=given.queries, depth=given.depth).questions:
        values = model.score(question.query, question.documents).values
        for id_, value in zip(question.ids, values, strict=True):
            (relevant if question.grades.get(id_, 0) > 0 else other).append(value)
    return relevant, other


if __name__ == "__main__":
    main()
