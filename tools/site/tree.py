"""The pages of the documentation site: which file of the repository is which page.

The site has the pages of ``docs``, the README as its first page, and all that these link to: a Markdown file becomes a
page, another text a page that shows it, a folder its README or a list of its files.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from links import links, rewrite

DOCS = "docs"
CONTENTS = "docs/README.md"
_RENAMED = {"README.md": "index.md", CONTENTS: "contents.md"}
_PICTURES = {".gif", ".jpg", ".png", ".svg"}
_LANGUAGES = {".json": "json", ".jsonl": "json", ".py": "python", ".sh": "bash", ".toml": "toml", ".yml": "yaml"}


def read_tree(root: Path) -> dict[str, str]:
    """Map each file or folder that is on the site to its place there; paths in the repository begin at its root."""
    waiting = [*_RENAMED, *sorted(page.relative_to(root).as_posix() for page in (root / DOCS).rglob("*.md"))]
    places: dict[str, str] = {}
    for path in waiting:  # which grows
        if path in places or path.startswith("..") or not (root / path).exists():
            continue
        readme = f"{path}/README.md"
        if (root / readme).exists():
            waiting.append(readme)
            places[path] = _place(root, readme)
            continue
        places[path] = _place(root, path)
        if (root / path).is_dir() or path.endswith(".md"):
            waiting += [target(_folder(root, path), link) for link in links(markdown(root, path))]
    return places


def markdown(root: Path, path: str) -> str:
    """Read a file or a folder as a Markdown page, whose links are those of the repository."""
    file = root / path
    if file.is_dir():
        return f"# `{path}`\n\n" + "".join(f"- [{title(page)}]({page.name})\n" for page in files(file))
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        return text
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"# `{path}`\n\n{fence}{_LANGUAGES.get(file.suffix, 'text')}\n{text.rstrip()}\n{fence}\n"


def for_site(root: Path, path: str, text: str, places: Mapping[str, str]) -> str:
    """Rewrite the links of a page for the site. Those that lead nowhere stay as they are: the build reports them."""
    here = posixpath.dirname(places[path]) or "."

    def change(link: str) -> str:
        name, mark, anchor = link.partition("#")
        place = places.get(target(_folder(root, path), link)) if name else None
        return f"{posixpath.relpath(place, here)}{mark}{anchor}" if place else link

    return rewrite(text, change)


def files(folder: Path) -> list[Path]:
    """List the visible files of a folder by name."""
    return sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))


def title(file: Path) -> str:
    """Read the first heading of a Markdown file; of another file the name."""
    found = re.search(r"^# (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE) if file.suffix == ".md" else None
    return found[1] if found else file.name


def is_picture(path: str) -> bool:
    """Tell pictures, which the site has as they are, from pages."""
    return posixpath.splitext(path)[1] in _PICTURES


def _folder(root: Path, path: str) -> str:
    """The folder that the links of a page start from."""
    return path if (root / path).is_dir() else posixpath.dirname(path)


def target(folder: str, link: str) -> str:
    """Resolve a link of a page in a folder to a path in the repository."""
    return posixpath.normpath(posixpath.join(folder, unquote(link.partition("#")[0])))


def _place(root: Path, path: str) -> str:
    if path in _RENAMED:
        return _RENAMED[path]
    place = path.removeprefix(f"{DOCS}/")
    if (root / path).is_dir():
        return f"{place}/index.md"
    return place if path.endswith(".md") or is_picture(path) else f"{place}.md"
