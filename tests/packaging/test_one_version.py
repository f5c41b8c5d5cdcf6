"""Three packages, one version, held together by exact pins."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

PACKAGES = ("rerank-core", "rerank-server", "rerank-integrations")
INSTALL_PAGES = ("README.md", "docs/install.md", "docs/first-reranker.md")


def project(root: Path, name: str) -> dict[str, Any]:
    content = tomllib.loads((root / "packages" / name / "pyproject.toml").read_text())
    found: dict[str, Any] = content["project"]
    return found


def test_the_packages_have_one_version(root: Path) -> None:
    assert len({project(root, name)["version"] for name in PACKAGES}) == 1


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_pins_the_others_exactly(root: Path, name: str) -> None:
    """uv drops the specifier of a workspace source, so only a test sees a wrong one."""
    content = project(root, name)
    wanted = [*content["dependencies"], *(r for extra in content["optional-dependencies"].values() for r in extra)]
    ours = [requirement for requirement in wanted if requirement.startswith("rerank-") and name not in requirement]

    assert all(requirement.endswith(f"=={content['version']}") for requirement in ours)


def test_the_changelog_has_the_version(root: Path) -> None:
    version = project(root, "rerank-core")["version"]

    assert f"## [{version}]" in (root / "CHANGELOG.md").read_text()


def test_each_version_of_the_changelog_has_its_lines_by_package(root: Path) -> None:
    _, *versions = re.split(r"^## .*$", (root / "CHANGELOG.md").read_text(), flags=re.MULTILINE)

    assert versions
    for version in versions:
        before, *sections = re.split(r"^### (.*)$", version, flags=re.MULTILINE)
        assert before.strip() == ""
        assert sections[::2]
        assert set(sections[::2]) <= {"Core", "Server", "Integrations", "Deployment and documentation"}
        assert all(lines.strip().startswith("- ") for lines in sections[1::2])


def test_the_install_lines_name_the_build_of_torch_that_is_tested(root: Path) -> None:
    packages = tomllib.loads((root / "uv.lock").read_text())["package"]
    (version,) = {package["version"].partition("+")[0] for package in packages if package["name"] == "torch"}
    named = re.findall(r"\btorch==([\w.+]+)", "".join((root / page).read_text() for page in INSTALL_PAGES))

    assert set(named) == {f"{version}+cpu"}
