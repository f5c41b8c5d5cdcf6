"""Divides a batch into steps, so that what is held of its prefixes at once is bounded."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence


def steps(
    prefixes: Sequence[Hashable], nbytes: Sequence[int], lengths: Sequence[int], *, max_bytes: int, max_tokens: int
) -> Iterator[list[int]]:
    """Divide the positions of sequences into steps; sequences of one prefix stand side by side.

    ``nbytes``: the memory of each sequence's prefix, which counts once in a step. ``lengths``: the tokens of each whole
    sequence. A step over ``max_bytes`` has one prefix, and a step over ``max_tokens`` has one sequence.
    """
    groups: dict[Hashable, list[int]] = {}
    for position, prefix in enumerate(prefixes):
        groups.setdefault(prefix, []).append(position)
    step: list[int] = []
    held = tokens = 0
    for group in groups.values():
        more = nbytes[group[0]]
        for position in group:
            if step and (held + more > max_bytes or tokens + lengths[position] > max_tokens):
                yield step
                step, held, tokens, more = [], 0, 0, nbytes[position]
            step.append(position)
            held, tokens, more = held + more, tokens + lengths[position], 0
    if step:
        yield step
