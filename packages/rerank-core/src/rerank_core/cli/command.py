"""A subcommand of ``rerank``, and the argument types that subcommands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

Parser: TypeAlias = argparse.ArgumentParser


RANK, SERVE, MODELS = "To score and rank", "To run a server", "To choose a model, and get it"
"""Headings of ``rerank --help``, in their order."""


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand: its name, one line of help, its arguments, and what it does.

    ``purpose``: the heading of ``rerank --help`` that it stands below. Other packages register theirs as entry points
    of the group ``rerank.commands``.
    """

    name: str
    help: str
    configure: Callable[[Parser], None]
    run: Callable[[argparse.Namespace], int]
    purpose: str = "Other commands"


def positive_int(text: str) -> int:
    """Read a whole number of at least 1, as the ``type`` of an argument."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number
