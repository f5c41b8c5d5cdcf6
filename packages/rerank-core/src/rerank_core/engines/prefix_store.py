"""Keeps what an engine has computed of prefixes, such as keys and values, between the batches of a request."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from rerank_core.engines.base import PrefixGroup
from rerank_core.types import SharedPrefix


class Sized(Protocol):
    """Something that knows its size."""

    @property
    def nbytes(self) -> int:
        """The bytes that it keeps from being freed."""
        ...


State = TypeVar("State", bound=Sized)


class PrefixStore(Generic[State]):
    """Keeps the state of a prefix as long as its ``SharedPrefix`` lives, and at most ``max_bytes`` of all.

    What does not fit is not kept, and computed again for the next batch. Nothing gives way to it: everything in the
    store is still waited for.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: WeakKeyDictionary[SharedPrefix, tuple[bytes, State]] = WeakKeyDictionary()

    def __len__(self) -> int:
        """The number of prefixes in the store."""
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """The bytes in the store."""
        return sum(state.nbytes for _, state in self._kept.values())

    def get(self, group: PrefixGroup) -> State | None:
        """Return the state of a group's prefix, where it is kept."""
        if group.shared is None:
            return None
        ids, state = self._kept.get(group.shared, (b"", None))
        return state if ids == group.token_ids.tobytes() else None

    def put(self, group: PrefixGroup, state: State) -> None:
        """Keep the state of a group's prefix, if it may be needed again and there is room."""
        if group.shared is not None and self.nbytes + state.nbytes <= self._max_bytes:
            self._kept[group.shared] = group.token_ids.tobytes(), state

    def clear(self) -> None:
        """Free all, such as where memory is short."""
        self._kept.clear()
