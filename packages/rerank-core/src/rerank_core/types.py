"""The types that all packages share: plain, frozen data. No I/O, no tensors, no web."""

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, overload

from rerank_core.deprecation import renamed
from rerank_core.errors import InvalidRequest
from rerank_core.valid_text import check_text

Truncation: TypeAlias = Literal["longest_first", "only_second"]
TruncationSide: TypeAlias = Literal["right", "left"]
LongDocuments: TypeAlias = Literal["truncate", "chunk"]
ChunkScore: TypeAlias = Literal["max", "first", "mean"]
Highlight: TypeAlias = Literal["sentences"]
Kind: TypeAlias = Literal["cross-encoder", "bi-encoder", "language-model"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "truncation": ("longest_first", "only_second"),
    "truncation_side": ("right", "left"),
    "long_documents": ("truncate", "chunk"),
    "chunk_score": ("max", "first", "mean"),
    "highlight": ("sentences",),
}
_MAY_BE_NONE = {"truncation", "truncation_side", "long_documents", "highlight"}
_LEAST = {
    "max_length": 1,
    "max_query_tokens": 1,
    "max_document_tokens": 1,
    "overlap_tokens": 0,
    "max_chunks": 1,
    "best_chunks": 1,
    "highlight_top": 1,
}
_SHOWN = 3  # scores, in a repr
_SHOWN_CHARACTERS = 60  # of a document


class Pair(NamedTuple):
    """One query beside one document."""

    query: str
    document: str


class Calibration(NamedTuple):
    """The two numbers that turn a raw score into a probability: sigmoid(a * raw + b)."""

    a: float
    b: float


class Span(NamedTuple):
    """A part of a document: characters ``start`` to ``end`` (not included) of the caller's string."""

    start: int
    end: int


class Sentence(NamedTuple):
    """A sentence of a document: characters ``start`` to ``end`` (not included) of the caller's string, and its score.

    The score is the one that the sentence would have as a document of its own, on the scale of the documents' scores.
    """

    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """The options of a request: everything that may change a score, and what else to find.

    - ``raw``: the network's own number instead of one in [0, 1].
    - ``highlight``: ``sentences`` also finds the best sentences of each document, by scoring all sentences of the part
      that the model read (of the best window, where there are several). It changes no score, and needs a model that
      scores documents one by one.
    - ``highlight_top``: do so for this many of the best documents only; None: for all.
    - ``highlight_threshold``: do so only for documents that score at least this, on the scale of the scores.
    - ``truncate``: cut what is longer than the model reads; otherwise it is an ``InputTooLong``.
    - ``truncation``: what to cut, ``longest_first`` or ``only_second`` (the query stays whole); None: as loaded.
    - ``truncation_side``: the side where tokens are dropped; None: the checkpoint's own, which nearly always is right.
    - ``max_length``: read no more tokens at once than this, special tokens counted: of a pair for a cross-encoder, of
      each text for a bi-encoder; None: what the model reads, and never more.
    - ``max_query_tokens``, ``max_document_tokens``: cut each text to so many tokens first, special tokens not counted.
    - ``long_documents``: what becomes of a document longer than the model's window: ``truncate`` cuts it, ``chunk``
      scores all of it, in windows that overlap, with the query whole in each. A shorter one scores the same in both.
      None: ``chunk`` where ``overlap_tokens`` or ``max_chunks`` is given, else as loaded.
    - ``overlap_tokens``: how many tokens two windows share, at most half of one; None: 64.
    - ``max_chunks``: read no more than so many windows of a document; None: all.
    - ``chunk_score``: a document's score is its best window's (``max``), the ``first``'s, or the ``mean`` of its
      ``best_chunks`` best.
    - ``instruction``: what the query asks for, in words, for a model that takes one (``ModelInfo.takes_instruction``);
      other models refuse it. None: the default of the model. An empty string is not the default: docs/models.md says
      what the prompt then is.

    Raises ``InvalidRequest`` for a value that is none of these.
    """

    raw: bool = False
    highlight: Highlight | None = None
    highlight_top: int | None = None
    highlight_threshold: float | None = None
    truncate: bool = True
    truncation: Truncation | None = None
    truncation_side: TruncationSide | None = None
    max_length: int | None = None
    max_query_tokens: int | None = None
    max_document_tokens: int | None = None
    long_documents: LongDocuments | None = None
    overlap_tokens: int | None = None
    max_chunks: int | None = None
    chunk_score: ChunkScore = "max"
    best_chunks: int = 3
    instruction: str | None = None

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed and not (value is None and name in _MAY_BE_NONE):
                raise InvalidRequest(f"{name} is {value!r}: use one of {', '.join(allowed)}")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise InvalidRequest(f"{name} is {value}: use at least {least}")
        if self.highlight_threshold is not None and math.isnan(self.highlight_threshold):
            raise InvalidRequest("highlight_threshold is not a number")
        if self.instruction is not None:
            check_text(self.instruction, "the instruction")

    def windows(self, as_loaded: LongDocuments) -> bool:
        """Return whether long documents are scored in windows; ``as_loaded`` holds where the options do not say."""
        if self.long_documents is not None:
            return self.long_documents == "chunk"
        return as_loaded == "chunk" or self.overlap_tokens is not None or self.max_chunks is not None

    def highlighting(self, top_n: int | None, threshold: float | None = None) -> "ScoreOptions":
        """Return the options for a caller who uses the ``top_n`` best documents only: no other is highlighted.

        With a ``threshold`` the caller uses those that score at least as much.
        """
        if self.highlight is None:
            return self
        return replace(
            self,
            highlight_top=top_n if self.highlight_top is None else self.highlight_top,
            highlight_threshold=threshold if self.highlight_threshold is None else self.highlight_threshold,
        )

    def most_windows(self) -> int | None:
        """Return how many windows of a document are read at most; None: all."""
        return 1 if self.chunk_score == "first" else self.max_chunks


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """The tokens that the network reads at once.

    ``token_ids`` and ``type_ids`` hold one int32 a token, in this machine's byte order: compact, hashable, and read
    without a copy by ``numpy.frombuffer``. ``type_ids`` is empty for a model that has no token types. ``prefix``: the
    number of first tokens that other documents of the query share, so that an engine may compute them once; its own
    pair alone decides it. Two sequences of the same tokens with different prefixes are different: the prefix decides
    how an engine sums up, and so the last bits of its output.
    """

    token_ids: bytes
    type_ids: bytes = b""
    prefix: int = 0

    @classmethod
    def of(cls, token_ids: Iterable[int], type_ids: Iterable[int] = (), prefix: int = 0) -> "TokenSequence":
        """Pack numbers."""
        return cls(array("i", token_ids).tobytes(), array("i", type_ids).tobytes(), prefix)

    def __len__(self) -> int:
        """The number of its tokens."""
        return len(self.token_ids) // 4

    @property
    def prefix_ids(self) -> bytes:
        """The token ids of its prefix."""
        return self.token_ids[: 4 * self.prefix]


class SharedPrefix:
    """The prefix that sequences of one query share in one request.

    Whoever has such sequences left to compute holds the object. While it lives, an engine may keep what it has computed
    of the prefix, and no longer: so there is nothing to release. It is equal to itself only, and no two requests have
    the same one.
    """

    __slots__ = ("__weakref__",)


@dataclass(frozen=True, slots=True)
class Encoding:
    """Documents beside their query, as the network will read them.

    ``documents`` are positions in the request: one, or several where a model reads a list at once. A cross-encoder
    reads one sequence, query and document together; a bi-encoder two, the query and the document. A long document may
    have more, one for each of its windows. ``truncated`` counts the documents that were cut. ``spans``, where set, says
    which part of the document each sequence holds; nothing of it is ``Span(0, 0)``.
    """

    documents: tuple[int, ...]
    sequences: tuple[TokenSequence, ...]
    truncated: int = 0
    spans: tuple[Span, ...] | None = None


class Scored(NamedTuple):
    """A document's raw score, and the part of the document that it comes from, where known."""

    raw: float
    span: Span | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The cost of a request.

    ``tokens`` the model really read, special tokens included, each distinct sequence once and as a whole: also where
    sequences share a prefix that is computed once, so that the number is the same on every engine. ``truncated`` counts
    the pairs that were cut.
    """

    pairs: int
    tokens: int
    truncated: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Scores(Sequence[float]):
    """One finite score per document, in the order the documents came: a sequence of floats, which are ``values``.

    ``raw_values``, where set, are the network's own numbers, which still differ where ``values`` have all become 1.0 or
    0.0. ``spans``, where set, says which part of each document its score comes from. ``sentences``, where they were
    asked for (``ScoreOptions.highlight``), are the best sentences of each document, best first; None for a document
    that was not highlighted.
    """

    values: tuple[float, ...]
    model: str
    usage: Usage
    raw_values: tuple[float, ...] | None = field(default=None, compare=False)  # not known on every road
    spans: tuple[Span | None, ...] | None = None
    sentences: tuple[tuple[Sentence, ...] | None, ...] | None = None

    def __len__(self) -> int:
        """The number of documents."""
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> float: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[float, ...]: ...

    def __getitem__(self, index: int | slice) -> float | tuple[float, ...]:
        """The score of one document, or those of several as a tuple."""
        return self.values[index]

    def __iter__(self) -> Iterator[float]:
        """The scores, in the order of the documents."""
        return iter(self.values)

    def __repr__(self) -> str:
        """The first scores, the model and the usage."""
        shown = [f"{value:.4g}" for value in self.values[:_SHOWN]]
        if len(self) > _SHOWN:
            shown.append(f"... {len(self) - _SHOWN} more")
        return (
            f"Scores([{', '.join(shown)}], model={self.model!r}, "
            f"tokens={self.usage.tokens}, truncated={self.usage.truncated})"
        )


@dataclass(frozen=True, slots=True, repr=False)
class RankedDocument:
    """A document's position in the request, its score, and the part of it that won, where known.

    ``document`` is its text, where known. ``sentences`` are its best, best first, where they were asked for.
    """

    index: int
    score: float
    span: Span | None = None
    sentences: tuple[Sentence, ...] | None = None
    document: str | None = field(default=None, compare=False)  # the position says which one it is

    def __repr__(self) -> str:
        """All that is known of it; a long text is shortened."""
        text = self.document
        if text is not None and len(text) > _SHOWN_CHARACTERS:
            text = f"{text[: _SHOWN_CHARACTERS - 3]}..."
        known = {"span": self.span, "sentences": self.sentences, "document": text}
        shown = [f", {name}={value!r}" for name, value in known.items() if value is not None]
        return f"RankedDocument(index={self.index}, score={self.score:.4g}{''.join(shown)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A description of the model, and of how it runs here.

    ``engine_reason`` says why this engine was chosen. ``max_length`` is in tokens: of a pair for a cross-encoder, of
    each text for a bi-encoder. ``raw_score`` says which number the raw score is. ``truncation_side`` is where texts are
    cut where a request does not say. ``activation`` is what the checkpoint itself would apply: reported, never used.
    ``long_documents`` is what becomes of one where a request does not say; with a ``calibration`` that takes the
    sigmoid's place. ``languages`` are those that the model card names, as codes such as ``en``. ``takes_instruction``:
    whether a request may have an instruction; ``instruction`` is the one that is used where a request has none.
    ``recipe`` names where the prompt of a language model comes from, and ``example_prompt`` is that of an example.
    """

    name: str
    revision: str | None = None
    kind: Kind = "cross-encoder"
    engine: str
    engine_reason: str = ""
    device: str
    dtype: str
    max_length: int
    raw_score: str = "logit"
    truncation_side: TruncationSide = "right"
    activation: str | None = None
    long_documents: LongDocuments = "truncate"
    calibration: Calibration | None = None
    languages: tuple[str, ...] = ()
    takes_instruction: bool = False
    instruction: str | None = None
    recipe: str | None = None
    example_prompt: str | None = None

    @property
    def title(self) -> str:
        """The name, and the kind where that is not a cross-encoder."""
        return self.name if self.kind == "cross-encoder" else f"{self.kind}, {self.name}"


if not TYPE_CHECKING:  # a type checker would believe in every name

    def __getattr__(name: str) -> Any:
        return renamed(__name__, name, {"Segment": TokenSequence})
