"""Turns pairs into sequences by a prompt: fixed tokens around a query and a document.

A prompt is prepared once for each instruction. Its control tokens divide it into runs of plain text, and no tokenizer
looks beyond one of them, so each run is tokenised apart. A run with both texts is divided once more, at a place in the
fixed text between them where the tokenizer always divides words. So a query is tokenised once for all of its
documents, a document without its query, and both as if the whole prompt had been one text: what stands beside a text
in its run is tokenised with it, and may become one token with its first or last characters.

Where too much has to be read, tokens of the document are dropped; the query loses some only where it alone fills the
room. The prompt's own tokens all stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import count
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from rerank_core.checkpoints.prompt import Layout, Prompt, Slot
from rerank_core.errors import CheckpointError, InvalidRequest
from rerank_core.text.control_tokens import ControlTokens
from rerank_core.text.tokenizer import TextIds, TextTokenizer
from rerank_core.text.truncation import (
    length_read,
    pair_too_long,
    query_too_long,
    side_of,
    spans_read,
    too_many_windows,
    window_size,
    with_side,
)
from rerank_core.text.windows import query_room
from rerank_core.types import (
    Encoding,
    LongDocuments,
    Pair,
    ScoreOptions,
    Span,
    TokenSequence,
    Truncation,
    TruncationSide,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_INSTRUCTIONS = 64  # whose prepared prompts are kept
_LEAST_ROOM = 4  # tokens of text: a query has three quarters of them at most, and some document stands beside it
_UNLIMITED = 2**31
# Two texts that have no token in common, at their beginnings or at their ends.
_FILLERS = "0", "1 2 3 4"
_EXAMPLE = Pair("Where does a giant panda live?", "In China.\nIt eats bamboo: 2 + 2 = 4 times a day")
_EXAMPLE_INSTRUCTION = "Find the answer."


@dataclass(frozen=True, slots=True)
class Place:
    """A text's place in a prompt, with the fixed text that is tokenised with it.

    ``head`` and ``tail``: the tokens of ``before`` and ``after`` that no text between them changes. ``before_ids``:
    those of ``before`` alone.
    """

    slot: Slot
    before: str
    after: str
    head: tuple[int, ...]
    tail: tuple[int, ...]
    before_ids: tuple[int, ...]

    def text(self, text: str) -> str:
        """Return what is tokenised; ``text`` is as the slot has it."""
        return f"{self.before}{text}{self.after}"

    def cut(self, ids: Sequence[int], length: int, side: TruncationSide) -> Sequence[int]:
        """Keep so many tokens: all of the place's own, and the first of its text, or the last."""
        if side == "left":
            return [*self.head, *ids[max(0, len(ids) - max(0, length - len(self.head))) :]]
        return [*ids[: max(0, length - len(self.tail))], *self.tail]

    @property
    def own_tokens(self) -> int:
        """The number of tokens that are the prompt's, whatever the text is."""
        return len(self.head) + len(self.tail)

    def own_in(self, ids: Sequence[int]) -> int:
        """Count the prompt's own tokens in a filled place. A token that has a character of the text is not one."""
        return len(_common(self.before_ids, ids)) + len(self.tail)

    def capped(self, filled: TextIds, cap: int | None, side: TruncationSide) -> TextIds:
        """Keep ``cap`` tokens of a filled place's text, and the prompt's own ones.

        Where the text loses its beginning, only ``head`` and ``tail`` are the prompt's.
        """
        own = self.own_in(filled.ids)
        if cap is None or len(filled.ids) <= cap + own:
            return filled
        length = cap + (self.own_tokens if side == "left" else own)
        return replace(filled, ids=self.cut(filled.ids, length, side), is_cut=True)


@dataclass(frozen=True, slots=True)
class JointPlaces:
    """Two texts in one run, with no place between them where words are always divided."""

    before: str
    first: Slot
    between: str
    second: Slot
    after: str


Segment: TypeAlias = tuple[int, ...] | Place | JointPlaces


@dataclass(frozen=True, slots=True)
class FilledPrompt:
    """A prompt with its query: the tokens before the document's place, that place, and the tokens behind it."""

    front: Sequence[int]
    document: Place
    back: Sequence[int]
    is_cut: bool

    def length(self, document: int) -> int:
        """Count the tokens with those of a document's place."""
        return len(self.front) + document + len(self.back)


class PromptTokenizer:
    """Turns a pair into one sequence, the prompt with its query and document.

    ``shares_prefix``: each token of the network sees only those before it, so that what stands before the document is
    the same for all documents of a query. The tokenizer is changed: it looks for no control tokens from then on.
    """

    template: ClassVar[None] = None  # a prompt stands in its place

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt: Prompt,
        *,
        max_length: int,
        has_type_ids: bool,
        shares_prefix: bool,
        truncation: Truncation = "longest_first",
        long_documents: LongDocuments = "truncate",
        truncation_side: TruncationSide = "right",
        max_characters: int | None = None,
    ) -> None:
        """Prepare the prompt. Raises ``CheckpointError`` where the tokenizer does not fit it."""
        pieces = [piece for layout in prompt.layouts for piece in layout.pieces]
        fixed = "\n".join(part for piece in pieces for part in piece if isinstance(part, str))
        expected = [(layout, _example_ids(tokenizer, layout)) for layout in prompt.layouts]
        self._control = ControlTokens.of(tokenizer, fixed)
        self._text_ids = TextTokenizer(self._control.tokenizer, max_characters)
        self._prompt = prompt
        self._max_length = max_length
        self._has_type_ids = has_type_ids
        self._shares_prefix = shares_prefix
        self._truncation = truncation
        self._long_documents = long_documents
        self._truncation_side = truncation_side
        self._prepared = lru_cache(_INSTRUCTIONS)(self._prepare_readable)
        for layout, ids in expected:
            self._check(layout, ids)

    def __call__(self, pairs: Sequence[Pair], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        """Return one encoding per pair, numbered from ``first``. Raises ``InputTooLong`` and ``InvalidRequest``."""
        options = with_side(options, self._truncation_side)
        segments = self._prepared(*self._prompt.layout(options.instruction))
        room = self._room(segments, options)
        filled = {query: self._fill(segments, query, room, options) for query in {pair.query for pair in pairs}}
        shorter: dict[str, FilledPrompt] = {}  # beside a window there is room for three quarters of a query
        places = [(filled[pair.query].document, pair.document) for pair in pairs]
        encodings = []
        for index, (pair, ids) in enumerate(zip(pairs, self._place_ids(places, room, options), strict=True), first):
            prompt = filled[pair.query]
            fits = not ids.is_cut and prompt.length(len(ids.ids)) <= self._length_read(options)
            if options.windows(self._long_documents) and not fits:
                if pair.query not in shorter:
                    shorter[pair.query] = self._fill(segments, pair.query, room, options, beside_windows=True)
                encodings.append(self._encode_windows(index, pair.document, shorter[pair.query], options))
            else:
                encodings.append(self._encode(index, pair.document, prompt, ids, options))
        return encodings

    def _encode(self, index: int, document: str, prompt: FilledPrompt, ids: TextIds, options: ScoreOptions) -> Encoding:
        limit = self._length_read(options)
        if prompt.length(len(ids.ids)) > limit and not options.truncate:
            raise pair_too_long(index, prompt.length(len(ids.ids)), "its query and the prompt", limit)
        place, most, side = prompt.document, limit - prompt.length(0), side_of(options)
        capped = place.capped(ids, options.max_document_tokens, side)
        kept = place.cut(capped.ids, most, side) if len(capped.ids) > most else capped.ids
        is_cut = capped.is_cut or len(capped.ids) > most
        # All of the text before the document but ``head`` is lost with its beginning.
        own = place.own_tokens if is_cut and side == "left" else place.own_in(ids.ids)
        find_kept = partial(self._span_kept, document, prompt.document, len(kept) - own, options) if is_cut else None
        spans = spans_read(document, options, self._long_documents, find_kept)
        return Encoding((index,), (self._sequence(prompt, kept),), int(is_cut or prompt.is_cut), spans)

    def _span_kept(self, document: str, place: Place, kept: int, options: ScoreOptions) -> Span:
        """Find the characters of the ``kept`` tokens of a document that is cut."""
        start, end = self._text_ids.span_of_kept(place.slot.fill(document), kept, side_of(options))
        shift = place.slot.dropped(document)
        return _span_within(document, start + shift, end + shift)

    def _encode_windows(self, index: int, document: str, prompt: FilledPrompt, options: ScoreOptions) -> Encoding:
        """Lay the prompt around each window of a document, whose text is tokenised in its place."""
        place, limit = prompt.document, self._length_read(options)
        text, room = place.slot.fill(document), limit - prompt.length(0)
        size = window_size(limit, prompt.length(place.own_tokens), index)
        for attempt in count():
            windows = self._text_ids.windows_of(text, size, options)
            # The prompt has the space that stands before a word.
            parts = (text[start:end].lstrip(" ") if start else text[:end] for start, end in windows.spans)
            filled = [place.text(part) for part in parts]
            ids = self._text_ids(dict.fromkeys(filled), beside=len(place.text("")))
            # In its place a text may have a few tokens more: a space before it, or the rest of a word.
            excess = max(len(found.ids) for found in ids.values()) - room
            if excess <= 0 or size == 1:
                break
            # By more each time: few attempts, whatever the text is.
            size = max(1, size - (excess << attempt))
        if windows.loses and not options.truncate:
            raise too_many_windows(index, len(windows.found), limit, with_query=True)
        shift = place.slot.dropped(document)
        kept = (
            place.cut(found, room, "right") if len(found) > room else found for found in (ids[t].ids for t in filled)
        )
        return Encoding(
            (index,),
            tuple(self._sequence(prompt, found) for found in kept),
            truncated=int(windows.loses or windows.is_capped or prompt.is_cut),
            spans=tuple(_span_within(document, start + shift, end + shift) for start, end in windows.spans),
        )

    def _sequence(self, prompt: FilledPrompt, document: Sequence[int]) -> TokenSequence:
        ids = [*prompt.front, *document, *prompt.back]
        prefix = 0
        if self._shares_prefix:  # to the last boundary of tokens before the document's first character
            prefix = min(len(prompt.front) + len(_common(prompt.document.before_ids, document)), len(ids) - 1)
        return TokenSequence.of(ids, [0] * len(ids) if self._has_type_ids else [], prefix)

    def _place_ids(self, texts: Sequence[tuple[Place, str]], room: int, options: ScoreOptions) -> list[TextIds]:
        """Tokenise callers' texts in their places, each distinct one once: so much as is needed to fill the room.

        Where ``max_characters`` cuts a text, it does so before the prompt is around it.
        """
        side, limit = side_of(options), room + 1 if options.truncate else None
        whole = [place.slot.fill(text) for place, text in texts]
        parts = [self._text_ids.bounded(text, limit, side) for text in whole]
        filled = [place.text(part) for (place, _), part in zip(texts, parts, strict=True)]
        beside = max((len(place.text("")) for place, _ in texts), default=0)
        found = self._text_ids(dict.fromkeys(filled, limit), side, beside)
        return [
            found[text] if len(part) == len(given) else replace(found[text], is_cut=True)
            for text, part, given in zip(filled, parts, whole, strict=True)
        ]

    # ------------------------------------------------------------------------ the query

    def _fill(
        self,
        segments: Sequence[Segment],
        query: str,
        room: int,
        options: ScoreOptions,
        *,
        beside_windows: bool = False,
    ) -> FilledPrompt:
        """Lay the query into the prompt; cut it where it leaves no room for a document."""
        joint = next((segment for segment in segments if isinstance(segment, JointPlaces)), None)
        if joint is not None:
            return self._fill_joint(segments, joint, query, room, options, beside_windows=beside_windows)
        places = {segment.slot.name: segment for segment in segments if isinstance(segment, Place)}
        place, document = places["query"], places["document"]
        (whole,) = self._place_ids([(place, query)], room, options)
        found = place.capped(whole, options.max_query_tokens, side_of(options))
        least = document.own_tokens + 1
        if beside_windows:  # in which no token of the text before them is lost
            least = max(least, len(document.before_ids) + len(document.tail) + 1)
        own = place.own_tokens if side_of(options) == "left" else place.own_in(found.ids)
        most = self._query_limit(len(found.ids), own, room, room, least, options, beside_windows=beside_windows)
        is_cut = found.is_cut or len(found.ids) > most
        ids = tuple(place.cut(found.ids, most, side_of(options)) if len(found.ids) > most else found.ids)
        number = segments.index(document)
        filled = [ids if segment is place else segment for segment in segments]
        return FilledPrompt(_flat(filled[:number]), document, _flat(filled[number + 1 :]), is_cut)

    def _fill_joint(
        self,
        segments: Sequence[Segment],
        joint: JointPlaces,
        query: str,
        room: int,
        options: ScoreOptions,
        *,
        beside_windows: bool,
    ) -> FilledPrompt:
        """Make one text of the query and the fixed text around it, which is tokenised with each document."""
        slot = joint.first if joint.first.name == "query" else joint.second
        text = slot.fill(query)
        room -= self._joint_tokens(joint)
        found = self._text_ids({text: room + 1 if options.truncate else None}, side_of(options))[text]
        cap = room if options.max_query_tokens is None else min(room, options.max_query_tokens)
        most = self._query_limit(len(found.ids), 0, room, cap, 1, options, beside_windows=beside_windows)
        is_cut = found.is_cut or len(found.ids) > most
        if is_cut:
            start, end = self._text_ids.span_of_kept(text, most, side_of(options))
            text = text[start:end]
        if slot is joint.first:
            document = self._place(f"{joint.before}{text}{joint.between}", joint.second, joint.after)
        else:
            document = self._place(joint.before, joint.first, f"{joint.between}{text}{joint.after}")
        number = segments.index(joint)
        return FilledPrompt(_flat(segments[:number]), document, _flat(segments[number + 1 :]), is_cut)

    def _query_limit(
        self, length: int, own: int, room: int, cap: int, least: int, options: ScoreOptions, *, beside_windows: bool
    ) -> int:
        """Count the tokens of the query's place that may be kept: ``cap`` at most, and ``least`` for the document.

        ``own`` are the prompt's.
        """
        length = min(length, cap)
        fills_room = length + least > room
        if fills_room and (not options.truncate or (options.truncation or self._truncation) == "only_second"):
            raise query_too_long(f"{length} tokens or more", room)
        if not (fills_room or beside_windows or self._prompt.cuts_query):
            return cap
        most = min(max(query_room(length, room), own + 1), room - least)
        if length > most and not options.truncate:
            raise query_too_long(f"{length} tokens", most)
        return min(cap, most)

    # ------------------------------------------------------------------------ the prompt

    def _length_read(self, options: ScoreOptions) -> int:
        return length_read(self._max_length, options)

    def _room(self, segments: Sequence[Segment], options: ScoreOptions) -> int:
        """Count the tokens that are left for the places of texts. Raises ``InvalidRequest``."""
        wanted = self._length_read(options)
        fixed, own = len(_flat(segments)), 0
        for segment in segments:
            if isinstance(segment, Place):
                own += segment.own_tokens
            elif isinstance(segment, JointPlaces):
                own += self._joint_tokens(segment)
        if wanted < fixed + own + _LEAST_ROOM:
            least = f"max_length has to be {fixed + own + _LEAST_ROOM} or more"
            raise InvalidRequest(
                f"{wanted} tokens are read at once, and the prompt has {fixed + own} without a query and a document: "
                f"{f'shorten the instruction, or {least}' if options.instruction else least}",
                option="instruction" if options.instruction else "max_length",
            )
        return wanted - fixed

    def _joint_tokens(self, joint: JointPlaces) -> int:
        return sum(len(self._ids(text)) for text in (joint.before, joint.between, joint.after))

    def _prepare_readable(self, layout: Layout, instruction: str) -> tuple[Segment, ...]:
        """Prepare a prompt that leaves room for texts. Raises ``InvalidRequest`` for one that does not.

        An instruction that is too long costs no more than a text of that many tokens, and is not kept.
        """
        found = self._text_ids({instruction: self._max_length + 1})[instruction]
        if found.is_cut or len(found.ids) > self._max_length:
            raise InvalidRequest(
                f"the instruction has {len(instruction)} characters, more than fit into the {self._max_length} tokens "
                "that are read at once: shorten the instruction",
                option="instruction",
            )
        segments = self._prepare(layout, instruction)
        is_own = instruction == (self._prompt.instruction or "")
        self._room(segments, ScoreOptions(instruction=None if is_own else instruction))
        return segments

    def _prepare(self, layout: Layout, instruction: str) -> tuple[Segment, ...]:
        """Divide a prompt into fixed tokens and places. An instruction is a caller's text, as a query is."""
        segments: list[Segment] = []
        for piece in layout.pieces:
            run: list[str | Slot] = []
            for part in piece:
                if isinstance(part, Slot):
                    run.append(part.fill(instruction) if part.name == "instruction" else part)
                    continue
                for found in self._control.split(part):
                    if isinstance(found, int):
                        segments += [*self._divided(run), (found,)]
                        run = []
                    else:
                        run.append(found)
            segments += self._divided(run)
        return tuple(segment for segment in segments if segment)

    def _divided(self, run: Sequence[str | Slot]) -> Iterator[Segment]:
        """Divide a run of plain text, which has up to two places."""
        texts, slots = [""], []
        for part in run:
            if isinstance(part, Slot):
                slots.append(part)
                texts.append("")
            else:
                texts[-1] += part
        match slots:
            case [first, second]:
                middle = self._text_ids.last_cut(texts[1])
                if middle is None:
                    yield JointPlaces(texts[0], first, texts[1], second, texts[2])
                else:
                    yield from self._around(texts[0], first, texts[1][:middle])
                    yield from self._around(texts[1][middle:], second, texts[2])
            case [slot]:
                yield from self._around(texts[0], slot, texts[1])
            case _:
                yield tuple(self._ids(texts[0]))

    def _around(self, before: str, slot: Slot, after: str) -> Iterator[Segment]:
        """Leave with a place only the fixed text that the tokenizer may join to it.

        All of it where a rule counts it as a part of the query.
        """
        if self._prompt.cuts_query:
            yield self._place(before, slot, after)
            return
        start, end = self._text_ids.last_cut(before) or 0, self._text_ids.first_cut(after)
        end = len(after) if end is None else end
        yield tuple(self._ids(before[:start]))
        yield self._place(before[start:], slot, after[:end])
        yield tuple(self._ids(after[end:]))

    def _place(self, before: str, slot: Slot, after: str) -> Place:
        short, long = (self._ids(f"{before}{filler}{after}") for filler in _FILLERS)
        head = _common(short, long) if before else []
        tail = _common(short[::-1], long[::-1])[::-1] if after else []
        return Place(slot, before, after, tuple(head), tuple(tail), tuple(self._ids(before)))

    def _ids(self, text: str) -> Sequence[int]:
        return self._text_ids({text: None})[text].ids

    def _check(self, layout: Layout, expected: Sequence[int]) -> None:
        """Refuse a tokenizer that gives a prompt in parts other tokens than each of its pieces as one text."""
        options = ScoreOptions()
        filled = self._fill(self._prepare(layout, _EXAMPLE_INSTRUCTION), _EXAMPLE.query, _UNLIMITED, options)
        (document,) = self._place_ids([(filled.document, _EXAMPLE.document)], _UNLIMITED, options)
        found = [*filled.front, *document.ids, *filled.back]
        if found != list(expected):
            raise CheckpointError(
                "tokenizer.json gives a prompt other tokens in parts than as one text: its normaliser or its "
                "pre-tokenizer looks beyond control tokens, which is not supported"
            )


def _span_within(document: str, start: int, end: int) -> Span:
    """Leave out what stands in the place of a document and is none of its characters, such as a word for no text."""
    return Span(min(max(0, start), len(document)), min(end, len(document)))


def _example_ids(tokenizer: Tokenizer, layout: Layout) -> list[int]:
    """Tokenise each piece of an example as one text, as transformers does."""
    texts = layout.texts(_EXAMPLE.query, _EXAMPLE.document, _EXAMPLE_INSTRUCTION)
    return [number for text in texts for number in tokenizer.encode(text, add_special_tokens=False).ids]


def _flat(segments: Sequence[Segment]) -> list[int]:
    """Join fixed tokens; places have none yet."""
    return [number for segment in segments if isinstance(segment, tuple) for number in segment]


def _common(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """Return what two sequences of tokens have in common at their beginnings."""
    length = next((place for place, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    return list(first[: min(len(first), len(second)) if length is None else length])
