"""Finds a language model's prompt and the tokens of its answer: the user's, the checkpoint's, or a known recipe's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_core.checkpoints.chat_template import find_template, message_format, prompt_of, renders
from rerank_core.checkpoints.files import is_there, read_settings, read_text
from rerank_core.checkpoints.heads import TokenLogits
from rerank_core.checkpoints.model_card import read_card
from rerank_core.checkpoints.prompt import Prompt
from rerank_core.checkpoints.recipes import NONE, RECIPES, find_name, recipe_names, recognise
from rerank_core.checkpoints.sentence_transformers import TRANSFORMER, Library
from rerank_core.errors import CheckpointError, InvalidRequest

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TEMPLATE = "template"
CHAT_TEMPLATE = "chat template"
"""What the prompt is called that is the user's own, and the one that is declared by the checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptChoice:
    """What the user asks for: the name of a recipe, and a template or the path of a file that holds one.

    ``template_name``: what errors call the template.
    """

    recipe: str | None = None
    template: str | None = None
    template_name: str = TEMPLATE

    def __post_init__(self) -> None:
        if self.recipe is not None:
            object.__setattr__(self, "recipe", find_name(self.recipe))
        if self.template is not None and not self.template.strip():
            raise InvalidRequest("template= is empty: give Jinja text or the path of a file, or leave it out")
        if self.recipe == NONE and self.template is not None:
            raise InvalidRequest(f"recipe={NONE!r} asks for no prompt, and template= gives one: leave one of them out")

    def read(self) -> PromptChoice:
        """Put the text of a template in the place of its file. Raises ``InvalidRequest`` where it cannot be read."""
        if self.template is None or _is_jinja(self.template):
            return self
        given = f"template={self.template!r:.200}"
        try:
            path = Path(self.template).expanduser()
            text = read_text(path) if is_there(path) else None
        except (CheckpointError, RuntimeError) as error:  # RuntimeError: ~ before the name of no user
            raise InvalidRequest(f"{given} cannot be read as a file: {error}") from error
        brackets = "Jinja text, which has {{ or {%"
        if text is None:
            raise InvalidRequest(f"{given} is neither {brackets}, nor the path of a file: there is no {path!s:.200}")
        if not _is_jinja(text):
            raise InvalidRequest(f"{given} is a file that holds no {brackets}")
        return replace(self, template=text, template_name=str(path))


class LanguageModelFiles:
    """A checkpoint's files that say how it is scored by a prompt. ``hub_name``: the model's on the hub, where known."""

    def __init__(
        self,
        library: Library,
        config: Mapping[str, Any],
        architectures: Sequence[str],
        wanted: PromptChoice,
        *,
        hub_name: str = "",
    ) -> None:
        self._library = library
        self._directory = library.directory
        self._config = config
        self._architectures = architectures
        self._wanted = wanted.read()
        self._hub_name = hub_name
        self._special = _special_tokens(self._directory)

    def prompt(self) -> tuple[Prompt | None, str | None]:
        """Find the prompt, and the name of where it comes from; no prompt where the user wants none, or none is known.

        Raises ``CheckpointError`` for a template that is no reranker's.
        """
        wanted = self._wanted
        if wanted.template is not None:
            return self._templated(wanted.template, wanted.template_name), TEMPLATE
        if wanted.recipe == NONE:
            return None, NONE
        if wanted.recipe is None and self._library.uses_messages:
            called = self._library.chat_template_arguments.get("chat_template")
            found = find_template(self._directory, called if isinstance(called, str) else None)
            if found is None:
                raise CheckpointError(
                    f"{self._directory / TRANSFORMER} says that pairs go through a chat template, and there is none: "
                    "chat_template.jinja is missing; name a recipe with recipe=, or give template="
                )
            return self._templated(found[0], str(found[1])), CHAT_TEMPLATE
        recipe = self._recipe_name()
        return (None, None) if recipe is None else (RECIPES[recipe].prompt(self._bos()), recipe)

    def token_logits(self) -> TokenLogits:
        """Find the tokens of a causal model's answer.

        Raises ``CheckpointError`` where they cannot be known, and ``InvalidRequest`` where the user wants no recipe.
        """
        declared = self._library.logit_score
        name = self._wanted.recipe if self._wanted.recipe not in (None, NONE) else None
        if name is None and declared is not None:
            return self._declared(declared)
        if self._wanted.recipe == NONE:
            raise InvalidRequest(
                f"recipe={NONE!r} needs a model with a classification head, and {self._directory / 'config.json'} is "
                "of a causal model: its scores are the logits of tokens, and need a prompt. Name a recipe that has "
                f"them ({_recipes_with_tokens()})"
            )
        name = name or self._recipe_name()
        if name is None:
            raise CheckpointError(self.unknown())
        recipe = RECIPES[name]
        if recipe.true is None:
            raise CheckpointError(
                f"{self._directory / 'config.json'} is of a causal model, and the recipe {name} is for models with a "
                "classification head"
            )
        return _resolve(recipe.true, recipe.false, name, self._directory)

    def has_two_answers(self) -> bool:
        """Return whether the recipe scores by one answer less another, so that a head with two outputs has both."""
        name = self._recipe_name()
        return name is not None and RECIPES[name].false is not None

    def unknown(self) -> str:
        """Say that no prompt is known, or that a template is, and not the tokens of the answer to it."""
        what = (
            f"{self._directory / 'config.json'} says {', '.join(self._architectures) or 'no architecture'}, model_type "
            f"{self._config.get('model_type')}: a language model, which is scored by a prompt"
        )
        if self._wanted.template is not None:
            return (
                f"{what} and the tokens of its answer. template= gives the prompt, and the files do not say which "
                f"tokens: name a recipe that has them with recipe= ({_recipes_with_tokens()}); the prompt "
                "stays that of template="
            )
        return (
            f"{what}, and its files do not say which: name a recipe with recipe= ({recipe_names()}), or give a "
            "template of your own with template="
        )

    def _recipe_name(self) -> str | None:
        if self._wanted.recipe is not None:
            return None if self._wanted.recipe == NONE else self._wanted.recipe
        card = read_card(self._library.root)
        title = f"{card.title}\n{self._config.get('_name_or_path')}"
        for evidence in (title, self._hub_name, "\n".join(card.base_models)):
            if (found := recognise(self._architectures, evidence)) is not None:
                return found
        return None

    def _declared(self, path: Path) -> TokenLogits:
        said = read_settings(path)
        source = said.get("module_input_name", "causal_logits")
        if source != "causal_logits":
            raise CheckpointError(f"{path} reads {source!r:.100}: only causal_logits is supported")
        if "true_token_id" not in said:
            raise CheckpointError(
                f"{path} is missing, or has no true_token_id: it says which tokens are the answer. Name a recipe with "
                f"recipe= ({recipe_names()})"
            )
        rows = (self._config.get("text_config") or self._config).get("vocab_size")
        for name in ("true_token_id", "false_token_id"):
            value = said.get(name)
            if value is None and name == "false_token_id":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 0 or value >= (rows or value + 1):
                raise CheckpointError(f"{path}: {name} is {value!r:.100}, not the id of a token")
        return TokenLogits(true_id=said["true_token_id"], false_id=said.get("false_token_id"))

    def _templated(self, source: str, name: str) -> Prompt:
        modalities = self._library.transformer.get("modality_config") or {}
        said = modalities.get("message") if isinstance(modalities, Mapping) else None
        wanted = said.get("format", "auto") if isinstance(said, Mapping) else "auto"
        render = renders(
            source,
            name,
            layout=message_format(wanted, source, str(self._config.get("model_type"))),
            variables=self._library.chat_template_arguments,
            tokens=self._special,
        )
        return prompt_of(render, name, default=self._library.default_prompt or None)

    def _bos(self) -> str:
        if "bos_token" in self._special:
            return self._special["bos_token"]
        bos = self._config.get("bos_token_id")
        token = _tokenizer(self._directory).id_to_token(bos) if isinstance(bos, int) else None
        return token or ""


def _is_jinja(text: str) -> bool:
    return "{{" in text or "{%" in text


def _recipes_with_tokens() -> str:
    return ", ".join(name for name, recipe in RECIPES.items() if recipe.true is not None)


def _special_tokens(directory: Path) -> dict[str, str]:
    """Read the special tokens by their names, such as ``bos_token``."""
    said = read_settings(directory / "special_tokens_map.json") | read_settings(directory / "tokenizer_config.json")
    found = {}
    for name, value in said.items():
        content = value.get("content") if isinstance(value, Mapping) else value
        if name.endswith("_token") and isinstance(content, str):
            found[name] = content
    return found


def _tokenizer(directory: Path) -> Tokenizer:
    from rerank_core.checkpoints.tokenizer_files import read_tokenizer

    return read_tokenizer(directory).tokenizer


def _resolve(true: str | int, false: str | None, recipe: str, directory: Path) -> TokenLogits:
    """Look the tokens of the answer up in the vocabulary."""
    tokenizer = _tokenizer(directory)

    def find(token: str | int) -> int:
        if isinstance(token, int):
            return token
        ids: list[int] = tokenizer.encode(token, add_special_tokens=False).ids
        found = tokenizer.token_to_id(token)
        if found is None or found not in ids:
            raise CheckpointError(
                f"{directory / 'tokenizer.json'} has no token {token!r}, by which the recipe {recipe} scores: "
                "it is another model's recipe"
            )
        return int(found)

    return TokenLogits(true_id=find(true), false_id=None if false is None else find(false))
