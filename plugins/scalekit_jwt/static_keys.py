"""Keys from the configuration that never change: one secret, or one key per file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import orjson

from scalekit_jwt.keys import KeySet, SigningKey


class StaticKeys:
    """A key set that stays the same until the process ends."""

    wait_for_keys: Callable[[], Awaitable[bool]] | None = None

    def __init__(self, current: KeySet) -> None:
        self.current = current

    def reload_for_unknown_key(self) -> bool:
        """Return False: static keys never change."""
        return False

    def reload(self) -> bool:
        """Return False: static keys never change."""
        return False


def keys_from_secret(secret: str) -> StaticKeys:
    """Return a key set of the one HS256 *secret*."""
    return StaticKeys(KeySet([SigningKey.load(secret.encode(), "HS256", "secret")]))


def keys_from_files(paths: Sequence[str], algorithm: str) -> StaticKeys:
    """Return the keys in *paths*, one PEM or JWK each; raises ValueError naming the file without a suitable key."""
    keys = [_load_file(path, algorithm) for path in paths]
    if not keys[0].private:
        raise ValueError(f"{paths[0]}: the first key signs, and this one has no private part")
    return StaticKeys(KeySet(keys))


def _load_file(path: str, algorithm: str) -> SigningKey:
    try:
        content = Path(path).read_bytes()
        value = orjson.loads(content) if content.lstrip()[:1] == b"{" else content
        return SigningKey.load(value, algorithm)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
