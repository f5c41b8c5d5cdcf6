"""Truncation: how many tokens of a query and of a document are kept, where both do not fit."""

from collections.abc import Sequence

from rerank_core.errors import InputTooLong, InvalidRequest
from rerank_core.types import ScoreOptions, Truncation, TruncationSide


def kept_lengths(query: int, document: int, room: int, truncation: Truncation) -> tuple[int, int]:
    """Count the tokens of each that are kept so that both fit into ``room``.

    As the ``tokenizers`` library does it (``utils/truncation.rs``), which transformers uses: ``longest_first`` cuts
    the longer one down to the shorter, then both alike; ``only_second`` cuts the document.

    Raises ``InputTooLong`` where the query alone leaves no room for the document.
    """
    if query + document <= room:
        return query, document
    if truncation == "only_second":
        if query >= room:
            raise query_too_long(f"{query} tokens", room)
        return query, room - query
    shorter, longer = sorted((query, document))
    longer = shorter if shorter > room else max(shorter, room - shorter)
    if shorter + longer > room:
        shorter, longer = room // 2, room // 2 + room % 2
    return (shorter, longer) if query <= document else (longer, shorter)


def query_too_long(query: str, room: int) -> InputTooLong:
    """Make the error of a query that leaves no room for a document; ``query`` is its length in words."""
    return InputTooLong(
        f"the query has {query} and the model reads {room} of query and document together: "
        "shorten the query, cap it with max_query_tokens, or use truncation='longest_first'"
    )


def window_size(read: int, beside: int, index: int) -> int:
    """Count the tokens of a document's windows, beside which ``beside`` others are read at once.

    Raises ``InvalidRequest`` where these leave no room; ``index`` is the document's.
    """
    if beside >= read:
        raise InvalidRequest(
            f"{read} tokens are read at once, and the text of the query and the prompt beside each window of document "
            f"{index} has {beside}: raise max_length"
        )
    return read - beside


def cut(ids: Sequence[int], length: int | None, side: TruncationSide | None) -> Sequence[int]:
    """Keep the first ``length`` of them, or the last where tokens are dropped on the left; all of them for None.

    ``side``: None is right.
    """
    if length is None or length >= len(ids):
        return ids
    return ids[len(ids) - length :] if side == "left" else ids[:length]


def side_of(options: ScoreOptions) -> TruncationSide:
    """Return the side where these options drop tokens: on the right unless they say otherwise."""
    return options.truncation_side or "right"
