"""Reads a checkpoint's chat template, and finds out which text it lays around a query and a document.

The template is rendered a few times when a model is loaded, and never for a request: what it does to a pair is laying
fixed text around the two, so that the fixed text is all that has to be known. A template that does more is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from rerank_core.checkpoints.files import is_there, read_settings, read_text
from rerank_core.checkpoints.jinja import ChatTemplate
from rerank_core.checkpoints.prompt import Layout, Part, Prompt, Slot, SlotName
from rerank_core.errors import CheckpointError

MessageFormat: TypeAlias = Literal["flat", "structured"]
Render: TypeAlias = Callable[[str | None, str, str], str]
"""The text of an instruction, which may be None, a query and a document."""

FILE = "chat_template.jinja"
FOLDER = "additional_chat_templates"

# Parts of a template's source that show that a message's content is a list, as sentence-transformers looks for them.
_STRUCTURED = ("content[0]", ".type", "'type'", '"type"', "item.type", "message.content[")
_FLAT_TYPES = {"apertus", "deepseek_v3", "gpt_oss", "seed_oss"}

# Arguments of the tokenizer's call, which say nothing to the template.
_NO_VARIABLES = {"padding", "truncation", "max_length", "return_tensors", "restore_suffix", "chat_template"}

# Texts that no template holds, and that white space, quotes and marks of HTML may be put around.
_PROBES: dict[SlotName, str] = {"instruction": "instr7Qx4", "query": "query8Wz5", "document": "docum9Ky6"}
# What a caller's text may look like: a template that changes one of these is refused.
_SHAPES = (
    "",
    " \n",
    " \n {} \t\n",
    "{}\n\n{}",
    "<b>{}</b> & \"{}\" 'x' \\n",
    "{} \u00e9\u4e2d {}",
    "</think>{}<think>",
    "<tool_response>{}</tool_response>",
    "## {}: 1. {}",
    "{{{{ {} }}}}",
    "{} " + "word " * 4_000,  # some templates cut what is long
)


def find_template(directory: Path, name: str | None = None) -> tuple[str, Path] | None:
    """Find a checkpoint's chat template where transformers does; return it with its file, None where there is none.

    ``name``: of one of several; else the one that is called default. Raises ``CheckpointError``.
    """
    found: dict[str, tuple[str, Path]] = {}
    path = directory / "tokenizer_config.json"
    said = read_settings(path).get("chat_template")
    if isinstance(said, str):
        found["default"] = said, path
    elif isinstance(said, list):
        for entry in said:
            if isinstance(entry, Mapping) and isinstance(entry.get("template"), str):
                found[str(entry.get("name"))] = entry["template"], path
    files = {"default": directory / FILE}
    if is_there(directory / FOLDER):
        files |= {file.stem: file for file in sorted((directory / FOLDER).glob("*.jinja"))}
    files = {called: file for called, file in files.items() if is_there(file)}
    if files:  # transformers does not look further then
        found = {called: (read_text(file), file) for called, file in files.items()}
    return found.get(name or "default")


def message_format(wanted: object, template: str, model_type: str) -> MessageFormat:
    """Choose how a message holds its text, as sentence-transformers does. ``wanted``: what its files say."""
    if wanted == "flat" or wanted == "structured":
        return "flat" if wanted == "flat" else "structured"
    if model_type in _FLAT_TYPES:
        return "flat"
    return "structured" if any(part in template for part in _STRUCTURED) else "flat"


def renders(
    source: str, name: str, *, layout: MessageFormat, variables: Mapping[str, Any], tokens: Mapping[str, str]
) -> Render:
    """Return the function that renders a template for a pair.

    The instruction is a message of the role ``system``, as sentence-transformers sends it, and the variables
    ``instruction`` and ``instruct``, as vLLM does. ``tokens``: the tokenizer's special tokens, such as ``bos_token``.
    """
    template = ChatTemplate(source, name)
    given = {key: value for key, value in variables.items() if key not in _NO_VARIABLES}

    def render(instruction: str | None, query: str, document: str) -> str:
        texts = {"system": instruction, "query": query, "document": document}
        messages = [
            {"role": role, "content": text if layout == "flat" else [{"type": "text", "text": text}]}
            for role, text in texts.items()
            if text is not None
        ]
        asked = {} if instruction is None else {"instruction": instruction, "instruct": instruction}
        common = {"messages": messages, "query": query, "document": document, "add_generation_prompt": False}
        return template.render({**common, "tools": None, "documents": None, **tokens, **given, **asked})

    return render


def prompt_of(render: Render, name: str, *, default: str | None = None) -> Prompt:
    """Find out a prompt by rendering: its fixed texts, and what it does to the texts of a pair.

    ``default``: the instruction of a request that has none. Raises ``CheckpointError``, which calls the template by
    ``name``, where the query or the document is not in the prompt, or is changed there.
    """
    plain = _layout(render, name, None)
    try:
        if _PROBES["instruction"] not in render(_PROBES["instruction"], _PROBES["query"], _PROBES["document"]):
            return Prompt(plain=plain)
        instructed = _layout(render, name, _PROBES["instruction"])
    except CheckpointError:
        if default is not None:
            raise
        return Prompt(plain=plain)  # it was not made for a message before those of the pair
    own = _own_instruction(plain, instructed)
    if own is not None:  # the template has a default of its own, so that there is no prompt without an instruction
        return Prompt(instructed=instructed, instruction=own if default is None else default)
    return Prompt(plain=plain, instructed=instructed, instruction=default)


def _layout(render: Render, name: str, instruction: str | None) -> Layout:
    texts = {slot: text for slot, text in _PROBES.items() if slot != "instruction" or instruction is not None}

    def written(**changed: str) -> str:
        filled = texts | changed
        return render(filled.get("instruction"), filled["query"], filled["document"])

    base = written()
    for slot in ("query", "document"):
        if written(**{slot: "another"}) == base:
            raise CheckpointError(
                f"{name} leaves the {slot} out: what it writes for a pair is the same for another {slot}. It is not "
                "the prompt of a reranker; name one with recipe=, or give template="
            )
    parts = list(_split(base, texts))
    for slot in texts:
        if sum(isinstance(part, Slot) and part.name == slot for part in parts) != 1:
            raise CheckpointError(f"{name} does not write the {slot} once, as it comes: it is not supported")
    layout = Layout((tuple(_with_rules(part, written, texts, base) for part in parts),))
    for slot in texts:
        for shape in _SHAPES:
            text = shape.format(*["a b"] * shape.count("{}"))
            if written(**{slot: text}) != "".join(layout.texts(**({"instruction": ""} | texts | {slot: text}))):
                raise CheckpointError(
                    f"{name} changes the text of the {slot}: only white space at its beginning and end may be dropped"
                )
    return layout


def _split(rendered: str, texts: Mapping[SlotName, str]) -> Iterator[Part]:
    """Split a rendered text at the probes."""
    places = sorted(
        (start, slot)
        for slot, text in texts.items()
        for start in range(len(rendered))
        if rendered.startswith(text, start)
    )
    end = 0
    for start, slot in places:
        if rendered[end:start]:
            yield rendered[end:start]
        yield Slot(slot)
        end = start + len(texts[slot])
    if rendered[end:]:
        yield rendered[end:]


def _with_rules(part: Part, written: Callable[..., str], texts: Mapping[SlotName, str], base: str) -> Part:
    """Find out what becomes of white space around a text, and of an empty one."""
    if isinstance(part, str):
        return part
    before, _, after = base.partition(texts[part.name])
    left, right = (written(**{part.name: text}) for text in (f" \n{texts[part.name]}", f"{texts[part.name]}\n "))
    strips = left == base, right == base
    nothing = written(**{part.name: ""})
    fits = nothing.startswith(before) and nothing.endswith(after) and len(nothing) >= len(before) + len(after)
    return Slot(part.name, strips=strips, empty=nothing[len(before) : len(nothing) - len(after)] if fits else "")


def _own_instruction(plain: Layout, instructed: Layout) -> str | None:
    """Find the instruction that a template writes where none is given: the rest of it is the same with one."""
    (without,), (with_one,) = plain.pieces, instructed.pieces
    place = next(index for index, part in enumerate(with_one) if isinstance(part, Slot) and part.name == "instruction")
    around = with_one[place - 1 : place] + with_one[place + 1 : place + 2]
    if not 0 < place < len(with_one) - 1 or not all(isinstance(part, str) for part in around):
        return None
    before, after = (str(part) for part in around)
    if with_one[: place - 1] != without[: place - 1] or with_one[place + 2 :] != without[place:]:
        return None
    text = without[place - 1]
    if not isinstance(text, str) or len(text) <= len(before) + len(after):
        return None
    return text[len(before) : len(text) - len(after)] if text.startswith(before) and text.endswith(after) else None
