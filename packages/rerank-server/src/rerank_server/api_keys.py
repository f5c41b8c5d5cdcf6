"""Reads the API keys of clients from the environment and from a file."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from rerank_server.middleware.auth import ApiKeys
from rerank_server.settings import Settings, SettingsError

logger = logging.getLogger(__name__)


def read_keys(settings: Settings) -> tuple[bytes, ...]:
    """Read the keys of the environment and of the file. Raises ``SettingsError`` where one is set and has no key."""
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


def reload_keys(settings: Settings, api_keys: ApiKeys) -> None:
    """Read the keys file again. Where it is invalid, the earlier keys stay. The number of keys is logged."""
    if not settings.api_keys_file:
        logger.info("SIGHUP: ignored, RERANK_API_KEYS_FILE is not set, so that there are no keys to read again")
        return
    try:
        keys = read_keys(settings)
    except SettingsError as error:
        logger.error("%s: the earlier keys stay (%d)", error, api_keys.count)
        return
    api_keys.replace(keys)
    logger.info("the keys were read again: there are %d", api_keys.count)


def _words(texts: Iterable[str]) -> list[bytes]:
    return [text.strip().encode() for text in texts if text.strip()]
