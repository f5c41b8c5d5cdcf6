"""The charts and the figures of docs/performance.md and README.md come from the measurements in docs/figures."""

import json
import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
CHARTS = ["speed", "growth-passages", "growth-length", "dtypes"]
BLOCKS = {
    "README.md": ["readme"],
    "docs/performance.md": ["machine", "speed", "growth", "dtypes"],
    "docs/performance-amd.md": ["amd-machine", "amd-speed", "amd-growth", "amd-dtypes", "amd-language-models"],
    "docs/models.md": ["language-models"],
}


def test_charts_and_pages_are_what_the_measurements_give(benchmark: Callable[[str], Any]) -> None:
    files = benchmark("draw_charts").files()

    assert set(files) >= {IMAGES / f"{chart}.svg" for chart in CHARTS}
    for path, content in files.items():
        assert path.read_text(encoding="utf-8") == content, f"{path.relative_to(ROOT)} is not fresh: run `make charts`"


@pytest.mark.parametrize("page", BLOCKS)
def test_a_page_has_the_places_for_its_figures(benchmark: Callable[[str], Any], page: str) -> None:
    assert benchmark("performance_text").names((ROOT / page).read_text(encoding="utf-8")) == BLOCKS[page]


@pytest.mark.parametrize("page", ["performance.md", "performance-amd.md"])
def test_no_measured_figure_of_the_page_is_written_by_hand(benchmark: Callable[[str], Any], page: str) -> None:
    written = benchmark("performance_text").prose((ROOT / "docs" / page).read_text(encoding="utf-8"))

    assert re.findall(r"\S*\d\.\d\S*|\d+ ?%", written) == []


def timing_of(run: dict[str, Any], system: str) -> dict[str, Any]:
    return next(one for one in run["timings"] if (one["system"], one["pairs"]) == (system, "mixed"))


def test_another_measurement_makes_another_chart_and_another_readme(
    benchmark: Callable[[str], Any], tmp_path: Path
) -> None:
    figures = shutil.copytree(ROOT / "docs" / "figures", tmp_path / "figures")
    run = json.loads((figures / "engines-large.json").read_text(encoding="utf-8"))
    ours, theirs = (timing_of(run, system) for system in ("packed", "sentence-transformers"))
    theirs["pairs_per_second"] = ours["pairs_per_second"] / 7.77
    (figures / "engines-large.json").write_text(json.dumps(run), encoding="utf-8")

    files = benchmark("draw_charts").files(figures)

    for path in (IMAGES / "speed.svg", ROOT / "docs" / "performance.md", ROOT / "README.md"):
        assert "7.77 times as fast as sentence-transformers" in files[path]


def test_a_quicker_peer_is_named_first_and_each_is_compared_in_its_own_dtype(
    benchmark: Callable[[str], Any], tmp_path: Path
) -> None:
    figures = shutil.copytree(ROOT / "docs" / "figures", tmp_path / "figures")
    run = json.loads((figures / "engines-large.json").read_text(encoding="utf-8"))
    for system, ours, ratio in [
        ("ONNX Runtime, b1", "packed", 0.97),
        ("ONNX Runtime, int8, b1", "packed, int8", 1.21),
        ("OpenVINO, bfloat16, b1", "packed, bfloat16", 1.06),
    ]:
        timing = timing_of(run, ours)
        run["timings"] = [one for one in run["timings"] if one["system"] != system]
        run["timings"].append(timing | {"system": system, "pairs_per_second": timing["pairs_per_second"] / ratio})
    small = {"system": "ONNX Runtime, b1", "pairs": "1 of 32", "median_cpu_seconds": 0.0415}
    run["small_requests"] = [small, small | {"system": "packed", "median_cpu_seconds": 0.0653}]
    for name in ("engines-large", "engines-modernbert"):
        (figures / f"{name}.json").write_text(json.dumps(run), encoding="utf-8")

    files = benchmark("draw_charts").files(figures)

    page, readme = (files[ROOT / name] for name in ("docs/performance.md", "README.md"))
    assert "0.97 times as fast as ONNX Runtime one at a time" in readme
    assert "0.97 times as fast as ONNX Runtime one at a time" in files[IMAGES / "speed.svg"]
    assert "1.21 times as fast as ONNX Runtime int8" in readme
    assert re.search(r"\| OpenVINO bfloat16, one at a time \| 1\.06 \|.*\| 1\.06 \|\n", page)
    assert "ModernBERT, mixed" in page
    assert "| ONNX Runtime, one at a time | 41.5 |" in page
    assert "| rerank `float32` | 65.3 |" in page


@pytest.mark.parametrize("chart", CHARTS)
def test_the_words_of_a_chart_stay_inside_it_and_beside_each_other(benchmark: Callable[[str], Any], chart: str) -> None:
    root = ElementTree.parse(IMAGES / f"{chart}.svg").getroot()
    width = float(root.attrib["viewBox"].split()[2])
    texts = root.findall("{http://www.w3.org/2000/svg}text")
    places = []

    for text in texts:
        size, bold = float(text.attrib["font-size"]), text.get("font-weight") == "bold"
        long = benchmark("svg").text_width(text.text, size, bold=bold)
        begins = (
            float(text.attrib["x"]) - long * {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor", "start")]
        )
        assert begins >= 0, text.text
        assert begins + long <= width, text.text
        places.append((float(text.attrib["y"]), begins, begins + long, text.text))
    assert places
    for (y, _, end, words), (other_y, begin, _, other) in pairwise(sorted(places)):
        assert y != other_y or end <= begin, f"{words!r} runs into {other!r}"
