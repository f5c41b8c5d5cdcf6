"""Draw the charts of docs/performance.md, and write the figures of README.md and three pages of docs.

Run by `make charts`.

Everything comes from the benchmarks' JSON in docs/figures: measure again, copy the files, run this.
"""

from __future__ import annotations

from pathlib import Path

from performance_charts import charts
from performance_text import blocks, filled
from published import FIGURES, read
from results import write_file

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *(ROOT / "docs" / name for name in ("performance.md", "performance-amd.md", "models.md")))
IMAGES = ROOT / "docs" / "images"


def files(figures: Path = FIGURES) -> dict[Path, str]:
    """Return the content of each file."""
    found = read(figures)
    drawn = charts(found)
    written = blocks(found, read(figures / "avx512"), drawn)
    images = {IMAGES / f"{name}.svg": chart.svg for name, chart in drawn.items()}
    return images | {page: filled(page.read_text(encoding="utf-8"), written) for page in PAGES}


if __name__ == "__main__":
    for path, content in files().items():
        write_file(path, content)
