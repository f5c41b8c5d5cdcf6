"""Every link between pages leads to a file that exists, and to a heading that the page has."""

import re
import subprocess
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "packages", "deploy", "examples", "benchmarks", "tests", "tools", ".ci")
FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]+)(?: +\"[^\"]*\")?\)|(?:src|srcset|href)=\"([^\"]+)\"")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


def _pages() -> list[Path]:
    """All pages that git has or would take; where there is no git, those of our folders."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    if listed.returncode == 0:
        return sorted(path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file())
    return sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])


def _prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: dict[str, int] = {}
    for heading in HEADING.findall(_prose(page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found[anchor] = found.get(anchor, -1) + 1
        if found[anchor]:
            found[f"{anchor}-{found[anchor]}"] = 0
    return set(found)


def broken(page: Path, root: Path) -> list[str]:
    """The links of a page that lead nowhere, or out of the repository; those to other sites are not followed."""
    wrong = []
    for groups in LINK.findall(re.sub(r"`[^`\n]*`", "`code`", _prose(page))):
        link = "".join(groups)
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / unquote(path)).resolve() if path else page
        inside = target == root or root in target.parents
        if not inside or not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", _pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert broken(page, ROOT) == []


def test_links_that_lead_nowhere_are_found_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# Two words, `code`\n\n# Again\n\n# Again\n\n```\n# no heading\n```\n")
    right = ["there.md", "there.md#two-words-code", "there.md#again-1", "https://example.org/not-asked", "#here"]
    wrong = ["nowhere.md", "there.md#no-heading", "there.md#again-2", "../outside.md", "#there"]
    page = tmp_path / "page.md"

    page.write_text("# Here\n\n`[not](a-link.md)`\n" + "".join(f"[![b](no.svg)]({link})\n" for link in right + wrong))

    assert set(broken(page, tmp_path)) == {*wrong, "no.svg"}


def test_the_index_of_the_documentation_has_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}

    assert {name for name in pages if f"]({name})" not in index} == set()
