"""The documentation site: it is whole, it describes every public name, and it asks no other host."""

import asyncio
import os
import re
import runpy
import shutil
import subprocess
from collections import defaultdict
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import rerank_core

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
NOT_REACHED = ("error sending request", "Failed to fetch", "dns error", "Network connectivity is disabled")

pytestmark = pytest.mark.timeout(400)


class Page(HTMLParser):
    """Anchors, links, and what a browser loads with a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") not in {"canonical", "next", "prev", "alternate"}:
            self.loads.append(values["href"])
        self.loads += [values[name] for name in ("src", "srcset", "poster") if values.get(name)]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a site that `make site` built; skips where its tools cannot be had."""
    site = tmp_path_factory.mktemp("site")
    if shutil.which("make") is None:
        pytest.skip("SKIPPED LOUDLY: there is no make, the site was not built")
    done = subprocess.run(
        ["make", "site", f"SITE={site}"], cwd=ROOT, capture_output=True, text=True, timeout=380, check=False
    )
    if done.returncode != 0 and any(sign in done.stderr for sign in NOT_REACHED):
        pytest.skip("SKIPPED LOUDLY: an index of packages is not reached, the site was not built")
    assert done.returncode == 0, done.stdout + done.stderr
    return site


@pytest.fixture(scope="module")
def pages(make: Path) -> dict[Path, Page]:
    return {file: Page(file.read_text(encoding="utf-8")) for file in make.rglob("*.html")}


def test_every_link_and_every_picture_is_there(make: Path, pages: dict[Path, Page]) -> None:
    broken = defaultdict(list)
    for file, page in pages.items():
        if file.name == "404.html":  # its links begin at the root of a host
            continue
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme in {"http", "https", "mailto", "data"}:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            anchors = pages[target].anchors if target in pages else {parts.fragment}
            if not target.is_file() or (parts.fragment and parts.fragment not in anchors):
                broken[file.relative_to(make)].append(link)

    assert len(pages) > 50
    assert dict(broken) == {}


def test_every_page_of_docs_is_on_it(pages: dict[Path, Page], make: Path) -> None:
    wanted = {page.relative_to(ROOT / "docs").with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")}

    assert wanted - {page.relative_to(make) for page in pages} == {Path("README.html")}  # which is contents.html


def test_every_public_name_is_described(pages: dict[Path, Page]) -> None:
    public = runpy.run_path(str(ROOT / "tools" / "site" / "public_api.py"))["MODULES"]
    described = {anchor for file, page in pages.items() if file.parent.name == "reference" for anchor in page.anchors}
    names = {
        f"rerank_core.{name}" if name in rerank_core.__all__ else f"{module}.{name}"
        for module, listed in public.items()
        for name in listed or rerank_core.__all__
        if not name.startswith("_") and f"{module}.{name}" not in public
    }

    assert names - described == set()


def test_nothing_is_loaded_from_another_host(make: Path, pages: dict[Path, Page]) -> None:
    loaded = {link for page in pages.values() for link in page.loads}
    for sheet in make.rglob("*.css"):
        loaded |= set(re.findall(r"(?:url\(|@import )[\"']?([^\"')]+)", sheet.read_text(encoding="utf-8")))

    assert loaded
    assert {link for link in loaded if re.match(r"(https?:)?//", link)} == set()


def test_the_search_of_a_site_on_a_disk_finds_a_page_and_asks_no_host(make: Path) -> None:
    if find_spec("playwright") is None or not CHROMIUM.exists():
        pytest.skip("SKIPPED LOUDLY: playwright or /usr/bin/chromium is missing, the site was not searched")

    found, asked = asyncio.run(search(make, "passthrough"))

    assert any(link.startswith("first-reranker.html") for link in found)
    assert asked
    assert {urlsplit(url).scheme for url in asked} <= {"file", "data", "blob", "about"}


async def search(site: Path, words: str) -> tuple[list[str], list[str]]:
    """Links of the results of a search from the first page, and every address that the browser asked."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = await browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await page.goto((site / "index.html").as_uri())
        await page.get_by_role("textbox", name="Search").fill(words)
        results = page.locator(".md-search-result__link")
        await results.first.wait_for(timeout=60_000)
        found = [await link.get_attribute("href") or "" for link in await results.all()]
        await browser.close()
    return [link.removeprefix(site.as_uri() + "/") for link in found], asked


def test_a_link_that_leads_nowhere_stops_the_build(make: Path, tmp_path: Path) -> None:
    """The site of a copy with one more link, built with the tools that `make` has installed."""
    for name in ("docs", "tools", "packages", "examples", "benchmarks", "deploy", "tests/clients"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for file in [*ROOT.glob("*.md"), ROOT / "mkdocs.yml", ROOT / "conftest.py"]:
        shutil.copyfile(file, tmp_path / file.name)
    with (tmp_path / "docs" / "install.md").open("a") as page:
        page.write("\n[nowhere](nowhere.md), [no heading](run.md#no-heading)\n")

    done = subprocess.run(
        [ROOT / ".venv-docs" / "bin" / "mkdocs", "build", "--strict"],
        cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert "nowhere.md" in done.stderr
    assert "#no-heading" in done.stderr
    assert "Aborted with 2 warnings in strict mode" in done.stdout + done.stderr
