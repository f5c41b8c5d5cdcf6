"""How much work may be in the server at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rerank_core.errors import Overloaded, TooManyDocuments
from rerank_core.text.windows import query_room, windows
from rerank_core.types import ModelInfo, Pair, ScoreOptions

_TOKENS_PER_CHARACTER = 0.3  # a guess until the text is tokenised: English has about 0.25, Chinese 0.7
_SPECIAL = 4  # tokens around two texts
_UNKNOWN = 5.0  # seconds to wait where nothing was measured yet
_LONGEST = 600.0


def estimated_tokens(
    pairs: Sequence[Pair], info: ModelInfo, options: ScoreOptions, max_characters: int | None = None
) -> int:
    """How many tokens pairs may have, from their characters; those of a long document's windows together.

    What will be cut is not counted: beyond the caps, the model's length, and ``max_characters`` of a document that is
    read in windows.
    """
    max_length = min(info.max_length, options.max_length or info.max_length)
    if options.windows(info.long_documents):
        most = max_characters if options.truncate else None
        return sum(_window_tokens(pair, max_length, options, most) for pair in pairs)
    most = max(0, max_length - _SPECIAL)
    return sum(
        _SPECIAL
        + math.ceil(
            min(
                most,
                _tokens(pair.query, options.max_query_tokens) + _tokens(pair.document, options.max_document_tokens),
            )
        )
        for pair in pairs
    )


def _tokens(text: str, cap: int | None, max_characters: int | None = None) -> float:
    length = len(text) if max_characters is None else min(max_characters, len(text))
    tokens = _TOKENS_PER_CHARACTER * length
    return tokens if cap is None else min(cap, tokens)


def _window_tokens(pair: Pair, max_length: int, options: ScoreOptions, max_characters: int | None) -> int:
    """As many windows as there may be, and all of them full but the last."""
    room = max(4, max_length - _SPECIAL)
    query = query_room(math.ceil(_tokens(pair.query, options.max_query_tokens)), room)
    document = math.ceil(_tokens(pair.document, options.max_document_tokens, max_characters))
    if query + document <= room:
        return query + document + _SPECIAL
    wanted = 1 if options.chunk_score == "first" else options.max_chunks
    found = windows(document, room - query, options.overlap_tokens)[:wanted]
    return sum(len(window) + query + _SPECIAL for window in found)


@dataclass(slots=True, eq=False)
class Hold:
    """The room that one request has: ``tokens`` are estimated at first, and counted once they are known."""

    pairs: int
    tokens: int


class Admission:
    """Takes whole requests or refuses them, before any work is done.

    ``tokens_per_second`` is the measured rate, None before there is one; ``waiting_tokens`` are those that wait for the
    network, or to be tokenised; ``seconds_left`` is when each hold is expected to end, None where nobody can say. They
    are asked when somebody is refused. What was admitted may always finish: a correction never turns it
    out, it only keeps the next one waiting.
    """

    def __init__(
        self,
        *,
        max_pairs: int,
        max_tokens: int,
        tokens_per_second: Callable[[], float | None],
        waiting_tokens: Callable[[], int],
        seconds_left: Callable[[], Mapping[Hold, float] | None],
    ) -> None:
        self.max_pairs = max_pairs
        self.max_tokens = max_tokens
        self._rate = tokens_per_second
        self._waiting_tokens = waiting_tokens
        self._seconds_left = seconds_left
        self._holds: set[Hold] = set()
        self.admitted = 0
        """How many requests were let in so far."""

    @property
    def pairs(self) -> int:
        """Of all requests in the server."""
        return sum(hold.pairs for hold in self._holds)

    @property
    def tokens(self) -> int:
        """Of all requests in the server."""
        return sum(hold.tokens for hold in self._holds)

    @contextmanager
    def hold(self, pairs: int, tokens: int, *, seconds: float) -> Iterator[Hold]:
        """Room for one request, which has so many ``seconds``.

        Raises ``TooManyDocuments`` for what the server can never hold, and ``Overloaded``, with the time after which
        there should be room, for what it cannot hold now, or could not finish in time.
        """
        self._check_size(pairs, tokens)
        held_pairs, held_tokens = self.pairs, self.tokens
        if held_pairs + pairs > self.max_pairs or held_tokens + tokens > self.max_tokens:
            raise Overloaded(
                f"the server holds {held_pairs} of {self.max_pairs} pairs, {held_tokens} of {self.max_tokens} tokens: "
                f"no room for {pairs} pairs of about {tokens} tokens; try again later, or send fewer at once",
                retry_after=self._seconds_until_room(pairs, tokens),
            )
        wait = self._seconds_ahead(tokens)
        if wait > seconds:
            raise Overloaded(
                f"{pairs} pairs would wait about {wait:.0f} s, longer than the {seconds:g} s that the request has: "
                "try again later, or send fewer at once",
                retry_after=min(_LONGEST, wait - seconds + 1),
            )
        held = Hold(pairs, tokens)
        self._holds.add(held)
        self.admitted += 1
        try:
            yield held
        finally:
            self._holds.discard(held)

    def _check_size(self, pairs: int, tokens: int) -> None:
        if pairs > self.max_pairs:
            raise TooManyDocuments(
                f"the request has {pairs} pairs, the server holds {self.max_pairs}: "
                "send several requests (the limit is RERANK_MAX_QUEUE_PAIRS)"
            )
        if tokens > self.max_tokens:
            raise TooManyDocuments(
                f"the request has about {tokens} tokens, the server holds {self.max_tokens}: "
                "send several requests (the limit is RERANK_MAX_QUEUE_TOKENS)"
            )

    def _seconds_ahead(self, tokens: int) -> float:
        """At least so long a request of ``tokens`` waits: nobody is overtaken by more than a request's own work."""
        rate = self._rate()
        if not rate:
            return 0.0
        return min(self._waiting_tokens(), sum(min(hold.tokens, tokens) for hold in self._holds)) / rate

    def _seconds_until_room(self, pairs: int, tokens: int) -> float:
        """Room comes back when whole requests end, in the order that is expected."""
        seconds_left = self._seconds_left()
        if seconds_left is None:
            return _UNKNOWN
        room_pairs, room_tokens, wait = self.max_pairs - self.pairs, self.max_tokens - self.tokens, 0.0
        for hold in sorted(self._holds, key=lambda hold: seconds_left.get(hold, 0.0)):
            if room_pairs >= pairs and room_tokens >= tokens:
                break
            room_pairs += hold.pairs
            room_tokens += hold.tokens
            wait = seconds_left.get(hold, 0.0)
        return min(_LONGEST, max(1.0, wait))
