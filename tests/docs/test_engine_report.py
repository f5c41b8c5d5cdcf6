"""What a run of all systems says, from timings that are made up."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rerank_core.testing.checkpoints import write_tiny_checkpoint

CONFIG = {"hidden_size": 8, "intermediate_size": 32, "num_hidden_layers": 2, "model_type": "bert"}
RATES = {"float32": [0.5, 1.0], "bfloat16": [2.0], "int8": [4.0]}


@pytest.fixture
def run(benchmark: Callable[[str], Any]) -> Any:
    """A second for every system, in each set; half a second for ONNX Runtime in int8."""
    figures, pairs = benchmark("figures"), benchmark("pairs")
    mixed, one = pairs.PairSet("mixed", "q", ("a", "b"), (40, 60)), pairs.PairSet("1 of 32", "q", ("a",), (32,))
    systems = ["packed", "packed, int8", "packed, bfloat16", "ONNX Runtime, b1", "ONNX Runtime, int8, b1"]
    timings = [
        tuple(figures.Timing(system, each, [0.5 if "ONNX Runtime, int8" in system else 1.0]) for system in systems)
        for each in (mixed, one)
    ]
    return figures.Run(CONFIG, timings[0], RATES, timings[1])


def test_a_share_is_of_the_best_rate_of_the_products_of_the_systems_own_dtype(run: Any) -> None:
    shares = {timing.system: run.product_share(timing) for timing in run.timings}

    assert shares["packed"] == pytest.approx(2 * shares["packed, bfloat16"])
    assert shares["packed"] == pytest.approx(4 * shares["packed, int8"])
    assert shares["ONNX Runtime, int8, b1"] == pytest.approx(2 * shares["packed, int8"])


def test_a_peer_is_compared_with_our_engine_in_the_peers_dtype_only(run: Any) -> None:
    compared = {(one.system, one.other): one.ratio for one in run.comparisons() if one.other.startswith("ONNX")}

    assert compared == {
        ("packed", "ONNX Runtime, b1"): 1.0,
        ("packed, int8", "ONNX Runtime, int8, b1"): 0.5,
    }


def test_the_tables_have_small_requests_in_milliseconds_and_each_peer_with_its_ratio(
    benchmark: Callable[[str], Any], run: Any
) -> None:
    tables = benchmark("engine_report").tables(run)

    assert "| ONNX Runtime, int8, b1 | 500.0 (0%) |" in tables
    assert "| ONNX Runtime, int8, b1 | 0.50 | 0.50 |" in tables


def test_the_nominal_operations_are_those_of_the_products_that_are_timed(benchmark: Callable[[str], Any]) -> None:
    products = benchmark("figures").products
    gated = products(CONFIG | {"model_type": "modernbert"})

    assert sum(inputs * outputs for inputs, outputs in products(CONFIG)) == 4 * 8 * 8 + 2 * 8 * 32
    assert sum(inputs * outputs for inputs, outputs in gated) == 4 * 8 * 8 + 3 * 8 * 32


def test_a_missing_peer_is_a_complaint_but_not_a_dtype_that_the_machine_lacks(
    benchmark: Callable[[str], Any], run: Any
) -> None:
    complaints = benchmark("bench_engines").complaints
    wanted = [timing.system for timing in run.timings]
    without = SimpleNamespace(timings=[each for each in run.timings if "bfloat16" not in each.system], small=())

    assert complaints(run, [*wanted, "infinity"], 1e-4) == ["infinity is missing"]
    assert complaints(run, [*wanted, "OpenVINO, bfloat16, b1"], 1e-4) == ["OpenVINO, bfloat16, b1 is missing"]
    assert complaints(without, [*wanted, "OpenVINO, bfloat16, b1"], 1e-4) == []


def test_a_system_that_does_not_fit_into_memory_is_left_out_loudly(
    benchmark: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    workers = benchmark("workers")
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    monkeypatch.setattr(workers, "available", lambda: 1000)

    assert workers.start(["packed"], checkpoint, max_length=128, core=0, logs=tmp_path) == {}
    assert "SKIPPED LOUDLY: packed was not measured: it may take" in capfd.readouterr().err


def test_each_dtype_has_a_rate_of_products(benchmark: Callable[[str], Any]) -> None:
    rates = benchmark("product_rates").rates([(32, 96), (32, 32)], ["float32", "bfloat16", "int8"])

    assert set(rates) == {"float32", "bfloat16", "int8"}


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "modernbert"])
def test_pairs_have_the_tokens_that_were_asked_for(
    benchmark: Callable[[str], Any], tmp_path: Path, family: str
) -> None:
    pairs = benchmark("pairs").Vocabulary(write_tiny_checkpoint(tmp_path / "tiny", family)).small(2)

    assert (pairs.name, pairs.lengths) == ("2 of 32", (32, 32))
