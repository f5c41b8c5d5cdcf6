"""What tests of pages and of the benchmarks behind them share."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark() -> Callable[[str], Any]:
    """A module of benchmarks/, which is no package."""

    def load(name: str) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(ROOT / "benchmarks")
            return importlib.import_module(name)

    return load
