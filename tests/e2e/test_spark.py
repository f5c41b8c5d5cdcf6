"""The example for Spark, on a Spark of this machine with two workers."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

PYSPARK = "pyspark==4.0.1"
LIMIT = 400.0  # seconds; pyspark is 400 MB, and is built here once

pytestmark = pytest.mark.timeout(2 * LIMIT)


@pytest.fixture(scope="module")
def spark(root: Path) -> Iterator[Path]:
    """A throw-away environment that has pyspark, and everything of ours beside it."""
    if shutil.which("java") is None:
        pytest.skip("SKIPPED LOUDLY: there is no java, the example for Spark was not run")
    uv = os.environ.get("UV") or shutil.which("uv") or shutil.which("uv", path=str(root / ".uv" / "bin"))
    if uv is None:
        pytest.skip("SKIPPED LOUDLY: there is no uv to install pyspark with, the example for Spark was not run")
    with tempfile.TemporaryDirectory(prefix="spark") as directory:
        environment = Path(directory) / "venv"
        python = environment / "bin" / "python"
        for command in (
            (uv, "venv", "--quiet", "--python", sys.executable, str(environment)),
            (uv, "pip", "install", "--quiet", "--python", str(python), PYSPARK),
        ):
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
            except subprocess.TimeoutExpired:
                pytest.skip(f"SKIPPED LOUDLY: {PYSPARK} was not installed in {LIMIT:.0f} s")
            if done.returncode:
                pytest.skip(f"SKIPPED LOUDLY: {PYSPARK} cannot be installed, the example for Spark was not run")
        (site,) = environment.glob("lib/python*/site-packages")
        (site / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        yield environment / "bin"


def test_the_example_scores_every_row_once_and_as_in_process(
    spark: Path, root: Path, tiny: Path, tmp_path: Path
) -> None:
    arrow = pytest.importorskip("pyarrow", reason="SKIPPED LOUDLY: the extra 'batch' is not installed")
    from rerank_core import load

    parquet = import_module("pyarrow.parquet")

    (tmp_path / "in").mkdir()
    rows: list[dict[str, Any]] = [
        {"id": number, "query": f"panda {number // 10}", "document": f"bamboo {number}", "more": number / 7}
        for number in range(200)
    ]
    for number in range(2):
        parquet.write_table(
            arrow.Table.from_pylist(rows[100 * number : 100 * (number + 1)]), tmp_path / "in" / f"{number}.parquet"
        )
    settings = ("spark.ui.enabled=false", "spark.sql.files.openCostInBytes=128m")  # a task a file
    command = [
        str(spark / "spark-submit"), "--master", "local[2]", *(word for each in settings for word in ("--conf", each)),
        str(root / "examples" / "spark" / "score_on_spark.py"),
        str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(tiny),
    ]  # fmt: skip
    here = {"PYSPARK_PYTHON": str(spark / "python"), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_DIRS": str(tmp_path)}

    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | here, capture_output=True, text=True, timeout=LIMIT, check=False
    )

    assert done.returncode == 0, done.stderr[-4000:]
    found = parquet.read_table(tmp_path / "out").to_pylist()
    after = sorted(found, key=lambda row: row["id"])
    assert [{name: value for name, value in row.items() if name != "score"} for row in after] == rows
    model = load(str(tiny))
    assert [row["score"] for row in after] == [model.score(row["query"], [row["document"]]).values[0] for row in rows]
