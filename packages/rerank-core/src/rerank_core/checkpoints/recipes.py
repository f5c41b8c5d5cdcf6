"""The recipes of language models whose files do not say how they are scored: the prompt, and the tokens of the answer.

A recipe is recognised by the architecture in config.json together with the name that the files or the hub give the
model or the one that it was made of, never by the name of a directory. docs/models.md lists where each recipe comes
from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rerank_core.checkpoints.prompt import Layout, Prompt
from rerank_core.errors import InvalidRequest

NONE = "none"
"""The name that asks for no prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A prompt, and the tokens whose logits are the score.

    - ``true``, ``false``: the tokens of a causal model; a number is an id. None for a model with a head of its own.
    - ``plain``, ``instructed``: the pieces of the prompt without an instruction and with one; ``{bos}`` is the
      tokenizer's token for the beginning of a text.
    - ``empty``: stands in the place of a query or a document without text.
    - ``families``: the beginnings of the names of architectures; ``name``: a pattern in the title of the
      model card, its ``base_model``, config.json, or the model's name on the hub, without which a model of these
      families is none of this recipe.
    """

    true: str | int | None = None
    false: str | None = None
    plain: tuple[str, ...] | None = None
    instructed: tuple[str, ...] | None = None
    instruction: str | None = None
    empty: str = ""
    cuts_query: bool = False
    families: tuple[str, ...]
    name: str | None = None

    def prompt(self, bos: str) -> Prompt:
        """Make the prompt. ``bos``: the text of the tokenizer's token for the beginning of a text."""
        plain, instructed = (
            None if pieces is None else Layout.of(*(piece.replace("{bos}", bos) for piece in pieces), empty=self.empty)
            for pieces in (self.plain, self.instructed)
        )
        return Prompt(plain=plain, instructed=instructed, instruction=self.instruction, cuts_query=self.cuts_query)


_JUDGE = (
    "<|im_start|>system\n"
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
_MXBAI_CHAT = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n"
)
_MXBAI_TASK = (
    "You are a search relevance expert who evaluates how well documents match search queries. "
    "For each query-document pair, carefully analyze the semantic relationship between them, then provide your binary "
    "relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:"
)
_MXBAI_END = "<|im_end|>\n<|im_start|>assistant\n"
_END = r"(?!\.?\d)"  # of a version, which is not the beginning of another
_MXBAI_NAME = r"mxbai-rerank-\w+-v2" + _END
_GEMMA_TASK = (
    "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a "
    "prediction of either 'Yes' or 'No'."
)
_CTXL_TASK = "Check whether a given document contains information helpful to answer the query.\n"

RECIPES: dict[str, Recipe] = {
    "qwen3-reranker": Recipe(
        true="yes",
        false="no",
        instructed=(
            _JUDGE + "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"
            "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        ),
        instruction="Given a web search query, retrieve relevant passages that answer the query",
        families=("Qwen3For",),
        name=r"qwen3-reranker",
    ),
    "qwen3-vl-reranker": Recipe(
        true="yes",
        false="no",
        instructed=(
            _JUDGE + "<Instruct>: {instruction}<Query>:{query}\n<Document>:{document}"
            "<|im_end|>\n<|im_start|>assistant\n",
        ),
        instruction="Given a search query, retrieve relevant candidates that answer the query.",
        empty="NULL",
        families=("Qwen3VLFor",),
        name=r"qwen3-vl-reranker",
    ),
    "mxbai-rerank-v2": Recipe(
        true="1",
        false="0",
        plain=(_MXBAI_CHAT, "query: {query}", "\n", "document: {document}", "\n", _MXBAI_TASK, _MXBAI_END),
        instructed=(
            _MXBAI_CHAT,
            "instruction: {instruction}\nquery: {query}",
            "\n",
            "document: {document}",
            "\n",
            _MXBAI_TASK,
            _MXBAI_END,
        ),
        cuts_query=True,
        families=("Qwen2For",),
        name=_MXBAI_NAME,
    ),
    "mxbai-rerank-v2-whole": Recipe(
        true="1",
        false="0",
        plain=(f"{_MXBAI_CHAT}query: {{query}}\ndocument: {{document}}\n{_MXBAI_TASK}{_MXBAI_END}",),
        instructed=(
            f"{_MXBAI_CHAT}instruction: {{instruction}}\nquery: {{query}}\ndocument: {{document}}\n"
            f"{_MXBAI_TASK}{_MXBAI_END}",
        ),
        families=(),  # a checkpoint of this kind has a chat template
    ),
    "zerank": Recipe(
        true="Yes",
        plain=(
            "<|im_start|>system\n{query}<|im_end|>\n<|im_start|>user\n{document}<|im_end|>\n<|im_start|>assistant\n",
        ),
        instructed=(
            "<|im_start|>system\n<query>{query}</query>\n<instruction>{instruction}</instruction><|im_end|>\n"
            "<|im_start|>user\n{document}<|im_end|>\n<|im_start|>assistant\n",
        ),
        families=("Qwen3For",),
        name=r"zerank-[12]" + _END,
    ),
    "ctxl-rerank-v2": Recipe(
        true=0,
        plain=(_CTXL_TASK + "<Document> {document}\n<Query> {query} ??",),
        instructed=(_CTXL_TASK + "<Document> {document}\n<Query> {query} {instruction} ??",),
        families=("Qwen3For", "MistralFor"),
        name=r"(?:ctxl-rerank-|contextual ai reranker )v2" + _END,
    ),
    "bge-reranker-v2-gemma": Recipe(
        true="Yes",
        plain=("{bos}A: {query}", "\n", "B: {document}", "\n", _GEMMA_TASK),
        cuts_query=True,
        families=("GemmaFor",),
        name=r"bge-reranker-v2-gemma",
    ),
    "nemotron-rerank": Recipe(
        plain=("{bos}question:{query} \n \n passage:{document}",),
        families=("LlamaBidirectionalForSequenceClassification",),
    ),
}


def recognise(architectures: Sequence[str], evidence: str) -> str | None:
    """Recognise the recipe of a checkpoint, by its architectures and by what its files say it is.

    None where no recipe fits, or more than one does.
    """
    found = {
        name
        for name, recipe in RECIPES.items()
        if any(architecture.startswith(recipe.families) for architecture in architectures if recipe.families)
        and (recipe.name is None or re.search(recipe.name, evidence, re.IGNORECASE))
    }
    return found.pop() if len(found) == 1 else None


def find_name(name: object) -> str:
    """Find the name of a recipe, or the one that asks for no prompt, in capital letters too.

    Raises ``InvalidRequest`` where there is none.
    """
    found = str(name).lower()
    if found not in RECIPES and found != NONE:
        raise InvalidRequest(f"recipe={name!r:.100} is not known: use {recipe_names()}")
    return found


def recipe_names() -> str:
    """List the names that ``recipe`` may have."""
    return ", ".join([*RECIPES, NONE])
