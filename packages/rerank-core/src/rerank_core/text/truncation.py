"""Truncation: how many tokens of a query and of a document are kept, where both do not fit."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from rerank_core.errors import InputTooLong, InvalidRequest
from rerank_core.types import LongDocuments, ScoreOptions, Span, Truncation, TruncationSide


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


def pair_too_long(index: int, tokens: int, beside: str, limit: int) -> InputTooLong:
    """Make the error of a document that may not be cut; ``tokens``: its own and those of what is ``beside`` it."""
    return InputTooLong(
        f"document {index} has {tokens} tokens together with {beside}, the model reads {limit}: shorten it, or allow "
        "truncation"
    )


def too_many_windows(index: int, windows: int, limit: int, *, with_query: bool) -> InputTooLong:
    """Make the error of a document that has more windows than may be read, or a query that is cut beside them."""
    texts, them = (f"document {index} and its query do", "them") if with_query else (f"document {index} does", "it")
    return InputTooLong(
        f"{texts} not fit into {windows} windows of {limit} tokens: shorten {them}, raise max_chunks, or allow "
        "truncation"
    )


def length_read(max_length: int, options: ScoreOptions) -> int:
    """Count the tokens that are read at once, of a model that reads ``max_length``; a request may ask for fewer.

    Raises ``InvalidRequest`` where it asks for more.
    """
    wanted = max_length if options.max_length is None else options.max_length
    if wanted > max_length:
        raise InvalidRequest(
            f"{wanted} tokens are asked for at once, the model reads {max_length}: ask for {max_length} or fewer",
            option="max_length",
        )
    return wanted


def spans_read(
    document: str, options: ScoreOptions, long_documents: LongDocuments, find_kept: Callable[[], Span] | None
) -> tuple[Span] | None:
    """Return the characters of a document that its sequence has, where a request needs to know them.

    ``find_kept`` finds those of a document that is cut; None for one that is whole.
    """
    if options.windows(long_documents):
        return (Span(0, len(document)),)
    if not options.highlight:
        return None
    return (Span(0, len(document)) if find_kept is None else find_kept(),)


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


def with_side(options: ScoreOptions, as_loaded: TruncationSide) -> ScoreOptions:
    """Set the side that a model was loaded with where the options have none."""
    return replace(options, truncation_side=as_loaded) if options.truncation_side is None else options


def side_of(options: ScoreOptions) -> TruncationSide:
    """Return the side where these options drop tokens: on the right unless they say otherwise."""
    return options.truncation_side or "right"
