"""The pages say what the code does, and name what exists."""

import re
import runpy
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rerank_server.settings import settings_fields, variable_of

NOT_OURS = {"RERANK_API_KEY", "RERANK_URL"}  # of the client and the examples


@pytest.fixture(scope="module")
def pages(root: Path) -> dict[str, str]:
    """The pages that people write, by name."""
    found = {file.name: file.read_text(encoding="utf-8") for file in (root / "docs").glob("*.md")}
    del found["configuration.md"]
    found["index of docs"] = found.pop("README.md")
    return found | {"README.md": (root / "README.md").read_text(encoding="utf-8")}


def test_the_page_of_settings_is_fresh(root: Path) -> None:
    written = runpy.run_path(str(root / "docs" / "write_configuration.py"))

    assert (root / "docs" / "configuration.md").read_text(encoding="utf-8") == written["page"](), "run `make docs`"


def test_every_setting_that_a_page_names_exists(pages: dict[str, str]) -> None:
    settings = {variable_of(field.name) for field in settings_fields()} | NOT_OURS
    own = {name: text for name, text in pages.items() if name != "clients.md"}  # it has settings of other programs

    named = {(name, word) for name, text in own.items() for word in re.findall(r"\bRERANK_[A-Z_]*[A-Z]\b", text)}

    assert len(named) > 50
    assert {(name, word) for name, word in named if word not in settings} == set()


def test_every_make_target_that_a_page_names_exists(root: Path, pages: dict[str, str]) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    named = {(name, target) for name, text in pages.items() for target in make_targets(text)}

    assert len(named) > 20
    assert {(name, target) for name, target in named if target not in targets} == set()


def make_targets(text: str) -> Iterator[str]:
    """The targets of each command in backticks or in a block of console lines."""
    for command in re.findall(r"(?:`|^\$ )(?:[A-Z_]+=\S+ )*make ([^`\n#|]*)", text, re.MULTILINE):
        for word in command.split():
            if "=" not in word:
                yield word


def test_every_file_that_a_page_names_exists(root: Path, pages: dict[str, str]) -> None:
    named = {
        (name, path)
        for name, text in pages.items()
        for path in re.findall(r"[`\s]((?:deploy|benchmarks|tests|examples|packages)/[\w./-]*\w)", text)
    }

    assert len(named) > 20
    assert {(name, path) for name, path in named if not (root / path).exists()} == set()


def test_the_page_on_observing_explains_every_alert(root: Path, pages: dict[str, str]) -> None:
    rules = yaml.safe_load((root / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))

    explained = re.findall(r"^\| `(Rerank\w+)` \|", pages["observe.md"], re.MULTILINE)

    assert explained == [rule["alert"] for group in rules["groups"] for rule in group["rules"]]


REFERENCES = {"http-api.md", "configuration.md", "clients.md"}  # one looks things up in them


def test_a_page_has_at_most_1500_words_beside_its_code(pages: dict[str, str]) -> None:
    blocks = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
    words = {name: re.findall(r"\S*\w\S*", blocks.sub("", text)) for name, text in pages.items()}

    assert {name: len(found) for name, found in words.items() if len(found) > 1500 and name not in REFERENCES} == {}


def test_the_readme_is_short(pages: dict[str, str]) -> None:
    assert len(pages["README.md"].splitlines()) <= 150


def test_only_the_page_on_migration_speaks_of_version_1(pages: dict[str, str]) -> None:
    assert [name for name, text in pages.items() if re.search(r"\bversion 1\b|replaced service", text)] == [
        "migration.md"
    ]


@pytest.mark.parametrize("page", ["docs/adapters.md", "packages/rerank-integrations/README.md"])
def test_the_versions_of_frameworks_are_those_that_the_package_takes(root: Path, page: str) -> None:
    project = tomllib.loads((root / "packages" / "rerank-integrations" / "pyproject.toml").read_text("utf-8"))[
        "project"
    ]
    extras = project["optional-dependencies"]

    named = re.findall(r"`((?:langchain|llama-index)-core>[^`]*)`", (root / page).read_text("utf-8"))

    assert named == [*extras["langchain"], *extras["llama-index"]]
