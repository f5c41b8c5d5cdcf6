"""The charts and the figures of docs/performance.md and README.md come from the measurements in docs/figures."""

import importlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
CHARTS = ["speed", "growth-passages", "growth-length", "dtypes"]
BLOCKS = {"README.md": ["readme"], "docs/performance.md": ["machine", "speed", "growth", "dtypes"]}


@pytest.fixture(scope="module")
def benchmark() -> Callable[[str], Any]:
    """A module of benchmarks/, which is no package."""

    def load(name: str) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(ROOT / "benchmarks")
            return importlib.import_module(name)

    return load


def test_charts_and_pages_are_what_the_measurements_give(benchmark: Callable[[str], Any]) -> None:
    files = benchmark("draw_charts").files()

    assert set(files) >= {IMAGES / f"{chart}.svg" for chart in CHARTS}
    for path, content in files.items():
        assert path.read_text(encoding="utf-8") == content, f"{path.relative_to(ROOT)} is not fresh: run `make charts`"


@pytest.mark.parametrize("page", BLOCKS)
def test_a_page_has_the_places_for_its_figures(benchmark: Callable[[str], Any], page: str) -> None:
    assert benchmark("performance_text").names((ROOT / page).read_text(encoding="utf-8")) == BLOCKS[page]


def test_no_measured_figure_of_the_page_is_written_by_hand(benchmark: Callable[[str], Any]) -> None:
    written = benchmark("performance_text").prose((ROOT / "docs" / "performance.md").read_text(encoding="utf-8"))

    assert re.findall(r"\S*\d\.\d\S*|\d+ ?%", written) == []


def test_another_measurement_makes_another_chart_and_another_readme(
    benchmark: Callable[[str], Any], tmp_path: Path
) -> None:
    figures = shutil.copytree(ROOT / "docs" / "figures", tmp_path / "figures")
    run = json.loads((figures / "engines-large.json").read_text(encoding="utf-8"))
    ours, theirs = (
        next(one for one in run["timings"] if (one["system"], one["pairs"]) == (system, "mixed"))
        for system in ("packed", "sentence-transformers")
    )
    theirs["pairs_per_second"] = ours["pairs_per_second"] / 7.77
    (figures / "engines-large.json").write_text(json.dumps(run), encoding="utf-8")

    files = benchmark("draw_charts").files(figures)

    answer = "7.8 times as fast as sentence-transformers"
    assert answer in files[IMAGES / "speed.svg"]
    assert answer in files[ROOT / "docs" / "performance.md"]
    assert "**7.8 times as fast** as sentence-transformers" in files[ROOT / "README.md"]


@pytest.mark.parametrize("chart", CHARTS)
def test_the_words_of_a_chart_stay_inside_it(benchmark: Callable[[str], Any], chart: str) -> None:
    root = ElementTree.parse(IMAGES / f"{chart}.svg").getroot()
    width = float(root.attrib["viewBox"].split()[2])
    texts = root.findall("{http://www.w3.org/2000/svg}text")

    assert texts
    for text in texts:
        size, bold = float(text.attrib["font-size"]), text.get("font-weight") == "bold"
        long = benchmark("svg").text_width(text.text, size, bold=bold)
        begins = (
            float(text.attrib["x"]) - long * {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor", "start")]
        )
        assert begins >= 0, text.text
        assert begins + long <= width, text.text
