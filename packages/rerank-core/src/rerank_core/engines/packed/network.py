"""A network and its head, as the workers of the packed engine run them: some sequences of a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rerank_core.engines.base import Batch
from rerank_core.engines.packed.decoder import Decoder
from rerank_core.engines.packed.device_classes import class_of
from rerank_core.engines.packed.encoder import Encoder, PackedSequences
from rerank_core.engines.packed.graphs import PassGraphs, pinned
from rerank_core.engines.packed.heads import Head, first_token, last_token, rightmost
from rerank_core.engines.packed.last_attention import WholeAttention
from rerank_core.engines.packed.ops.attention import Bounds
from rerank_core.engines.packed.ops.linear import Linear
from rerank_core.engines.packed.ops.varlen import VarlenAttention
from rerank_core.engines.packed.prefixes import PrefixKeysValues
from rerank_core.engines.packed.quantization.quantize import ObservedLinear, quantize

# The fewest tokens of a prefix that is computed once: fewer save less than a pass of their own takes.
LEAST_PREFIX = 16


class Network(Protocol):
    """Computes rows in two steps: the prefixes that sequences share, then each sequence behind its own."""

    @property
    def hidden(self) -> int:
        """The width of the hidden states."""
        ...

    @property
    def token_bytes(self) -> int:
        """The memory of a prefix's keys and values, in bytes a token."""
        ...

    def prefix_length(self, length: int, prefix: int) -> int:
        """Return how many first tokens are computed once for all sequences that begin with them, by the two lengths."""
        ...

    def prefixes(self, batch: Batch) -> list[bytes]:
        """Return the token ids of each sequence's prefix; b"": nothing of it is shared."""
        ...

    def quantized(self, calibration: Batch, make: Callable[[ObservedLinear], Linear]) -> Self:
        """Return the network with products of fewer bits, see ``quantize``."""
        ...

    def keys_values(self, prefixes: Sequence[bytes]) -> list[PrefixKeysValues]:
        """Compute what prefixes leave for the tokens behind them."""
        ...

    def rows(
        self, batch: Batch, sequences: Sequence[int], prefixes: Sequence[PrefixKeysValues | None]
    ) -> NDArray[np.float32]:
        """Compute the rows of some of a batch's sequences, with the prefix of each of them."""
        ...


@dataclass(frozen=True, slots=True)
class EncoderNetwork:
    """An encoder, in which every token sees all others: nothing is shared.

    ``padding``: see ``EncoderConfig``. ``graphs``: of its passes, where they are nothing but kernels.
    """

    encoder: Encoder
    head: Head
    device: str
    padding: int | None
    graphs: PassGraphs | None = None

    @property
    def hidden(self) -> int:
        """See ``Network``."""
        return len((self.encoder.last or self.encoder.layers[0]).norm.weight)

    @property
    def token_bytes(self) -> int:
        """See ``Network``."""
        return 0

    def quantized(self, calibration: Batch, make: Callable[[ObservedLinear], Linear]) -> Self:
        """See ``Network``."""
        packed = pack(calibration, range(len(calibration.lengths)), padding=self.padding, device=self.device)
        return replace(self, encoder=quantize(self.encoder, packed, make))

    def prefix_length(self, length: int, prefix: int) -> int:
        """See ``Network``."""
        return 0

    def prefixes(self, batch: Batch) -> list[bytes]:
        """See ``Network``."""
        return [b""] * len(batch.lengths)

    def keys_values(self, prefixes: Sequence[bytes]) -> list[PrefixKeysValues]:
        """See ``Network``."""
        return []

    @torch.inference_mode()
    def rows(
        self, batch: Batch, sequences: Sequence[int], prefixes: Sequence[PrefixKeysValues | None]
    ) -> NDArray[np.float32]:
        """See ``Network``."""
        ids, places = lay_out(batch, sequences, padding=self.padding, device=self.device)
        has_types = batch.type_ids is not None
        found = None if self.graphs is None else self.graphs.rows(ids, places, has_types=has_types)
        if found is not None:
            return found
        rows: NDArray[np.float32] = self.compute(to_device(self.device, ids, places, has_types=has_types)).cpu().numpy()
        return rows

    @property
    def is_kernels_only(self) -> bool:
        """Whether a pass is nothing but kernels, none of which needs the places of sequences on the host."""
        encoder = self.encoder
        attends = all(isinstance(layer.attend, VarlenAttention) for layer in encoder.layers)
        last = encoder.last is None or isinstance(encoder.last.attention, WholeAttention)
        return attends and last and encoder.convolution is None and self.head.pool in (first_token, last_token)

    def compute(self, packed: PackedSequences) -> Tensor:
        """Compute the rows of packed sequences, in float32 on the device."""
        return self.head(self.encoder(packed), packed).float()


@dataclass(frozen=True, slots=True)
class DecoderNetwork:
    """A decoder. ``padding``: the id that is passed over where the head reads the rightmost token.

    Where the head reads one token, which it does of causal networks, those behind it are left out, and the prefix is
    shared.
    """

    decoder: Decoder
    head: Head
    device: str
    padding: int | None

    @property
    def hidden(self) -> int:
        """See ``Network``."""
        return len(self.decoder.final_norm.weight)

    @property
    def token_bytes(self) -> int:
        """See ``Network``."""
        return self.decoder.token_bytes

    def quantized(self, calibration: Batch, make: Callable[[ObservedLinear], Linear]) -> Self:
        """See ``Network``."""
        packed = pack(calibration, range(len(calibration.lengths)), padding=None, device=self.device)
        return replace(self, decoder=quantize(self.decoder, packed, make))

    def prefix_length(self, length: int, prefix: int) -> int:
        """See ``Network``."""
        return prefix if self.head.reads != "all" and LEAST_PREFIX <= prefix < length else 0

    def prefixes(self, batch: Batch) -> list[bytes]:
        """See ``Network``."""
        tokens = [self._read_tokens(batch, index) for index in range(len(batch.lengths))]
        lengths = [
            self.prefix_length(len(read), prefix) for read, prefix in zip(tokens, batch.prefixes.tolist(), strict=True)
        ]
        return [read[:length].tobytes() for read, length in zip(tokens, lengths, strict=True)]

    @torch.inference_mode()
    def keys_values(self, prefixes: Sequence[bytes]) -> list[PrefixKeysValues]:
        """See ``Network``."""
        tokens = [np.frombuffer(prefix, dtype=np.int32) for prefix in prefixes]
        return self.decoder.keys_values(self._pack(tokens, [0] * len(tokens)))

    @torch.inference_mode()
    def rows(
        self, batch: Batch, sequences: Sequence[int], prefixes: Sequence[PrefixKeysValues | None]
    ) -> NDArray[np.float32]:
        """See ``Network``."""
        starts = [0 if prefix is None else len(prefix) for prefix in prefixes]
        tokens = [self._read_tokens(batch, index)[start:] for index, start in zip(sequences, starts, strict=True)]
        packed = self._pack(tokens, starts)
        hidden = self.decoder(packed, prefixes, last_only=self.head.reads != "all")
        rows: NDArray[np.float32] = self.head(hidden, packed).float().cpu().numpy()
        return rows

    def _read_tokens(self, batch: Batch, index: int) -> NDArray[np.int32]:
        """Return the token ids of a sequence up to the one that is read."""
        start = int(batch.lengths[:index].sum())
        tokens = batch.token_ids[start : start + int(batch.lengths[index])]
        match self.head.reads:
            case "first":
                return tokens[:1]
            case "rightmost":
                return tokens[: rightmost(tokens.tolist(), self.padding) + 1]
            case "all" | "last":
                return tokens

    def _pack(self, tokens: Sequence[NDArray[np.int32]], starts: Sequence[int]) -> PackedSequences:
        """Lay tokens end to end, whose positions begin at ``starts``."""
        places = [0, *np.cumsum([len(ids) for ids in tokens]).tolist()]
        ids = np.zeros((2, class_of(self.device).fill(places[-1])), dtype=np.int64)
        for place, start, piece in zip(places, starts, tokens, strict=False):
            here = slice(place, place + len(piece))
            ids[0, here] = piece
            ids[1, here] = np.arange(start, start + len(piece))
        token_ids, position_ids = on_device(self.device, ids)
        offsets = on_device(self.device, np.array(places, dtype=np.int32))
        return PackedSequences(token_ids, position_ids, None, Bounds(places, offsets))


def pack(batch: Batch, sequences: Sequence[int], *, padding: int | None, device: str) -> PackedSequences:
    """Lay some of a batch's sequences end to end, fill them up, and copy them to the device."""
    ids, places = lay_out(batch, sequences, padding=padding, device=device)
    return to_device(device, ids, places, has_types=batch.type_ids is not None)


def lay_out(
    batch: Batch, sequences: Sequence[int], *, padding: int | None, device: str
) -> tuple[NDArray[np.int64], list[int]]:
    """Lay some of a batch's sequences end to end, filled up: tokens, positions, types [3, rows], and their places."""
    chosen = np.asarray(sequences)
    lengths = batch.lengths[chosen]
    places = [0, *np.cumsum(lengths).tolist()]
    # From a token's row here to its row in the batch.
    moved = np.cumsum(batch.lengths)[chosen] - lengths - places[:-1]
    rows = np.arange(places[-1]) + np.repeat(moved, lengths)
    ids = np.zeros((3, class_of(device).fill(len(rows))), dtype=np.int64)
    tokens = batch.token_ids[rows]
    ids[0, : len(rows)] = tokens
    ids[1, : len(rows)] = _positions(tokens, lengths, padding)
    if batch.type_ids is not None:
        ids[2, : len(rows)] = batch.type_ids[rows]
    return ids, places


def to_device(device: str, ids: NDArray[np.int64], places: Sequence[int], *, has_types: bool) -> PackedSequences:
    """Copy what ``lay_out`` has made to the device."""
    token_ids, position_ids, type_ids = on_device(device, ids)
    offsets = on_device(device, np.array(places, dtype=np.int32))
    return PackedSequences(token_ids, position_ids, type_ids if has_types else None, Bounds(places, offsets))


def _positions(tokens: NDArray[np.int32], lengths: NDArray[np.int32], padding: int | None) -> NDArray[np.int64]:
    """Number positions from 0 in each sequence, or behind the padding id, which padding tokens have themselves."""
    starts = np.cumsum(lengths) - lengths
    if padding is None:
        return np.arange(len(tokens), dtype=np.int64) - np.repeat(starts, lengths)
    real = (tokens != padding).astype(np.int64)
    counted = np.cumsum(real)
    positions: NDArray[np.int64] = (counted - np.repeat((counted - real)[starts], lengths)) * real + padding
    return positions


def on_device(device: str, numbers: NDArray[np.generic]) -> Tensor:
    """Copy numbers to a device."""
    return pinned(device, numbers).to(device, non_blocking=True)
