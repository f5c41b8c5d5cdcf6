"""Writes the table of the README of what runs, from the packed engine's families. Run by ``make docs``."""

from collections.abc import Iterator
from pathlib import Path

from rerank_core.engines.packed.architectures import ARCHITECTURES, DECODERS

README = Path(__file__).parents[1] / "README.md"

HEAD = "| network | kind | for example | engine |\n|---|---|---|---|\n"

# What stands in one row, by model_type.
GROUPS = [
    ("bert", "electra", "distilbert", "mpnet"),
    ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert"),
    ("modernbert", "new"),
    ("deberta-v2",),
]


def rows() -> Iterator[str]:
    """One row for each group of families, one for language models, and one for whatever else transformers loads."""
    if {name for group in GROUPS for name in group} != set(ARCHITECTURES):
        raise ValueError("GROUPS leaves a family out, or has one that is gone")
    for group in GROUPS:
        families = [architecture for name in group for architecture in ARCHITECTURES[name]]
        names = " · ".join(architecture.name for architecture in families)
        examples = ", ".join(f"`{architecture.examples[0]}`" for architecture in families if architecture.examples)
        yield f"| {names} | cross-encoder, bi-encoder | {examples} | `packed`, our own: fast |"
    names = " · ".join(architecture.name for architecture in DECODERS.values())
    examples = ", ".join(f"`{family.examples[0]}`" for family in DECODERS.values() if family.examples)
    yield f"| {names} | [language model](docs/models.md) | {examples} | `packed`, our own: fast |"
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
