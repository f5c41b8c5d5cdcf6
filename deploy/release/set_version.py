"""Write a version wherever the repository names its own, and date its section of the changelog.

    python deploy/release/set_version.py 0.2.0

Run by `make release`. Nothing is written unless everything can be.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("rerank-core", "rerank-server", "rerank-integrations")
CHART = Path("deploy/helm/rerank")
CHANGELOG = Path("CHANGELOG.md")
UNRELEASED = re.compile(r"^## \[[^\]]+\] - unreleased$", re.MULTILINE)


class ReleaseError(Exception):
    """What stands in the way, and the way out."""


def main() -> None:
    """Write the version, or say what stands in the way."""
    parser = argparse.ArgumentParser(description="Write a version wherever the repository names its own.")
    parser.add_argument("version", help="such as 0.2.0")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository")
    given = parser.parse_args()
    try:
        written = changes(given.root, given.version, datetime.datetime.now(datetime.UTC).date())
    except ReleaseError as error:
        sys.exit(f"release: {error}")
    for file, text in written.items():
        file.write_text(text, encoding="utf-8")
        print(file.relative_to(given.root))  # noqa: T201


def changes(root: Path, version: str, today: datetime.date) -> dict[Path, str]:
    """Every file that changes, with its new text. Raises ``ReleaseError``."""
    old = current(root)
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ReleaseError(f"{version!r} is no version: use three numbers, such as 0.2.0")
    if numbers(version) < numbers(old):
        raise ReleaseError(f"{version} is below {old}, which the packages have: choose a higher one")
    texts = {}
    for name in PACKAGES:
        file = root / "packages" / name / "pyproject.toml"
        text = replace(file, file.read_text("utf-8"), rf'^version = "{re.escape(old)}"$', f'version = "{version}"')
        texts[file] = re.sub(rf'("rerank-[^"]*==){re.escape(old)}"', rf'\g<1>{version}"', text)
    chart, gpu = root / CHART / "Chart.yaml", root / CHART / "values-gpu.yaml"
    texts[chart] = replace(
        chart, chart.read_text("utf-8"), rf"^((?:v|appV)ersion: ){re.escape(old)}$", rf"\g<1>{version}", count=2
    )
    texts[gpu] = replace(gpu, gpu.read_text("utf-8"), rf"^(  tag: ){re.escape(old)}-cuda$", rf"\g<1>{version}-cuda")
    texts[root / CHANGELOG] = dated(root / CHANGELOG, version, today)
    return texts


def current(root: Path) -> str:
    """The version that the packages have."""
    found = re.search(r'^version = "([^"]+)"$', (root / "packages/rerank-core/pyproject.toml").read_text("utf-8"), re.M)
    if found is None:
        raise ReleaseError("rerank-core's pyproject.toml has no version")
    return found[1]


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers, to be compared."""
    return tuple(map(int, version.split(".")))


def replace(file: Path, text: str, pattern: str, by: str, count: int = 1) -> str:
    """The text with so many lines replaced, no more and no fewer."""
    text, found = re.subn(pattern, by, text, flags=re.MULTILINE)
    if found != count:
        raise ReleaseError(f"{file.name} names the version in {found} lines, not {count}: mend it, or this program")
    return text


def dated(changelog: Path, version: str, today: datetime.date) -> str:
    """The changelog, whose unreleased section becomes that of the version."""
    text = changelog.read_text("utf-8")
    if len(UNRELEASED.findall(text)) != 1:
        raise ReleaseError(f"{changelog.name} needs one section '## [{version}] - unreleased' that says what is new")
    return UNRELEASED.sub(f"## [{version}] - {today.isoformat()}", text)


if __name__ == "__main__":
    main()
