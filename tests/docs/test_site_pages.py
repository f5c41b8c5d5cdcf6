"""Pages of the documentation site are made of files of the repository, with links that fit both."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def tool(name: str) -> ModuleType:
    """A module of tools/site, which is no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools" / "site")
        return importlib.import_module(name)


tree: Any = tool("tree")
links: Any = tool("links")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small repository with pages, a program, and folders with and without a README."""
    for name, text in {
        "README.md": "[docs](docs/README.md) [a](docs/a.md#part)",
        "CHANGELOG.md": "# Changelog\n\n[a](docs/a.md)",
        "docs/README.md": "# Index\n\n## Learn\n\n| page | |\n|---|---|\n| [First](a.md) | ? |\n| [Why](why) | ? |\n",
        "docs/a.md": "[home](../README.md) [new](../CHANGELOG.md) [run](../examples/a.py) [kit](../kit) [x](x.svg)\n"
        "[why](why) [gone](gone.md) [out](../../out.md)\n\n```\n[code](why)\n```\n",
        "docs/x.svg": "<svg/>",
        "docs/why/1.md": "# Because\n\n[a](../a.md)",
        "examples/a.py": 'print("""```""")\n',
        "kit/README.md": "# Kit\n\n[more](more.md)",
        "kit/more.md": "# More",
        "alone.md": "# Nobody links here",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def page(repository: Path, path: str) -> str:
    text: str = tree.for_site(repository, path, tree.markdown(repository, path), tree.read_tree(repository))
    return text


def test_the_site_has_the_pages_of_docs_and_whatever_they_link_to(repository: Path) -> None:
    assert tree.read_tree(repository) == {
        "README.md": "index.md",
        "CHANGELOG.md": "CHANGELOG.md",
        "docs/README.md": "contents.md",
        "docs/a.md": "a.md",
        "docs/x.svg": "x.svg",
        "docs/why": "why/index.md",
        "docs/why/1.md": "why/1.md",
        "examples/a.py": "examples/a.py.md",
        "kit": "kit/README.md",
        "kit/README.md": "kit/README.md",
        "kit/more.md": "kit/more.md",
    }


def test_a_link_leads_to_the_place_on_the_site(repository: Path) -> None:
    assert page(repository, "README.md") == "[docs](contents.md) [a](a.md#part)"
    assert page(repository, "docs/why/1.md") == "# Because\n\n[a](../a.md)"
    assert page(repository, "docs/a.md").splitlines()[0] == (
        "[home](index.md) [new](CHANGELOG.md) [run](examples/a.py.md) [kit](kit/README.md) [x](x.svg)"
    )


def test_a_link_to_nowhere_stays_for_the_build_to_find(repository: Path) -> None:
    assert "[gone](gone.md) [out](../../out.md)" in page(repository, "docs/a.md")


def test_what_is_code_is_no_link(repository: Path) -> None:
    text = "`[a](b.md)` ``[a`](b.md)`` [c](d.md)\n\n```md\n[e](f.md)\n```\n\n~~~\n[g](h.md)\n~~~\n[i](https://i.org)\n"

    assert list(links.links(text)) == ["d.md"]
    assert links.rewrite(text, str.upper) == text.replace("d.md", "D.MD")
    assert "```\n[code](why)\n```" in page(repository, "docs/a.md")


def test_a_program_is_shown_whole_and_a_folder_lists_its_pages(repository: Path) -> None:
    assert page(repository, "examples/a.py") == '# `examples/a.py`\n\n````python\nprint("""```""")\n````\n'
    assert page(repository, "docs/why") == "# `docs/why`\n\n- [Because](1.md)\n"


def test_the_navigation_is_the_index(repository: Path) -> None:
    found = tool("navigation").navigation(repository, tree.read_tree(repository))

    assert found == [{"Learn": [{"First": "a.md"}, {"Why": ["why/index.md", {"Because": "why/1.md"}]}]}]
