"""Windows that overlap, for a document that is longer than the model reads."""

import math
from bisect import bisect_right
from collections.abc import Sequence

from rerank_core.text.sentences import END
from rerank_core.types import ScoreOptions, Span

OVERLAP = 64  # tokens, unless asked otherwise; a sentence has about 25


def query_room(query: int, room: int) -> int:
    """Count the tokens of a query that go into every window: all, but at most three quarters of ``room``."""
    return min(query, room - room // 4)


def windows(length: int, size: int, overlap: int | None = None, ends: Sequence[int] = ()) -> list[range]:
    """Divide ``length`` tokens into windows of at most ``size``, each beginning ``overlap`` before the last's end.

    ``ends`` are positions behind the last token of a sentence, ascending: a window ends at one that is near, in its
    last eighth, rather than in the middle of a sentence. ``overlap`` is at most half of ``size``.
    """
    if size < 1:  # there would be no end of them
        raise ValueError(f"a window has {size} tokens: it needs at least 1")
    overlap = min(OVERLAP if overlap is None else overlap, size // 2)
    found, start = [], 0
    while start + size < length:
        end = start + size
        last = bisect_right(ends, end) - 1
        if last >= 0 and ends[last] > end - size // 8:
            end = ends[last]
        found.append(range(start, end))
        start = end - overlap
    return [*found, range(start, length)]


def count_windows(length: int, size: int, overlap: int | None = None, most: int | None = None) -> tuple[int, int]:
    """Count the first ``most`` windows of ``windows``, where no sentence ends, and their tokens, without a list."""
    step = size - min(OVERLAP if overlap is None else overlap, size // 2)
    full = max(0, -(-(length - size) // step))  # all but the last
    if most is not None and most <= full:
        return most, most * size
    return full + 1, full * size + length - full * step


def sentence_ends(text: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """Find positions in a text's tokens behind which a sentence ends; ``offsets`` are the tokens' characters."""
    token_ends = [end for _, end in offsets]
    found = []
    for match in END.finditer(text):
        # The last of the tokens that end there: a character may be several.
        place = bisect_right(token_ends, match.end())
        if place and token_ends[place - 1] == match.end():
            found.append(place)
    return found


def span(offsets: Sequence[tuple[int, int]], window: range) -> Span:
    """Return the characters of a window, from its first token's first to its last token's last."""
    return Span(offsets[window.start][0], offsets[window.stop - 1][1])


def window_score(values: Sequence[float], options: ScoreOptions) -> tuple[float, int]:
    """Combine the scores of a document's windows into its own; return it with the window that won.

    One that is no finite number is the score: the network failed, and the best of the others would hide it.
    """
    for window, value in enumerate(values):
        if not math.isfinite(value):
            return value, window
    best = max(range(len(values)), key=values.__getitem__)
    match options.chunk_score:
        case "first":
            return values[0], 0
        case "mean":
            chosen = sorted(values, reverse=True)[: options.best_chunks]
            return math.fsum(chosen) / len(chosen), best
        case _:
            return values[best], best
