"""Finds positions where a text can be cut without a change to the tokens before or behind the cut.

A tokenizer splits a text into words before it looks any of them up. Where its parts are all known to treat a word and
the white space behind it independently, the tokens of a text begin with the tokens of each of its prefixes that end
before white space. A part that is not known here allows no cut.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Letters and punctuation that no normalizer composes with what follows, removes, or turns into white space. Words that
# end otherwise are no place to cut; the next word is.
_ORDINARY = "!-~À-ÖØ-öø-ɏΑ-Ωα-ωЀ-џא-תء-غف-ي٪-٭ٱ-ۓअ-ह।অ-হก-ะเ-ๅ–—‘’“”…、。」』ぁ-ゖァ-ヺ一-鿿！（），．：；？가-힣"
_SPACES = " \n\t\r"
_PER_WORD_NORMALIZERS = {
    "BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "StripAccents",
}  # fmt: skip
# How Qwen's and Llama 3's tokenizers split words off: none goes on behind a letter or a mark, over a space or a tab.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORD_PATTERNS = {_WORDS % numbers for numbers in (r"\p{N}", r"\p{N}{1,3}")}
_DROPS_SPACES = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
_PER_WORD_MODELS = {"WordPiece", "Unigram", "WordLevel", "BPE"}
_SPACED = "一-鿿"  # BERT's normalizer puts each of these between spaces
_GAP = re.compile(f"[{_SPACES}]{{64,}}")
_WORD_MARK = "▁"


@dataclass(frozen=True)
class Boundaries:
    """Where texts can be cut for one tokenizer.

    ``spaces``: what a text may end before, as a set of a regular expression: white space, and characters that are put
    between spaces. ``allows_suffix``: a text may also begin at a space.
    ``drops_spaces``: white space has no tokens, so that its amount does not matter. ``ends_words``: a word ends behind
    its last letter, where a mark or a new line follows, though what follows may belong to the next.
    """

    spaces: str
    allows_suffix: bool
    drops_spaces: bool
    ends_words: bool = False

    def prefix(self, text: str, length: int, most: int | None = None) -> str | None:
        """Find the shortest prefix of ``length`` to ``most`` characters that ends at one; None where there is none."""
        found = self._ends.search(text, length, len(text) if most is None else most + 1)
        return text[: found.start()] if found else None

    def suffix(self, text: str, length: int, most: int | None = None) -> str | None:
        """Find the shortest suffix of ``length`` to ``most`` characters that begins at one; None where none does."""
        if not self.allows_suffix:
            return None
        last, width = len(text) - length, 1024
        least = 0 if most is None else max(0, len(text) - most)
        while last > least:
            first = max(0, last - width)
            starts = [found.start() for found in _STARTS.finditer(text, first, last + 2) if found.start() <= last]
            if starts:
                return text[starts[-1] :]
            last, width = first - 1, 2 * width
        return None

    def last_cut(self, text: str) -> int | None:
        """Find the last place where a text can be cut in two, whatever stands before and behind it."""
        return max(self._cuts(text), default=None)

    def first_cut(self, text: str) -> int | None:
        """Find the first such place."""
        return min(self._cuts(text), default=None)

    def _cuts(self, text: str) -> list[int]:
        if not self.allows_suffix:
            return []
        places = [found.start() for found in self._ends.finditer(text)]
        return places + [found.start() for found in _WORD_ENDS.finditer(text)] if self.ends_words else places

    def squeeze(self, text: str, begin: int = 0, end: int | None = None) -> str:
        """Put one character in place of long white space, where that changes no token.

        The same text where there is none between ``begin`` and ``end``.
        """
        if not self.drops_spaces or _GAP.search(text, begin, len(text) if end is None else end) is None:
            return text
        return _GAP.sub(lambda gap: gap[0][-1], text)

    @cached_property
    def _ends(self) -> re.Pattern[str]:
        return re.compile(f"[{self.spaces}](?<=[{_ORDINARY}].)", re.DOTALL)


_WORD_ENDS = re.compile(r"(?<=[A-Za-z])[\n!-&(-/:-@[-`{-~]")  # an apostrophe goes on: it's
_STARTS = re.compile(f" (?<=[{_ORDINARY}] )(?=[{_ORDINARY}])")


def boundaries_of(tokenizer: Tokenizer) -> Boundaries | None:
    """Find the boundaries that a tokenizer allows, by its parts; None where one of them is not known."""
    model = tokenizer.model
    if type(model).__name__ not in _PER_WORD_MODELS or getattr(model, "dropout", None):
        return None
    normalizer, pre_tokenizer = _parts(tokenizer.normalizer), _parts(tokenizer.pre_tokenizer)
    found = _boundaries(normalizer, pre_tokenizer, tokenizer.get_added_tokens_decoder().values())
    if found is not None and any(part["type"] == "Precompiled" for part in normalizer):
        return _confirmed(found, tokenizer.normalizer)
    return found


def _boundaries(
    normalizer: list[Mapping[str, Any]], pre_tokenizer: list[Mapping[str, Any]], added: Iterable[Any]
) -> Boundaries | None:
    tokens = list(added)
    if not pre_tokenizer or any(_spans_words(token.content) for token in tokens):
        return None
    match pre_tokenizer[0]:  # the parts behind the one that splits at white space see single words
        case {"type": kind} if kind in _DROPS_SPACES:
            spaces, drops = _SPACES, True
        case {"type": "ByteLevel", **rest} if rest.get("use_regex", True):
            spaces, drops = _SPACES, False
        case {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False} if (
            pattern in _WORD_PATTERNS
        ):
            spaces, drops = " \t", False
        case {"type": "Metaspace", **rest} if rest.get("split", True) and rest.get("replacement") == _WORD_MARK:
            spaces, drops = " ", False
        case _:
            return None
    if not all(_is_per_word(part, joins=pre_tokenizer[0]["type"] == "Metaspace") for part in normalizer):
        return None
    if drops and any(part["type"] == "BertNormalizer" and part["handle_chinese_chars"] for part in normalizer):
        spaces += _SPACED
    strips = any(part["type"] == "Strip" for part in normalizer)
    eats_spaces = any(token.rstrip for token in tokens)
    return Boundaries(
        spaces,
        allows_suffix=drops or not (strips or eats_spaces),
        drops_spaces=drops,
        ends_words=pre_tokenizer[0]["type"] == "Split",
    )


def _parts(component: Any) -> list[Mapping[str, Any]]:
    """Describe a normalizer or pre-tokenizer, the members of a sequence one by one."""
    if component is None:
        return []
    described = json.loads(component.__getstate__())
    return list(_flat(described))


def _flat(part: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    if part["type"] != "Sequence":
        yield part
        return
    for member in part.get("normalizers", part.get("pretokenizers", ())):
        yield from _flat(member)


def _is_per_word(part: Mapping[str, Any], *, joins: bool) -> bool:
    """Return whether a normalizer treats each word alone. ``joins``: it may put a mark in place of several spaces."""
    match part:
        case {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": content}:
            return joins and content in {" ", _WORD_MARK}
        case {"type": "Replace", "pattern": {"String": pattern}, "content": content}:
            return bool(pattern and content) and not _spans_words(pattern) and not _spans_words(content)
        case {"type": kind}:
            return kind in _PER_WORD_NORMALIZERS or kind == "Strip"
        case _:
            return False


def _spans_words(text: str) -> bool:
    plain = unicodedata.normalize("NFKC", text)
    return _WORD_MARK in plain or any(character.isspace() for character in text + plain)


def _confirmed(found: Boundaries, normalizer: Any) -> Boundaries | None:
    """Keep the boundaries that a normalizer leaves: a table of characters may map anything to anything."""
    ordinary = re.findall(
        f"[{_ORDINARY}]", "".join(map(chr, range(0x20, 0xD800))) + "".join(map(chr, range(0xFF00, 0xFFF0)))
    )
    spaces = [
        space for space in _SPACES if space in found.spaces and len(normalizer.normalize_str(f"a{space}b").split()) == 2
    ]
    words = normalizer.normalize_str("".join(f"{character} a " for character in ordinary)).split()
    if " " not in spaces or len(words) != 2 * len(ordinary) or set(words[1::2]) != {"a"}:
        return None
    return replace(found, spaces="".join(spaces))
