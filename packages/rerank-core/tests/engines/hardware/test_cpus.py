import os
from pathlib import Path

import pytest
from rerank_core.engines.hardware.cpus import available_cpus


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("limit", "cpus"),
    [("200000 100000", 2), ("max 100000", 8), ("150000 100000", 1), ("50000 100000", 1), ("9900000 100000", 8)],
)
def test_a_quota_of_cgroup_v2_counts(tmp_path: Path, limit: str, cpus: int) -> None:
    write(tmp_path / "cpu.max", limit + "\n")

    assert available_cpus(tmp_path) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("200000", 2), ("-1", 8)])
def test_a_quota_of_cgroup_v1_counts(tmp_path: Path, quota: str, cpus: int) -> None:
    write(tmp_path / "cpu" / "cpu.cfs_quota_us", quota)
    write(tmp_path / "cpu" / "cpu.cfs_period_us", "100000")

    assert available_cpus(tmp_path) == cpus


def test_without_a_quota_the_affinity_counts(tmp_path: Path) -> None:
    assert available_cpus(tmp_path) == 8
