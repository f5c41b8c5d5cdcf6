"""The figures as a table of Markdown that can be read in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rerank_core.evaluation.report.report import MB, Report, Row
from rerank_core.terminal import width

COLUMNS = ("system", "nDCG@10", "difference (95 % interval)", "MRR@10", "recall@10", "pairs/s", "memory MB")


def cells(row: Row) -> list[str]:
    """Format a row's figures, in the order of ``COLUMNS``."""
    difference = "-"
    if row.difference is not None and row.interval is not None:
        low, high = row.interval
        difference = f"{row.difference:+.4f} ({low:+.4f} to {high:+.4f}){'*' if row.is_different else ' '}"
    return [
        row.label.replace("|", "/"),
        f"{row.ndcg:.4f}",
        difference,
        f"{row.mrr:.4f}",
        f"{row.recall:.4f}",
        "-" if row.pairs_per_second is None else three_digits(row.pairs_per_second),
        "-" if row.memory is None else f"{row.memory / MB:.0f}",
    ]


def table(report: Report) -> str:
    """Align the columns; the first is text, the others numbers."""
    rows = [list(COLUMNS), *(cells(row) for row in report.rows)]
    widths = [max(width(row[place]) for row in rows) for place in range(len(COLUMNS))]
    marks = ["-" * widths[0], *("-" * (wanted - 1) + ":" for wanted in widths[1:])]
    head, *body = (_line(row, widths) for row in rows)
    return "\n".join([head, f"| {' | '.join(marks)} |", *body])


def three_digits(value: float) -> str:
    """Format a number with at least three digits: 0.720, 24.0, 1246."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    padding = [" " * (wanted - width(cell)) for cell, wanted in zip(row, widths, strict=True)]
    first, *others = zip(row, padding, strict=True)
    return f"| {' | '.join([first[0] + first[1], *(space + cell for cell, space in others)])} |"
