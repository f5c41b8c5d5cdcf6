"""What can be imported, and what importing it brings in."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import rerank_server

# What the documentation, deployments and other ASGI servers import.
PUBLIC = {
    "rerank_server": ["__version__"],
    "rerank_server.__main__": ["main", "application", "COMMAND"],
    "rerank_server.app": ["Application", "create_app"],
    "rerank_server.settings": ["Settings", "SettingsError"],
    "rerank_server.ray": ["build", "main", "serve_here"],
}
HEAVY = ("torch", "tokenizers", "numpy", "litestar", "uvicorn")
ASIDE = ("inference", "lifecycle", "routes", "middleware", "process", "app")


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after a statement."""
    program = f"import sys; {statement}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_can_be_imported(module):
    found = import_module(module)

    assert [name for name in PUBLIC[module] if not hasattr(found, name)] == []


def test_nothing_private_of_a_library_is_imported():
    """It would change without notice."""
    sources = sorted(Path(rerank_server.__file__).parent.rglob("*.py"))
    imported = [
        (source.name, name)
        for source in sources
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (f"{getattr(node, 'module', None) or ''}.{alias.name}" for alias in node.names)
    ]

    assert ("app.py", "litestar.Litestar") in imported
    assert [found for found in imported if re.search(r"(^|\.)_(?!_)", found[1])] == []


def test_importing_every_dialect_brings_in_nothing_that_scores_or_serves():
    loaded = loaded_by("import rerank_server.dialects.routing")

    assert loaded.isdisjoint(HEAVY)
    assert loaded.isdisjoint(f"rerank_server.{name}" for name in ASIDE)
