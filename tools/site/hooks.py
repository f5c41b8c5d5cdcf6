"""Hooks of mkdocs: pages from outside ``docs``, the navigation, the Python reference, and links between all of them."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from navigation import navigation
from pymdownx.slugs import slugify
from reference import reference
from tree import CONTENTS, DOCS, for_site, is_picture, markdown, read_tree

ROOT = Path(__file__).parents[2]
# Browsers start no worker, such as that of the search, from a page on a disk; with this one they do.
WORKER = "javascripts/iframe-worker.js"

_places = read_tree(ROOT)
_sources = {place: path for path, place in reversed(_places.items())}
_reference = reference(ROOT / "packages")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Set the navigation, and the anchors of headings as GitHub makes them."""
    config.nav = [
        {"Start": "index.md"},
        {"All pages": _places[CONTENTS]},
        *navigation(ROOT, _places),
        {"Python reference": [{Path(place).stem: place} for place in _reference]},
    ]
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    config.extra["polyfills"] = [WORKER]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in ``docs``, or have another name there."""
    for file in list(files):
        if f"{DOCS}/{file.src_uri}" == CONTENTS:
            files.remove(file)
    for place, path in _sources.items():
        if files.get_file_from_path(place) is None:
            files.append(_file(config, place, path))
    for place, text in _reference.items():
        files.append(File.generated(config, place, content=text))
    files.append(File.generated(config, WORKER, abs_src_path=str(Path(__file__).with_name("iframe-worker.js"))))
    return files


def _file(config: MkDocsConfig, place: str, path: str) -> File:
    if is_picture(path):
        return File.generated(config, place, abs_src_path=str(ROOT / path))
    text = markdown(ROOT, path)
    if not path.endswith(".md"):  # data and programs would fill the search
        text = f"---\nsearch:\n  exclude: true\n---\n{text}"
    return File.generated(config, place, content=text, inclusion=InclusionLevel.NOT_IN_NAV)


def on_page_markdown(text: str, /, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page of the repository."""
    path = _sources.get(page.file.src_uri)
    return for_site(ROOT, path, text, _places) if path else text
