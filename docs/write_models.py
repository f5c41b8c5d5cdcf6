"""Writes the table of the README of what runs, from the packed engine's families. Run by ``make docs``."""

from collections.abc import Iterator
from pathlib import Path

from rerank_core.engines.packed.architectures import ARCHITECTURES

README = Path(__file__).parents[1] / "README.md"

HEAD = "| network | kind | for example | engine |\n|---|---|---|---|\n"


def rows() -> Iterator[str]:
    """One row for each family, and one for whatever else transformers loads."""
    for architecture in (architecture for family in ARCHITECTURES.values() for architecture in family):
        examples = ", ".join(f"`{name}`" for name in architecture.examples) or f"trained from `{architecture.base}`"
        yield f"| {architecture.name} | cross-encoder, bi-encoder | {examples} | `packed`, our own: fast |"
    yield "| others that transformers loads | cross-encoder, bi-encoder | - | `reference`: transformers |"


def with_table(page: str) -> str:
    """The page with the table as it should be."""
    before, head, rest = page.partition(HEAD)
    if not head:
        raise ValueError(f"{README.name} has no table of models")
    _, blank, after = rest.partition("\n\n")
    return before + HEAD + "\n".join(rows()) + blank + after


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
