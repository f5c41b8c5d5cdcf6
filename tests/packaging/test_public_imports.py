"""The names that users import: each stays importable where it is, whatever moves behind it."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import rerank_core

ROOT = Path(__file__).parents[2]

# What runs models; who scores over HTTP, or only asks for help, does without.
HEAVY = {"torch", "transformers", "tokenizers", "safetensors", "huggingface_hub", "numpy", "sentence_transformers"}

MODULES = runpy.run_path(str(ROOT / "tools" / "site" / "public_api.py"))["MODULES"]
PUBLIC: dict[str, list[str]] = {module: list(names) or rerank_core.__all__ for module, names in MODULES.items()}
# These need a framework, which may bring anything with it.
FRAMEWORKS = {
    "rerank_core.engines.base",
    "rerank_core.testing.contract",
    "rerank_core.testing.checkpoints",
    "rerank_integrations.langchain",
    "rerank_integrations.llama_index",
}
OTHERS = {module: names for module, names in PUBLIC.items() if module in FRAMEWORKS}
LIGHT = {module: names for module, names in PUBLIC.items() if module not in FRAMEWORKS}

_IMPORTS = """
import json, sys
from importlib import import_module
names, loaded = json.loads(sys.argv[1]), {}
for module, wanted in names.items():
    found = import_module(module)
    absent = [name for name in wanted if not hasattr(found, name)]
    loaded[module] = [absent, sorted({name.partition(".")[0] for name in sys.modules})]
print(json.dumps(loaded))
"""


def imported(names: dict[str, list[str]]) -> dict[str, tuple[list[str], list[str]]]:
    """The names that each module lacks, and the packages that are there after its import."""
    command = [sys.executable, "-c", _IMPORTS, json.dumps(names)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, tuple[list[str], list[str]]] = json.loads(done.stdout)
    return found


def test_every_public_name_is_importable_and_brings_in_nothing_that_runs_models() -> None:
    for module, (absent, packages) in imported(LIGHT).items():
        assert (absent, HEAVY.intersection(packages)) == ([], set()), module


def test_every_public_name_that_needs_a_framework_is_importable() -> None:
    for module, (absent, _) in imported(OTHERS).items():
        assert absent == [], module


def imports(text: str) -> set[tuple[str, str]]:
    """Every name that a program, or a page with programs, imports from our packages."""
    found = {
        (module, name.strip())
        for module, *names in re.findall(r"^\s*from (rerank_[\w.]+) import (?:\(([^)]+)\)|([\w, ]+))", text, re.M)
        for name in "".join(names).split(",")
        if name.strip()
    }
    return found | set(re.findall(r"\b(rerank_(?:core|server|integrations)(?:\.\w+)*):(\w+)", text))


PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("packages/*/README.md"),
    *ROOT.glob("examples/**/*.md"),
    *ROOT.glob("examples/**/*.py"),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_documentation_and_examples_import_is_public(page: Path) -> None:
    private = {
        f"{module}: {name}"
        for module, name in imports(page.read_text(encoding="utf-8"))
        if name not in PUBLIC.get(module, [])
    }

    assert private == set()


def test_imports_are_found_in_programs_and_in_prose() -> None:
    text = "from rerank_core import (\n    load,\n    rank\n)\n\n    serve run rerank_server.ray:build A=b"

    assert imports(text) == {("rerank_core", "load"), ("rerank_core", "rank"), ("rerank_server.ray", "build")}
