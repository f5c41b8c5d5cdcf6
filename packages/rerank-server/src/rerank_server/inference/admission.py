"""Admission control: a limit on the pairs and the tokens of all requests in the server."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from rerank_core.errors import Overloaded, TooManyDocuments
from rerank_core.inputs import instruction_of
from rerank_core.models.batching import price
from rerank_core.scorer import StepwiseModel
from rerank_core.text.sentences import MOST
from rerank_core.text.windows import count_windows, query_room
from rerank_core.types import ModelInfo, Pair, ScoreOptions

_TOKENS_PER_CHARACTER = 0.3  # a guess until the text is tokenised: English has about 0.25, Chinese 0.7
_SPECIAL = 4  # tokens around two texts
_SENTENCE = 25  # tokens of a sentence
_UNKNOWN = 5.0  # seconds to wait, while nothing is measured yet
_LONGEST = 600.0


class PromptTokens(NamedTuple):
    """The tokens of a sequence beside its two texts: ``own``, and those of its ``prefix``.

    The prefix counts once for all documents of a query, and with ``has_query`` so does the query.
    """

    own: int = _SPECIAL
    prefix: int = 0
    has_query: bool = False


def prompt_tokens(model: StepwiseModel) -> PromptTokens:
    """Count the tokens around two texts, as the model's engine computes them, without those of an instruction."""
    options = ScoreOptions(instruction="" if model.info.takes_instruction else None)
    (empty,), (asked,) = (model.encode(query, [""], options) for query in ("", "Is it warm?"))
    prices = [price(sequence, model.cost) for sequence in empty.sequences]
    prefix = sum(each.prefix for each in prices)
    has_query = sum(price(sequence, model.cost).prefix for sequence in asked.sequences) > prefix
    return PromptTokens(sum(each.own for each in prices), prefix, has_query)


def estimated_tokens(
    pairs: Sequence[Pair],
    info: ModelInfo,
    options: ScoreOptions,
    max_characters: int | None = None,
    prompt: PromptTokens = PromptTokens(),
) -> int:
    """Estimate the number of tokens of pairs from their characters; that of a long document is the sum of its windows.

    Tokens that will be truncated are not counted: those beyond the maximums of the options and of the model, and beyond
    ``max_characters`` of a document that is read in windows. An instruction is read with every query.
    """
    max_length = min(info.max_length, options.max_length or info.max_length)
    room = max_length - prompt.own - prompt.prefix
    windowed = options.windows(info.long_documents)
    most = max_characters if windowed and options.truncate else None
    instruction = _tokens(instruction_of(options, info) or "", None)
    total, queries = 0, set[str]()
    for pair in pairs:
        query = instruction + _tokens(pair.query, options.max_query_tokens)
        document = _tokens(pair.document, options.max_document_tokens, most)
        first, count, own = (
            _window_tokens(query, document, room, options) if windowed else _pair_tokens(query, document, room)
        )
        once = prompt.prefix + (first if prompt.has_query else 0)
        each = prompt.own + (0 if prompt.has_query else first)
        total += count * each + own
        if pair.query not in queries:
            queries.add(pair.query)
            total += once
    return total


def estimated_sentence_tokens(
    pairs: Sequence[Pair],
    info: ModelInfo,
    options: ScoreOptions,
    prompt: PromptTokens = PromptTokens(),
) -> int:
    """Estimate the tokens of the sentences that are scored to highlight documents: none where nobody asks for it.

    Each sentence is read beside the query; together they are the part of the document that the model reads at once.
    What all documents of a query share is counted with the documents themselves.
    """
    if options.highlight is None or not pairs:
        return 0
    max_length = min(info.max_length, options.max_length or info.max_length)
    instruction = _tokens(instruction_of(options, info) or "", None)
    tokens = 0.0
    for pair in pairs:
        document = min(max_length, _tokens(pair.document, options.max_document_tokens))
        sentences = min(MOST, 1 + document // _SENTENCE)
        query = min(max_length, instruction + _tokens(pair.query, options.max_query_tokens))
        tokens += document + sentences * (prompt.own + (0 if prompt.has_query else query))
    return math.ceil(tokens * min(1.0, (options.highlight_top or len(pairs)) / len(pairs)))


def _tokens(text: str, cap: int | None, max_characters: int | None = None) -> float:
    length = len(text) if max_characters is None else min(max_characters, len(text))
    tokens = _TOKENS_PER_CHARACTER * length
    return tokens if cap is None else min(cap, tokens)


def _pair_tokens(query: float, document: float, room: int) -> tuple[int, int, int]:
    """Estimate the tokens of the query, and those of the one document, where ``room`` is the most of both."""
    both = math.ceil(min(max(0, room), query + document))
    first = min(both, math.ceil(query))
    return first, 1, both - first


def _window_tokens(query: float, document: float, room: int, options: ScoreOptions) -> tuple[int, int, int]:
    """Estimate the tokens of the query, the number of a document's windows, and the tokens of all of these."""
    room = max(4, room)
    first, length = query_room(math.ceil(query), room), math.ceil(document)
    if first + length <= room:
        return first, 1, length
    return first, *count_windows(length, room - first, options.overlap_tokens, options.most_windows())


@dataclass(slots=True, eq=False)
class Reservation:
    """The pairs and tokens of one admitted request. ``tokens`` is an estimate until the texts are tokenized."""

    pairs: int
    tokens: int


class Admission:
    """Admits or refuses whole requests, before any work is done.

    ``tokens_per_second`` gives the measured rate, None before there is one; ``waiting_tokens`` the tokens that wait for
    the model or the tokenizer; ``seconds_left`` the estimated end of each reservation, None where there is no estimate.
    A request that was admitted is never refused later: a corrected number of tokens only affects the next ones.
    """

    def __init__(
        self,
        *,
        max_pairs: int,
        max_tokens: int,
        tokens_per_second: Callable[[], float | None],
        waiting_tokens: Callable[[], int],
        seconds_left: Callable[[], Mapping[Reservation, float] | None],
    ) -> None:
        self.max_pairs = max_pairs
        self.max_tokens = max_tokens
        self._rate = tokens_per_second
        self._waiting_tokens = waiting_tokens
        self._seconds_left = seconds_left
        self._reservations: set[Reservation] = set()
        self.admitted = 0
        """The number of requests that were admitted so far."""

    @property
    def pairs(self) -> int:
        """The pairs of all requests in the server."""
        return sum(reservation.pairs for reservation in self._reservations)

    @property
    def tokens(self) -> int:
        """The tokens of all requests in the server."""
        return sum(reservation.tokens for reservation in self._reservations)

    @contextmanager
    def reserve(self, pairs: int, tokens: int, *, seconds: float) -> Iterator[Reservation]:
        """Reserve room for one request with a timeout of ``seconds``, until the end of the context.

        Raises ``TooManyDocuments`` for a request that the server can never hold, and ``Overloaded``, with the time
        after which there should be room, for one that it cannot hold now or could not finish in time.
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
        reservation = Reservation(pairs, tokens)
        self._reservations.add(reservation)
        self.admitted += 1
        try:
            yield reservation
        finally:
            self._reservations.discard(reservation)

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
        """A lower bound of the waiting time of a request: it is overtaken by no more than its own work."""
        rate = self._rate()
        if not rate:
            return 0.0
        return (
            min(self._waiting_tokens(), sum(min(reservation.tokens, tokens) for reservation in self._reservations))
            / rate
        )

    def _seconds_until_room(self, pairs: int, tokens: int) -> float:
        """Estimate the seconds until there is room: requests end in the order of the forecast."""
        seconds_left = self._seconds_left()
        if seconds_left is None:
            return _UNKNOWN
        room_pairs, room_tokens, wait = self.max_pairs - self.pairs, self.max_tokens - self.tokens, 0.0
        for reservation in sorted(self._reservations, key=lambda reservation: seconds_left.get(reservation, 0.0)):
            if room_pairs >= pairs and room_tokens >= tokens:
                break
            room_pairs += reservation.pairs
            room_tokens += reservation.tokens
            wait = seconds_left.get(reservation, 0.0)
        return min(_LONGEST, max(1.0, wait))
