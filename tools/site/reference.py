"""The pages of the Python reference: one for each public module, which the site fills from docstrings."""

from __future__ import annotations

import ast
from pathlib import Path

from public_api import MODULES

FOLDER = "reference"
_TOP = "rerank_core"


def reference(packages: Path) -> dict[str, str]:
    """
    Write a page for each module, by its place on the site.

    A name that the top of the package has too is described there only, and one that is also a module's on that one's
    page.
    """
    top = all_of(packages / "rerank-core" / "src" / _TOP / "__init__.py")
    pages = {}
    for module, names in MODULES.items():
        members = (
            top if module == _TOP else [name for name in names if name not in top and f"{module}.{name}" not in MODULES]
        )
        if members:
            pages[f"{FOLDER}/{module}.md"] = _page(module, members)
    return pages


def all_of(file: Path) -> list[str]:
    """Read the names of `__all__` without an import, the attributes with underscores left out."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [name for name in ast.literal_eval(node.value) if not name.startswith("_")]
    raise ValueError(f"{file} has no __all__")


def _page(module: str, members: list[str]) -> str:
    listed = "".join(f"        - {name}\n" for name in members)
    return f"# `{module}`\n\n::: {module}\n    options:\n      members:\n{listed}"
