"""A cache of the model's outputs for pairs that were scored before."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from hashlib import sha256

from rerank_core.scorer import Output
from rerank_core.types import Encoding, Pair, ScoreOptions

_OVERHEAD = 600  # bytes of Python's objects beside their contents, about


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """The encoding of a pair, and the outputs of the model for it."""

    encoding: Encoding
    outputs: tuple[Output, ...]

    @property
    def size(self) -> int:
        """The approximate size in bytes."""
        texts = sum(len(sequence.token_ids) + len(sequence.type_ids) for sequence in self.encoding.sequences)
        return _OVERHEAD + texts + sum(getattr(output, "nbytes", sys.getsizeof(output)) for output in self.outputs)


class ScoreCache:
    """An LRU cache with exact keys. May be used from several threads.

    ``fingerprint``: identifies the model.
    """

    def __init__(self, max_bytes: int, fingerprint: str) -> None:
        self._max_bytes = max_bytes
        self._fingerprint = fingerprint
        self._entries: OrderedDict[bytes, CacheEntry] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0

    def __len__(self) -> int:
        """The number of pairs in the cache."""
        return len(self._entries)

    def keys(self, pairs: Sequence[Pair], options: ScoreOptions) -> list[bytes]:
        """The key of each pair: a hash of everything that its raw score depends on."""
        start = key_of(self._fingerprint, options)
        return [start(pair) for pair in pairs]

    def get(self, key: bytes, position: int) -> CacheEntry | None:
        """Look up an entry, with its encoding for the pair at this position of the request."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
        return CacheEntry(replace(entry.encoding, documents=(position,)), entry.outputs)

    def put(self, key: bytes, entry: CacheEntry) -> None:
        """Add an entry, and remove the least recently used ones where the cache is full."""
        if entry.size > self._max_bytes:
            return
        with self._lock:
            before = self._entries.pop(key, None)
            self.bytes += entry.size - (before.size if before else 0)
            self._entries[key] = entry
            while self.bytes > self._max_bytes:
                _, oldest = self._entries.popitem(last=False)
                self.bytes -= oldest.size


def key_of(fingerprint: str, options: ScoreOptions) -> Callable[[Pair], bytes]:
    """Make a function that hashes the model, the options that matter, and a pair; each with its length in front.

    The raw score does not depend on ``raw``, nor on how many documents are highlighted.
    """
    common = sha256()
    for part in (fingerprint, repr(astuple(replace(options, raw=False, highlight_top=None, highlight_threshold=None)))):
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
