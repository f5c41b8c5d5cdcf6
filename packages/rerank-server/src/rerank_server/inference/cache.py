"""Scores of pairs that were scored before."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from hashlib import sha256

from rerank_core.scorer import Output
from rerank_core.types import Encoding, Pair, ScoreOptions

_OVERHEAD = 600  # bytes that Python's objects take beside their contents, about


@dataclass(frozen=True, slots=True)
class Known:
    """A pair as the network read it, and what it said."""

    encoding: Encoding
    outputs: tuple[Output, ...]

    @property
    def size(self) -> int:
        """Bytes, about."""
        texts = sum(len(segment.token_ids) + len(segment.type_ids) for segment in self.encoding.segments)
        return _OVERHEAD + texts + sum(getattr(output, "nbytes", sys.getsizeof(output)) for output in self.outputs)


class ScoreCache:
    """Exact hits only, the least recently used leave first. May be used from several threads.

    ``fingerprint``: what tells the model from every other.
    """

    def __init__(self, max_bytes: int, fingerprint: str) -> None:
        self._max_bytes = max_bytes
        self._fingerprint = fingerprint
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0

    def __len__(self) -> int:
        """How many pairs are known."""
        return len(self._known)

    def keys(self, pairs: Sequence[Pair], options: ScoreOptions) -> list[bytes]:
        """What each pair is known by: a hash of all that decides its raw score."""
        start = key_of(self._fingerprint, options)
        return [start(pair) for pair in pairs]

    def get(self, key: bytes, pair: int) -> Known | None:
        """What is known, as of the pair at that position."""
        with self._lock:
            known = self._known.get(key)
            if known is None:
                return None
            self._known.move_to_end(key)
        return Known(replace(known.encoding, pair=pair), known.outputs)

    def put(self, key: bytes, known: Known) -> None:
        """Know a pair from now on, until others need the room."""
        if known.size > self._max_bytes:
            return
        with self._lock:
            before = self._known.pop(key, None)
            self.bytes += known.size - (before.size if before else 0)
            self._known[key] = known
            while self.bytes > self._max_bytes:
                _, oldest = self._known.popitem(last=False)
                self.bytes -= oldest.size


def key_of(fingerprint: str, options: ScoreOptions) -> Callable[[Pair], bytes]:
    """A hash of the model, the options but for ``raw``, and a pair; each part with its length, so none runs over."""
    common = sha256()
    for part in (fingerprint, repr(astuple(replace(options, raw=False)))):
        common.update(_framed(part))

    def key(pair: Pair) -> bytes:
        own = common.copy()
        own.update(_framed(pair.query))
        own.update(_framed(pair.document))
        return own.digest()

    return key


def _framed(text: str) -> bytes:
    content = text.encode()
    return len(content).to_bytes(8, "little") + content
