"""The API keys that clients may use: from the environment and from a file, which may be read again."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from rerank_server.middleware.auth import Guard
from rerank_server.settings import Settings, SettingsError

logger = logging.getLogger(__name__)


def read_keys(settings: Settings) -> tuple[bytes, ...]:
    """The keys of the environment and of the file. Raises ``SettingsError`` where there should be some but are none."""
    keys = _words((settings.api_keys or "").split(","))
    if settings.api_keys and not keys:
        raise SettingsError("RERANK_API_KEYS holds no key: set at least one, or leave it out")
    if settings.api_keys_file:
        try:
            lines = Path(settings.api_keys_file).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SettingsError(f"RERANK_API_KEYS_FILE cannot be read: {reason}: {settings.api_keys_file}") from None
        found = _words(line for line in lines if not line.lstrip().startswith("#"))
        if not found:
            raise SettingsError(f"RERANK_API_KEYS_FILE holds no key: {settings.api_keys_file}")
        keys += found
    return tuple(keys)


def reload_keys(settings: Settings, guard: Guard) -> None:
    """Read the keys file again; where it is broken, the keys of before stay. The log says how many there are."""
    if not settings.api_keys_file:
        logger.info("SIGHUP: ignored, RERANK_API_KEYS_FILE is not set, so that there are no keys to read again")
        return
    try:
        keys = read_keys(settings)
    except SettingsError as error:
        logger.error("%s: the keys of before stay (%d)", error, guard.count)
        return
    guard.replace(keys)
    logger.info("the keys were read again: there are %d", guard.count)


def _words(texts: Iterable[str]) -> list[bytes]:
    return [text.strip().encode() for text in texts if text.strip()]
