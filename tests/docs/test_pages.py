"""The pages say what the code does."""

import runpy
from pathlib import Path


def test_the_page_of_settings_is_fresh(root: Path) -> None:
    written = runpy.run_path(str(root / "docs" / "write_configuration.py"))

    assert (root / "docs" / "configuration.md").read_text(encoding="utf-8") == written["page"](), "run `make docs`"
