"""What kernels are made of, for the tests of each kind."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from rerank_core.engines.hardware import cpu_features
from rerank_core.engines.packed.kernels import instructions

if TYPE_CHECKING:
    from rerank_core.engines.packed.kernels.sums import Sums


def of_emulated_tiles() -> Sums:
    """Make the sums of AMX, with tiles in memory: see ``emulated_tiles``."""

    def load(spec: ModuleSpec | None) -> ModuleType:
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    tiles = load(spec_from_file_location("emulated_tiles", Path(__file__).with_name("emulated_tiles.py")))
    names = {name: getattr(tiles, name) for name in vars(tiles) if not name.startswith("__")}
    with mock.patch.multiple("rerank_core.engines.packed.kernels.tiles", **names, create=True):
        return load(find_spec("rerank_core.engines.packed.kernels.tile_sums")).TILES


@pytest.fixture(scope="module", params=["amx", "amx, emulated", "avx512"])
def sums(request) -> Sums:
    """What products are made of: all that this machine has, not only the fastest, and AMX on every machine."""
    if instructions.found() is None:
        pytest.skip("SKIPPED LOUDLY: this processor has no instructions for kernels, or no numba")
    if request.param == "amx, emulated":
        return of_emulated_tiles()
    has = {"amx": instructions.found() == "amx", "avx512": cpu_features.has_dot_products()}
    if not has[request.param]:
        pytest.skip(f"SKIPPED LOUDLY: this machine has no instructions of {request.param}")
    return instructions.sums_with(request.param)
