"""The API key: sent, and never shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from rerank_core.errors import InvalidRequest, Unauthorized

VARIABLE = "RERANK_API_KEY"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key, or a callable that knows the present one. Empty: none."""

    source: str | Callable[[], str] = field(repr=False)

    @classmethod
    def of(cls, given: str | Callable[[], str] | None) -> Self:
        """Make a key of what the caller gives; None: what the environment says now.

        Raises ``InvalidRequest`` for a key that no header can carry.
        """
        if given is None:
            return cls(_checked(os.environ.get(VARIABLE, ""), VARIABLE))
        return cls(given if callable(given) else _checked(given, "api_key"))

    def now(self) -> str:
        """Return the key for the next request. Raises ``Unauthorized`` where there should be one and is not."""
        if isinstance(self.source, str):
            return self.source
        try:
            return _checked(self.source(), "what api_key() returned")
        except InvalidRequest as unfit:
            raise Unauthorized(str(unfit)) from None
        except Exception as error:
            raise Unauthorized(f"api_key() failed with {type(error).__name__}: no request was made") from error


def _checked(key: object, name: str) -> str:
    """Check a key. One with a line break, as files end, would become an error that shows it."""
    if not isinstance(key, str):
        raise InvalidRequest(f"{name} is of type {type(key).__name__}: use a string, or a callable that returns one")
    key = key.strip()
    if not all("!" <= character <= "~" for character in key):
        raise InvalidRequest(f"{name} holds white space or a character outside ASCII, which no header can carry")
    return key
