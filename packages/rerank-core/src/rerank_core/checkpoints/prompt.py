"""The prompt of a model: fixed text around an instruction, a query and a document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from rerank_core.errors import InvalidRequest
from rerank_core.types import Pair

SlotName: TypeAlias = Literal["instruction", "query", "document"]

EXAMPLE = Pair("What is a giant panda?", "The giant panda is a bear species endemic to China.")

SLOTS: tuple[SlotName, ...] = get_args(SlotName)


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of a caller's text in a prompt.

    ``strips``: white space at the text's beginning and at its end is dropped. ``empty``: stands where no text is left.
    """

    name: SlotName
    strips: tuple[bool, bool] = (False, False)
    empty: str = ""

    def fill(self, text: str) -> str:
        """Return the text as the prompt has it."""
        start, end = self.strips
        text = text.lstrip() if start else text
        return (text.rstrip() if end else text) or self.empty

    def dropped(self, text: str) -> int:
        """Count the characters that are dropped at the beginning of a text."""
        return len(text) - len(text.lstrip()) if self.strips[0] else 0


Part: TypeAlias = str | Slot


@dataclass(frozen=True, slots=True)
class Layout:
    """Fixed texts and slots, in their order. Each piece of the prompt is tokenised apart from the others."""

    pieces: tuple[tuple[Part, ...], ...]

    @classmethod
    def of(cls, *pieces: str, empty: str = "") -> Layout:
        """Read pieces in which ``{query}``, ``{document}`` and ``{instruction}`` are slots.

        ``empty``: stands in the place of a query or a document without text.
        """
        return cls(tuple(tuple(_parts(piece, empty)) for piece in pieces))

    @property
    def slots(self) -> list[Slot]:
        """The slots, in their order."""
        return [part for piece in self.pieces for part in piece if isinstance(part, Slot)]

    def slot(self, name: SlotName) -> Slot:
        """Return the slot of a name."""
        return next(slot for slot in self.slots if slot.name == name)

    def texts(self, query: str, document: str, instruction: str = "") -> list[str]:
        """Write out the pieces for a pair."""
        filled = {"query": query, "document": document, "instruction": instruction}
        return [
            "".join(part if isinstance(part, str) else part.fill(filled[part.name]) for part in piece)
            for piece in self.pieces
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """How a pair becomes the text that a model reads.

    - ``plain``: the prompt without an instruction, None where there is none; ``instructed``: with one.
    - ``instruction``: the default, used where a request has none.
    - ``cuts_query``: a query takes three quarters of the room for texts at most, whatever the document's length.
    """

    plain: Layout | None = None
    instructed: Layout | None = None
    instruction: str | None = None
    cuts_query: bool = False

    @property
    def takes_instruction(self) -> bool:
        """Whether it has a place for an instruction."""
        return self.instructed is not None

    @property
    def layouts(self) -> list[Layout]:
        """The layouts that there are."""
        return [layout for layout in (self.plain, self.instructed) if layout is not None]

    def example(self) -> str:
        """Write the prompt out for an example, with the default instruction."""
        layout, instruction = self.layout(None)
        return "".join(layout.texts(*EXAMPLE, instruction))

    def layout(self, instruction: str | None) -> tuple[Layout, str]:
        """Choose the layout for a request's instruction, and the instruction that stands in it.

        Raises ``InvalidRequest`` where the prompt has no place for one.
        """
        wanted = self.instruction if instruction is None else instruction
        if self.plain is not None and not wanted:
            return self.plain, ""
        if self.instructed is None:
            raise InvalidRequest("the model's prompt has no place for an instruction: leave it out")
        return self.instructed, wanted or ""


def _parts(text: str, empty: str) -> Iterator[Part]:
    for number, found in enumerate(re.split(r"\{(query|document|instruction)\}", text)):
        if number % 2:
            name = next(name for name in SLOTS if name == found)
            yield Slot(name, empty="" if name == "instruction" else empty)
        elif found:
            yield found
