"""The figures as one HTML page that needs nothing else: no script, no request, light or dark as the reader's system."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rerank_core.evaluation.report.charts import Bar, Point, Span, bars, plane, spans
from rerank_core.evaluation.report.report import (
    MB,
    Provenance,
    Report,
    Row,
    baseline_of,
    heading,
    losses,
    remarks,
)
from rerank_core.evaluation.report.table import COLUMNS, cells, three_digits

_STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #1f2328; --soft: #59636e; --grid: #e3e6ea;
  --accent: #0b7285; --plain: #aab2bb; --zero: #7d8590; }
@media (prefers-color-scheme: dark) { :root { --page: #0d1117; --ink: #e6edf3; --soft: #9198a1; --grid: #262c36;
  --accent: #56c2d6; --plain: #59636e; --zero: #8b949e; } }
body { background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 68rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .25rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p, li { color: var(--soft); } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--grid); text-align: right; }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 600; }
svg { width: 100%; height: auto; font-size: 13px; } svg .ink { fill: var(--ink); } svg .soft { fill: var(--soft); }
svg .accent { fill: var(--accent); } svg .plain { fill: var(--plain); }
svg .accent-line { stroke: var(--accent); stroke-width: 2; } svg .plain-line { stroke: var(--plain); stroke-width: 2; }
footer { padding-top: .8rem; border-top: 1px solid var(--grid); margin-top: 2.5rem; font-size: .85rem; }
footer p { margin: .2rem 0; } code { overflow-wrap: anywhere; }
details { margin: .5rem 0; } summary { cursor: pointer; }
svg .grid { stroke: var(--grid); } svg .zero { stroke: var(--zero); stroke-width: 1.5; }
"""


def page(report: Report, provenance: Provenance) -> str:
    """Write the whole document."""
    title = f"rerank eval: {report.setting.collection}"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            f"<p>{escape(heading(report))}</p>",
            f'<div class="wide">{_table(report)}</div>',
            "<ul>",
            *(f"<li>{escape(remark)}</li>" for remark in remarks(report)),
            "</ul>",
            *_charts(report),
            *_losses(report),
            _footer(report, provenance),
            "</body></html>\n",
        ]
    )


def _table(report: Report) -> str:
    return _rows(COLUMNS, [cells(row) for row in report.rows])


def _rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _losses(report: Report) -> list[str]:
    """List the queries that lost most, for each system, beside what it is compared with."""
    found: list[str] = []
    for row in report.rows:
        baseline = baseline_of(report, row) if row.is_system else None
        if baseline is None or not (own := losses(report, row, baseline)):
            continue
        cells = [
            (loss.query, f"{loss.ndcg:.4f}", f"{loss.before:.4f}", f"{loss.ndcg - loss.before:+.4f}") for loss in own
        ]
        table = _rows(("query", "nDCG@10", baseline.label, "difference"), cells)
        name = escape(f"{row.label}, against {baseline.label}")
        found.append(f'<details><summary>{name}</summary><div class="wide">{table}</div></details>')
    return ["<section><h2>The queries that lost most</h2>", *found, "</section>"] if found else []


def _footer(report: Report, provenance: Provenance) -> str:
    setting = report.setting
    sizes = (
        f"The collection has {setting.documents} documents, {setting.collection_queries} queries and "
        f"{setting.judgements} judgements; compared were {len(setting.queries)} queries and {setting.pairs} pairs."
    )
    lines = (
        escape(f"{provenance.time}, on {setting.machine}"),
        f"<code>{escape(provenance.command)}</code>",
        escape(", ".join(f"{name} {version}" for name, version in provenance.versions.items())),
        escape(sizes),
    )
    return f"<footer>{''.join(f'<p>{line}</p>' for line in lines)}</footer>"


def _charts(report: Report) -> list[str]:
    rows = report.rows
    quality = [Bar(row.label, row.ndcg, f"{row.ndcg:.4f}", row.is_system) for row in rows]
    found = [_chart("nDCG@10", bars("nDCG@10", quality, most=1.0))]
    systems = [row for row in rows if row.is_system]
    if compared := [span for row in systems if (span := _span(row)) is not None]:
        title = f"Difference of nDCG@10 from {report.reference}, 95 % interval: coloured where it leaves out 0"
        found.append(_chart(title, spans(title, compared)))
    timed = [Point(row.label, row.pairs_per_second, row.ndcg) for row in systems if row.pairs_per_second]
    if len(timed) > 1:
        title = "Quality and speed: up and right is better"
        found.append(_chart(title, plane(title, timed, across="pairs a second", up="nDCG@10", most=1.0)))
    speeds = [
        Bar(row.label, row.pairs_per_second, three_digits(row.pairs_per_second))
        for row in systems
        if row.pairs_per_second is not None
    ]
    memories = [Bar(row.label, row.memory / MB, f"{row.memory / MB:.0f}") for row in systems if row.memory is not None]
    for title, own in (("Speed, pairs a second", speeds), ("Memory, MB", memories)):
        if own:
            found.append(_chart(title, bars(title, own)))
    return found


def _chart(title: str, drawn: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{drawn}</section>"


def _span(row: Row) -> Span | None:
    if row.difference is None or row.interval is None:
        return None
    low, high = row.interval
    written = f"{row.difference:+.4f}{' *' if row.is_different else ''}"
    return Span(row.label, row.difference, low, high, written, row.is_different)
