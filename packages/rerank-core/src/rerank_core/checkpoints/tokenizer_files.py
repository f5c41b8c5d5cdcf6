"""Reads a checkpoint's tokenizer: ``tokenizer.json``, and the settings in the tokenizer files beside it.

``tokenizer.json`` is read as it stands, and the fields of the other files are applied to it as transformers applies
them. transformers itself rebuilds many tokenizers from the vocabulary in that file and loses other parts of it on the
way: it is asked for what ``tokenizer.json`` lacks, and where that file is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_core.checkpoints.files import is_there, read_settings
from rerank_core.checkpoints.hub import VOCABULARY_FILES
from rerank_core.checkpoints.transformers_registry import TokenizerClass, find_tokenizer_class
from rerank_core.errors import CheckpointError
from rerank_core.types import TruncationSide

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

# In transformers' order: a token that is added takes the next free id.
_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

# Rare characters of several kinds, which no small vocabulary holds.
_RARE = "\U0001f9a3 \ue000 \u4dae \u1234 x\u0338 A"


@dataclass(frozen=True, slots=True)
class CheckpointTokenizer:
    """A tokenizer without truncation or padding, and the side where the checkpoint wants texts to be cut."""

    tokenizer: Tokenizer
    truncation_side: TruncationSide


def read_tokenizer(directory: Path, *, lowercase: bool = False) -> CheckpointTokenizer:
    """Read the tokenizer of a model directory. ``lowercase``: lower-case texts first, whatever the files say.

    Raises ``CheckpointError`` naming the file and the field, where there is no tokenizer that can be read, or its files
    contradict each other.
    """
    settings_path = directory / "tokenizer_config.json"
    settings = read_settings(settings_path)
    path = directory / "tokenizer.json"
    if is_there(path):
        _check_versions(settings, settings_path)
        tokenizer = _read_file(path)
        with _tokenizer_errors(path):
            _apply_settings(tokenizer, directory, settings)
    else:
        path = directory
        tokenizer = _convert(directory)
    with _tokenizer_errors(path):
        side = _truncation_side(tokenizer, settings, settings_path)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        if lowercase and not _changes(tokenizer, "A", "a"):
            _put_lower_case_first(tokenizer)
        tokenizer.encode(_RARE)
    return CheckpointTokenizer(tokenizer, side)


def gives_type_ids(config: Mapping[str, Any], tokenizer_config: Mapping[str, Any]) -> bool:
    """Return whether transformers' tokenizer gives token types to the network."""
    names = tokenizer_config.get("model_input_names")
    if names is None:
        return find_tokenizer_class(config, tokenizer_config).gives_type_ids
    return "token_type_ids" in names


def _read_file(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    if not path.is_file():
        raise CheckpointError(f"{path} is not a file that can be read")
    with _tokenizer_errors(path):
        return Tokenizer.from_file(str(path))


@contextmanager
def _tokenizer_errors(path: Path) -> Iterator[None]:
    """Turn whatever the tokenizers library raises into a ``CheckpointError`` that names the file."""
    try:
        yield
    except CheckpointError:
        raise
    except BaseException as error:  # the library raises bare Exception, and a panic of its Rust code not even that
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise CheckpointError(f"{path} is not a tokenizer that can be read: {str(error)[:300]}") from error


def _check_versions(settings: Mapping[str, Any], path: Path) -> None:
    """Refuse a list of files of which transformers takes the one that is named after its version."""
    names = settings.get("fast_tokenizer_files")
    if names not in (None, ["tokenizer.json"]):
        raise CheckpointError(
            f"{path} names tokenizers for versions of transformers (fast_tokenizer_files): unsupported"
        )


def _convert(directory: Path) -> Tokenizer:
    if not any(is_there(directory / name) for name in VOCABULARY_FILES):
        raise CheckpointError(f"{directory} has no tokenizer.json, nor an older tokenizer file that could be converted")
    backend = _transformers_backend(directory)
    return type(backend).from_str(backend.to_str())


def _transformers_backend(directory: Path) -> Tokenizer:
    """Let transformers make a tokenizer of the directory's files."""
    from transformers import AutoTokenizer

    try:
        backend: Tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True).backend_tokenizer
    except Exception as error:  # anything may go wrong in a foreign format
        raise CheckpointError(
            f"{directory}: transformers cannot make a tokenizer of the files there ({type(error).__name__}: {error})"
        ) from error
    return backend


def _truncation_side(tokenizer: Tokenizer, settings: Mapping[str, Any], path: Path) -> TruncationSide:
    in_file = tokenizer.truncation["direction"] if tokenizer.truncation else "right"
    side = settings.get("truncation_side", in_file)
    if side == "left":
        return "left"
    if side == "right":
        return "right"
    raise CheckpointError(f"{path}: truncation_side is {side!r:.100}: it is right or left")


# ---------------------------------------------------------------------------- fields of tokenizer_config.json


def _apply_settings(tokenizer: Tokenizer, directory: Path, settings: Mapping[str, Any]) -> None:
    config = read_settings(directory / "config.json")
    path = directory / "tokenizer_config.json"
    tokenizer_class = find_tokenizer_class(config, settings)
    if not tokenizer_class.has_file:
        raise CheckpointError(
            f"{path} asks for {tokenizer_class.name}, a program of transformers that a tokenizer.json cannot replace: "
            "save the checkpoint with a fast tokenizer"
        )
    _fill_in(tokenizer, tokenizer_class, directory)
    _apply_case(tokenizer, tokenizer_class, settings, path)
    _apply_prefix_space(tokenizer, tokenizer_class, settings, path)
    if _flag(settings, "split_special_tokens", default=False, path=path):
        tokenizer.encode_special_tokens = True
    tokenizer.add_tokens(_tokens_to_add(tokenizer, tokenizer_class, directory, settings))


def _fill_in(tokenizer: Tokenizer, tokenizer_class: TokenizerClass, directory: Path) -> None:
    """Take from transformers what the file lacks and the class has: without its template, say, a model reads no CLS."""
    if not tokenizer_class.defaults:
        return
    parts = ["pre_tokenizer", "post_processor"]
    if "do_lower_case" in tokenizer_class.defaults:
        parts.append("normalizer")
    missing = [part for part in parts if getattr(tokenizer, part) is None]
    if missing:
        backend = _transformers_backend(directory)
        for part in missing:
            if getattr(backend, part) is not None:
                setattr(tokenizer, part, getattr(backend, part))


def _apply_case(tokenizer: Tokenizer, tokenizer_class: TokenizerClass, settings: Mapping[str, Any], path: Path) -> None:
    """Apply the settings of case, accents and Chinese characters that the tokenizer's class has.

    BERT's normaliser has a switch for each. In another one they are fixed: a field that says otherwise is refused.
    """
    from tokenizers.normalizers import BertNormalizer

    defaults = tokenizer_class.defaults
    wanted = {
        name: _flag(settings, name, default=default, path=path) for name, default in defaults.items() if name in _CASE
    }
    steps = _steps(tokenizer.normalizer)
    switches = [step for step in steps if isinstance(step, BertNormalizer)]
    if switches:
        for step in switches:
            for name, value in wanted.items():
                if name in _SWITCHES:
                    setattr(step, _SWITCHES[name], value)
        return
    for name, value in wanted.items():
        if settings.get(name) is None or not isinstance(value, bool):
            continue
        before, after, is_change = _CASE[name]
        if _changes(tokenizer, before, after) is not (value is is_change):
            raise CheckpointError(
                f"{path}: {name} is {json.dumps(value)}, and the normaliser in tokenizer.json does otherwise: "
                "save the tokenizer again, so that both say the same"
            )


# Field → an example before and after the change, and the field's value that asks for that change.
_CASE = {
    "do_lower_case": ("A", "a", True),
    "strip_accents": ("\u00e9", "e", True),
    "keep_accents": ("\u00e9", "e", False),
    "tokenize_chinese_chars": ("\u4e2dx", "\u4e2d x", True),
}
_SWITCHES = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


def _apply_prefix_space(
    tokenizer: Tokenizer, tokenizer_class: TokenizerClass, settings: Mapping[str, Any], path: Path
) -> None:
    from tokenizers.pre_tokenizers import ByteLevel, Metaspace

    if "add_prefix_space" not in tokenizer_class.defaults:
        return
    value = _flag(settings, "add_prefix_space", default=tokenizer_class.defaults["add_prefix_space"], path=path)
    for step in _steps(tokenizer.pre_tokenizer):
        if isinstance(step, ByteLevel):
            step.add_prefix_space = bool(value)
        elif isinstance(step, Metaspace) and settings.get("add_prefix_space") is not None:
            step.prepend_scheme = "always" if value else "never"


def _steps(part: Any) -> list[Any]:
    """List the steps of a normaliser or a pre-tokenizer, which may be a sequence of them."""
    from tokenizers import normalizers, pre_tokenizers

    if part is None:
        return []
    is_sequence: bool = isinstance(part, (normalizers.Sequence, pre_tokenizers.Sequence))
    return list(part) if is_sequence else [part]


def _changes(tokenizer: Tokenizer, before: str, after: str) -> bool:
    """Return whether the normaliser turns one text into the other."""
    if tokenizer.normalizer is None:
        return False
    return str(tokenizer.normalizer.normalize_str(before)).strip(" \u2581") == after


def _put_lower_case_first(tokenizer: Tokenizer) -> None:
    from tokenizers import normalizers

    steps = [normalizers.Lowercase(), *([tokenizer.normalizer] if tokenizer.normalizer else [])]
    tokenizer.normalizer = normalizers.Sequence(steps)


def _flag(settings: Mapping[str, Any], name: str, *, default: bool | None, path: Path) -> bool | None:
    value = settings.get(name, default)
    if value is None or isinstance(value, bool):
        return value
    raise CheckpointError(f"{path}: {name} is {value!r:.100}: it is true or false")


# ---------------------------------------------------------------------------- added tokens


def _tokens_to_add(
    tokenizer: Tokenizer, tokenizer_class: TokenizerClass, directory: Path, settings: Mapping[str, Any]
) -> list[AddedToken]:
    """List the tokens that only the files beside tokenizer.json name, in the order in which transformers adds them."""
    path = directory / "tokenizer_config.json"
    known = {token.content: token for token in tokenizer.get_added_tokens_decoder().values()}
    named = dict(settings)
    if "added_tokens_decoder" in settings:
        listed = _listed_tokens(settings["added_tokens_decoder"], path)
    else:
        map_path, added_path = directory / "special_tokens_map.json", directory / "added_tokens.json"
        named |= read_settings(map_path)
        special = {_content(value) for value in named.values()}
        listed = [
            token
            for token in _older_tokens(read_settings(added_path), special, added_path)
            if token.content not in known
        ]
    tokens = [token for token in listed if repr(known.get(token.content)) != repr(token)]
    names = {*known, *(token.content for token in listed)}
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    for name, value in _named_tokens(named, tokenizer_class, path):
        content = _content(value)
        is_default = name in tokenizer_class.defaults and named.get(name) is None
        if content in names or (is_default and content not in vocabulary):
            continue
        names.add(content)
        flags = dict(value) if isinstance(value, Mapping) else {"content": value}
        tokens.append(_token(flags | {"special": True}, path))
    return tokens


def _named_tokens(named: Mapping[str, Any], tokenizer_class: TokenizerClass, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield special tokens by their field: the standard ones, a model's own (any ``..._token``), and the extra ones."""
    own = [name for name in named if name.endswith("_token") and name not in _SPECIAL_TOKENS]
    for name in (*_SPECIAL_TOKENS, *own):
        value = named.get(name)
        value = tokenizer_class.defaults.get(name) if value is None else value
        if _content(value):
            yield name, value
        elif value is not None and not isinstance(value, bool) and name in _SPECIAL_TOKENS:
            raise CheckpointError(f"{path}: {name} is {value!r:.100}, not a token")
    extra = named.get("extra_special_tokens") or named.get("additional_special_tokens") or []
    values = list(extra.values()) if isinstance(extra, Mapping) else extra
    if not isinstance(values, list) or not all(_content(value) for value in values):
        raise CheckpointError(f"{path}: extra_special_tokens or additional_special_tokens is not a list of tokens")
    yield from (("extra_special_tokens", value) for value in values)


def _content(value: Any) -> str:
    """Return the text of a token that is written as a string or as an object; nothing for what is neither."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _listed_tokens(decoder: Any, path: Path) -> list[AddedToken]:
    """Return the tokens of added_tokens_decoder, in the order of their ids."""
    if not isinstance(decoder, Mapping) or not all(key.isdecimal() for key in decoder):
        raise CheckpointError(f"{path}: added_tokens_decoder is not an object from token ids to tokens")
    return [_token(decoder[key], path) for key in sorted(decoder, key=int)]


def _older_tokens(added: Mapping[str, Any], special: set[str], path: Path) -> list[AddedToken]:
    from tokenizers import AddedToken

    if not all(isinstance(index, int) for index in added.values()):
        raise CheckpointError(f"{path} is not an object from tokens to their ids")
    return [
        AddedToken(content, normalized=content not in special, special=content in special)
        for content in sorted(added, key=lambda content: added[content])
    ]


def _token(value: Any, path: Path) -> AddedToken:
    from tokenizers import AddedToken

    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    if not _content(value) or not all(isinstance(value.get(flag, False), bool) for flag in flags):
        raise CheckpointError(f"{path} holds a token without content, or with a flag that is not true or false")
    return AddedToken(value["content"], **{flag: value[flag] for flag in flags if flag in value})
