"""A check of text: a string that every encoding of Unicode can write."""

from rerank_core.errors import InvalidRequest


def check_text(text: object, name: str) -> None:
    """Refuse what is not text with ``InvalidRequest``, which calls it by ``name``."""
    if not isinstance(text, str):
        raise InvalidRequest(f"{name} is {type(text).__name__}, not a string")
    try:
        str.encode(text)
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"{name} holds a lone surrogate (U+{ord(text[error.start]):04X} at character {error.start}), "
            "which is not valid text: decode it with errors='replace', or drop it"
        ) from None
