"""Control tokens: those that give a prompt its structure, and that no caller's text can write.

A tokenizer looks for its added tokens in every text. For the text of a prompt that is right: ``<|im_end|>`` ends a
turn there. In a query or a document it is what somebody typed, and would end the turn too, so that a document could
say what follows it. So an added token is a control token, and is not looked for in a caller's text, where

- it is special, or the prompt itself writes it (``<think>``, which Qwen does not call special), and
- ordinary text cannot give its id. ``"+"`` is the padding token of some checkpoints, and an ordinary plus sign too:
  every "2 + 2" that the model was trained with had that token, and it goes on to have it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rerank_core.errors import CheckpointError

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

_LIKE_CONTROL = re.compile(r"<\|\w+\|>")


@dataclass(frozen=True, slots=True)
class ControlTokens:
    """A prompt's control tokens, and the tokenizer that does not look for them in a text."""

    tokenizer: Tokenizer
    tokens: dict[str, tuple[int, AddedToken]]

    @classmethod
    def of(cls, tokenizer: Tokenizer, prompt: str) -> ControlTokens:
        """Find the control tokens of a tokenizer. ``prompt``: the fixed text of the prompts.

        Raises ``CheckpointError`` where the prompt needs a token that the tokenizer does not have.
        """
        added = tokenizer.get_added_tokens_decoder()
        tokens = {
            token.content: (number, token)
            for number, token in added.items()
            if (token.special or token.content in prompt) and not _is_ordinary(tokenizer, token.content, number)
        }
        missing = {name for name in _LIKE_CONTROL.findall(prompt) if name not in tokens}
        if missing:
            raise CheckpointError(
                f"the prompt has the control tokens {', '.join(sorted(missing))}, which tokenizer.json does not have: "
                "it is the prompt of another model"
            )
        if any(token.special != (token.content in tokens) for token in added.values()):
            tokenizer = _marked(tokenizer, set(tokens))
        tokenizer.encode_special_tokens = True
        return cls(tokenizer, tokens)

    def split(self, text: str) -> Iterator[int | str]:
        """Split fixed text into control tokens and the text between them."""
        end = 0
        for found in self._pattern.finditer(text):
            number, token = self.tokens[found[0]]
            before = text[end : found.start()]
            if before := before.rstrip() if token.lstrip else before:
                yield before
            yield number
            end = found.end()
            if token.rstrip:
                end += len(text) - end - len(text[end:].lstrip())
        if text[end:]:
            yield text[end:]

    @property
    def _pattern(self) -> re.Pattern[str]:
        names = sorted(self.tokens, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names)) or r"(?!)")


def _is_ordinary(tokenizer: Tokenizer, content: str, number: int) -> bool:
    """Return whether text gives a token's id without its being looked for."""
    return any(number in _plain_ids(tokenizer, text) for text in (content, f"x{content}"))


def _plain_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Tokenise as if there were no added tokens."""
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    words = [text]
    if tokenizer.pre_tokenizer is not None:
        words = [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
    return [token.id for word in words for token in tokenizer.model.tokenize(word)]


def _marked(tokenizer: Tokenizer, control: set[str]) -> Tokenizer:
    """Copy a tokenizer whose special tokens are the control tokens and no others."""
    described = json.loads(tokenizer.to_str())
    for token in described["added_tokens"]:
        token["special"] = token["content"] in control
    copy: Tokenizer = type(tokenizer).from_str(json.dumps(described))
    before, after = tokenizer.get_added_tokens_decoder(), copy.get_added_tokens_decoder()
    if {number: token.content for number, token in before.items()} != {
        number: token.content for number, token in after.items()
    }:
        raise CheckpointError("tokenizer.json: its added tokens have ids with gaps, which cannot be kept apart")
    return copy
