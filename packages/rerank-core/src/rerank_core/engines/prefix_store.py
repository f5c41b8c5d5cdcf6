"""Keeps what an engine has computed of prefixes, such as keys and values, between the batches of a request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from rerank_core.types import SharedPrefix

Prefix: TypeAlias = tuple[SharedPrefix | None, bytes]
"""A prefix in a batch: what shares it with other batches of its request, if anything does, and its token ids."""


class Sized(Protocol):
    """Something that knows its memory."""

    @property
    def nbytes(self) -> int:
        """The memory in bytes."""
        ...


State = TypeVar("State", bound=Sized)


class _Kept(NamedTuple, Generic[State]):
    ids: bytes
    state: State
    nbytes: int


class PrefixStore(Generic[State]):
    """Keeps the state of a prefix as long as its ``SharedPrefix`` lives, and at most ``max_bytes`` of all.

    A state that alone is larger is kept where nothing else is: without it, each batch would compute a long prefix
    again. What does not fit is not kept, and is computed again for the next batch. Nothing has to make room: whatever
    is in the store is still waited for. Several threads may ask at once.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: WeakKeyDictionary[SharedPrefix, _Kept[State]] = WeakKeyDictionary()
        # ``nbytes`` iterates, and fails if another thread inserts meanwhile.
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """The number of prefixes in the store."""
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """The memory of all in bytes."""
        return sum(kept.nbytes for kept in self._kept.values())

    def states(
        self, prefixes: Iterable[Prefix], compute: Callable[[Sequence[bytes]], Sequence[State]]
    ) -> dict[Prefix, State]:
        """Return the states of the prefixes of a batch, each once; those not in the store are computed.

        A prefix of no tokens has no state. ``compute`` gets the token ids of several.
        """
        wanted = dict.fromkeys(prefix for prefix in prefixes if prefix[1])
        found = {prefix: state for prefix in wanted if (state := self._get(*prefix)) is not None}
        missing = [prefix for prefix in wanted if prefix not in found]
        if missing:
            states = compute([ids for _, ids in missing])
            found |= zip(missing, states, strict=True)
            with self._lock:
                room = self._max_bytes - self.nbytes
                for prefix, state in zip(missing, states, strict=True):
                    room -= self._put(*prefix, state, room)
        return found

    def clear(self) -> None:
        """Free all, such as where memory is short."""
        with self._lock:
            self._kept.clear()

    def _get(self, shared: SharedPrefix | None, ids: bytes) -> State | None:
        kept = self._kept.get(shared) if shared is not None else None
        return kept.state if kept is not None and kept.ids == ids else None

    def _put(self, shared: SharedPrefix | None, ids: bytes, state: State, room: int) -> int:
        """Keep a state that may be needed again, where it fits or is the only one. Returns the bytes that it takes."""
        nbytes = state.nbytes
        if shared is None or (nbytes > room and self._kept):
            return 0
        self._kept[shared] = _Kept(ids, state, nbytes)
        return nbytes
