"""The pages about other services' clients are what the last run found."""

import dataclasses
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def table(root: Path) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root / "tests" / "clients")
        return importlib.import_module("table")


@pytest.fixture(scope="module")
def found(table: Any) -> list[Any]:
    rows: list[Any] = table.load(table.RESULTS.read_text(encoding="utf-8"))
    return rows


def test_every_client_has_a_result_in_its_version(table: Any, found: list[Any]) -> None:
    listed = [(row.listed.name, row.version) for group in table.GROUPS for row in table.rows(group)]

    assert len(listed) > 40
    assert [(row.listed.name, row.version) for row in found] == listed, "run `make test-clients`"


def test_both_pages_are_written_from_the_results(table: Any, found: list[Any]) -> None:
    assert table.MATRIX.read_text(encoding="utf-8") == table.matrix(found), "run `make docs`"
    assert table.USERS_PAGE.read_text(encoding="utf-8") == table.users_page(found), "run `make docs`"


def test_results_are_read_as_they_were_written(table: Any, found: list[Any]) -> None:
    assert table.load(table.dump(found)) == found


def test_the_users_page_says_which_clients_fail_and_which_were_not_run(table: Any, found: list[Any]) -> None:
    voyage = [row for row in found if row.listed.package == "voyageai"]
    wrong = {"ranking": table.Seen(False, "other scores than ours")}
    failed = [dataclasses.replace(row, seen=row.seen | wrong) for row in voyage]
    absent = [dataclasses.replace(row, seen={}, not_run="not installed: no network") for row in voyage]

    assert "| Voyage SDK | `base_url=B/v1` | yes (0.5.0) |  |" in table.users_page(voyage)
    assert "| Voyage SDK | `base_url=B/v1` | **no** (0.5.0) | **other scores than ours** |" in table.users_page(failed)
    assert "| Voyage SDK | `base_url=B/v1` | not run (0.5.0) |  |" in table.users_page(absent)
