"""A subcommand of ``rerank``, and the argument types that subcommands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from types import NoneType
from typing import Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

from rerank_core.load_options import LoadOptions, help_of, read_label

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


def add_load_options(parser: Parser, *, without: Collection[str] = ()) -> None:
    """Add an argument for each option of loading a model, except those that the command has in another form."""
    group = parser.add_argument_group("how the model is loaded")
    hints = get_type_hints(LoadOptions)
    for option in fields(LoadOptions):
        if option.name not in without:
            text = help_of(option.name).replace("`", "").replace("%", "%%")
            name = f"--{option.name.replace('_', '-')}"
            group.add_argument(name, default=None, help=text, **_form_of(option.name, hints[option.name]))


def load_options(arguments: argparse.Namespace, *, without: Collection[str] = (), **known: Any) -> LoadOptions:
    """Read what ``add_load_options`` added; an argument that is not given is as in ``known``, or the default."""
    names = [option.name for option in fields(LoadOptions) if option.name not in without]
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    return LoadOptions(**known | given)


def _form_of(name: str, hint: Any) -> dict[str, Any]:
    """Choose the form of an argument by the type of its option."""
    if hint is bool:
        return {"action": "store_true"}
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    if set(get_args(hint)) == {int, NoneType}:
        return {"type": positive_int, "metavar": "N"}
    return {"type": read_label if name == "label" else str, "metavar": name.upper()}
