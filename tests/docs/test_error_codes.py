"""The page on the HTTP API names every code that a client may get."""

from pathlib import Path

from rerank_server.errors import PUBLIC_CODES

# A request never ends in these: the root of the tree is not raised, and a library is missing when the server starts.
NOT_OVER_HTTP = {"rerank_error", "missing_extra"}


def test_every_code_of_an_error_is_documented(root: Path) -> None:
    page = (root / "docs" / "http-api.md").read_text(encoding="utf-8")

    assert [code for code in PUBLIC_CODES - NOT_OVER_HTTP if f"`{code}`" not in page] == []
