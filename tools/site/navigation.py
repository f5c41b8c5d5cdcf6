"""The navigation of the documentation site: the sections and pages of the index ``docs/README.md``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tree import CONTENTS, files, markdown, target, title

_ROW = re.compile(r"^\| \[(?P<title>[^\]]+)\]\((?P<link>[^)]+)\) \|", re.MULTILINE)


def navigation(root: Path, places: Mapping[str, str]) -> list[dict[str, Any]]:
    """Make a section of each heading of the index that has a table of pages."""
    _, *sections = re.split(r"^## ", markdown(root, CONTENTS), flags=re.MULTILINE)
    return [
        {section.partition("\n")[0]: [_entry(root, row["title"], row["link"], places) for row in rows]}
        for section in sections
        if (rows := list(_ROW.finditer(section)))
    ]


def _entry(root: Path, name: str, link: str, places: Mapping[str, str]) -> dict[str, Any]:
    """One page; for a folder its list, and its pages below that."""
    path = target("docs", link)
    if not (root / path).is_dir() or places[path] != f"{path}/index.md".removeprefix("docs/"):
        return {name: places[path]}
    pages = [{title(page): places[f"{path}/{page.name}"]} for page in files(root / path)]
    return {name: [places[path], *pages]}
