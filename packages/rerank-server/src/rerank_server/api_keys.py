"""The API keys of clients: read from the environment and from a file, and compared with that of a request."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from rerank_core.errors import Unauthorized

from rerank_server.settings import Settings, SettingsError

logger = logging.getLogger(__name__)


class ApiKeys:
    """The API keys that are accepted. Without any, no request needs one."""

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        self.replace(keys)

    def replace(self, keys: tuple[bytes, ...]) -> None:
        """Replace all keys."""
        self._digests = [sha256(key).digest() for key in dict.fromkeys(keys)]

    @property
    def count(self) -> int:
        """The number of keys."""
        return len(self._digests)

    def check(self, authorization: str | None) -> None:
        """Check the header ``Authorization`` of a request. Raises ``Unauthorized``."""
        if not self._digests:
            return
        if authorization is None:
            raise Unauthorized("this needs an API key: send it as 'Authorization: Bearer KEY'")
        scheme, _, given = authorization.partition(" ")
        # Every key is compared, by hashes of one length, so that the duration reveals nothing about the keys.
        digest = sha256(given.strip(" \t").encode("latin-1")).digest()
        known = [hmac.compare_digest(digest, key) for key in self._digests]
        if scheme.lower() != "bearer" or not any(known):
            raise Unauthorized(
                "this API key is not one that the server knows: send another, as 'Authorization: Bearer KEY'"
            )


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
