"""
Pytest plugin for environments without the libraries that run models: it skips the tests that need one of them.

Loaded by `-p absent_libraries`. A test is skipped where it failed and its report names an absent library: the module
that was not found, or our own error about it.
"""

import re
from collections.abc import Generator
from importlib.util import find_spec
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.CollectReport, pytest.TestReport)

LIBRARIES = (
    "cloudpickle", "huggingface_hub", "joblib", "numpy", "pandas", "ray", "safetensors", "tokenizers", "torch",
    "transformers",
)  # fmt: skip
ABSENT = "|".join(name for name in LIBRARIES if find_spec(name) is None)
MISSING = re.compile(rf"No module named '(?P<module>{ABSENT})\b|needs (?P<extra>{ABSENT}): pip install")


def _skip_if_absent(report: Report, place: str) -> Report:
    if ABSENT and report.failed and (found := MISSING.search(report.longreprtext)):
        report.outcome = "skipped"
        report.longrepr = (place, 0, f"Skipped: needs {found['module'] or found['extra']}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skip a file that imports an absent library."""
    return _skip_if_absent((yield), collector.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Skip a test that comes to need an absent library."""
    return _skip_if_absent((yield), item.nodeid)
