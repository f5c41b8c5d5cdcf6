"""The page on limits and errors lists every code that a client may get, with its status."""

import re
from pathlib import Path

import pytest
from rerank_core.errors import RerankError
from rerank_server.errors import PUBLIC_CODES, status_of

# A request never ends in these: the root of the tree is not raised, and a library is missing when the server starts.
NOT_OVER_HTTP = {"rerank_error", "missing_extra"}


def classes(root: type[RerankError]) -> list[type[RerankError]]:
    """The class and all that are below it."""
    return [root, *(found for below in root.__subclasses__() for found in classes(below))]


CLASSES = {found.code: found for found in reversed(classes(RerankError))}


@pytest.mark.parametrize("code", sorted(PUBLIC_CODES - NOT_OVER_HTTP))
def test_a_code_is_listed_once_with_its_status(root: Path, code: str) -> None:
    page = (root / "docs" / "limits-and-errors.md").read_text(encoding="utf-8")

    listed = [row for row in re.findall(r"^\| ([\d, ]+) \| ([^|]+) \|", page, re.MULTILINE) if f"`{code}`" in row[1]]

    assert len(listed) == 1
    assert str(status_of(CLASSES[code]("what happened"))) in listed[0][0].split(", ")
