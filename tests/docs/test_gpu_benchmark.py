"""The GPU's benchmark: what its page says, and what it does with what fails, is missing, or takes too long."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
Load = Callable[[str], Any]
README = (ROOT / "benchmarks" / "README.md").read_text()


@pytest.fixture
def report(benchmark: Load, tmp_path: Path) -> Any:
    return benchmark("gpu.report").Report("right", tmp_path / "right.json", seconds=1000.0)


def test_the_page_has_a_row_for_each_section_and_their_time(benchmark: Load) -> None:
    bench = benchmark("bench_gpu")
    part = README.split("## GPU")[1].split("## Charts")[0]

    listed = re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)

    assert listed == [*bench.SECTIONS, *bench.WITH_SERVER]
    assert f"{sum(bench.SECTIONS.values()):g} s in all" in part
    assert sum(bench.SECTIONS.values()) <= 480


def test_what_fails_or_is_missing_is_written_and_the_rest_goes_on(benchmark: Load, report: Any) -> None:
    with report.attempt("a peer"):
        raise benchmark("gpu.report").Missing("it is not installed")
    with report.attempt("a kernel"):
        raise RuntimeError("CUDA error")
    report.table("rates", ["", "rate"], [["float16", "3"]], {"float16": 3.0})

    written = json.loads(report.path.read_text())

    assert written["missing"] == {"a peer": "it is not installed"}
    assert written["failed"] == {"a kernel": "RuntimeError: CUDA error"}
    assert written["figures"] == {"rates": {"float16": 3.0}}


def test_items_behind_the_time_of_a_section_are_listed_as_left_out(report: Any) -> None:
    done = []
    for item in report.within(["one", "two", "three"], "shapes"):
        done.append(item)
        report.seconds = -1.0

    assert done == ["one"]
    assert report.left_out == ["shapes: two", "shapes: three"]


@pytest.mark.parametrize(("found", "code"), [({"checks": {"right": True}}, 0), ({"checks": {"right": False}}, 1)])
def test_a_check_that_does_not_hold_fails_the_benchmark(
    benchmark: Load, capsys: pytest.CaptureFixture[str], found: dict[str, Any], code: int
) -> None:
    missing = {"missing": {"a peer": "it is not installed"}, "left_out": ["a shape"]}

    assert benchmark("bench_gpu").summarize({"right": {**found, **missing}}, 1.0) == code

    said = capsys.readouterr().out
    assert "missing: a peer: it is not installed" in said
    assert "left out: a shape" in said
    assert ("DOES NOT HOLD" in said) == bool(code)


def test_kendalls_tau_counts_pairs_in_the_same_order(benchmark: Load) -> None:
    tau = benchmark("gpu.measures").kendall_tau

    assert tau([1, 2, 3, 4], [10, 20, 30, 40]) == 1
    assert tau([4, 3, 2, 1], [10, 20, 30, 40]) == -1
    assert tau([1, 2, 4, 3], [10, 20, 30, 40]) == pytest.approx(4 / 6)


def test_buckets_are_few_and_large_enough(benchmark: Load) -> None:
    buckets = benchmark("gpu.company").buckets
    found = [buckets(rows) for rows in range(1, 16385)]

    assert all(bucket >= rows for rows, bucket in enumerate(found, start=1))
    assert sorted(set(found))[:6] == [32, 48, 64, 96, 128, 192]
    assert len(set(found)) == 19
