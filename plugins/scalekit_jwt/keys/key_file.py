"""A JWK set file shared by all workers, to which ``scalekit jwt rotate`` adds a new signing key."""

from __future__ import annotations

import logging
import os
import secrets
import stat
import tempfile
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from scalekit import lock_file
from scalekit_jwt.keys.key_set import KEY_TYPES, KeySet, SigningKey
from scalekit_jwt.keys.secret_key import generate_secret

logger = logging.getLogger("scalekit.jwt")

MAX_BYTES = 1 << 20


def generate_key(algorithm: str) -> dict[str, Any]:
    """Return a new key for *algorithm*, as a JWK."""
    key_type = KEY_TYPES[algorithm]
    if key_type == "oct":
        members = generate_secret()
    else:
        from scalekit_jwt.keys.asymmetric_key import generate_key_pair  # slow to import, and HS256 does not need it

        members = generate_key_pair(key_type, algorithm)
    return {**members, "kid": secrets.token_urlsafe(9), "alg": algorithm, "use": "sig"}


class KeyFile:
    """The JWK set in *path*, whose first key signs.

    A missing file is created with mode 0600 and a new key. A changed file is loaded again; an unreadable file leaves
    the loaded keys in use.
    """

    wait_for_keys: Callable[[], Awaitable[bool]] | None = None

    def __init__(self, path: Path, algorithm: str) -> None:
        """Load *path*, creating it when missing; raises ValueError when it contains no suitable keys."""
        self.path = path
        self._algorithm = algorithm
        if not path.exists():
            _create(path, [generate_key(algorithm)])
        self._loaded_version = self._file_version()
        self._current = _load(path)

    @property
    def current(self) -> KeySet:
        """The loaded keys."""
        return self._current

    @property
    def changed_at(self) -> float:
        """When the loaded file was written, which a rotation does, in seconds since the epoch."""
        return self._loaded_version[1] / 1e9

    def reload_for_unknown_key(self) -> bool:
        """Load the file if it has changed; return whether it was loaded."""
        return self.reload()

    def reload(self) -> bool:
        """Load the file if it has changed; return whether it was loaded."""
        try:
            version = self._file_version()
            if version == self._loaded_version:
                return False
            self._loaded_version = version
            self._current = _load(self.path)
        except (OSError, ValueError) as error:
            logger.error("key file not reloaded, the loaded keys stay in use: %s", error)
            return False
        return True

    def rotate(self, verify_for: float, clock: Callable[[], float]) -> str:
        """Add a new signing key and return its kid; the keys before it verify for *verify_for* seconds more."""
        with _exclusive(self.path):
            now = clock()
            old = [{"exp": now + verify_for, **key} for key in _members(self.path)]
            new = generate_key(self._algorithm)
            keys = [new, *(key for key in old if key["exp"] > now)]
            KeySet([_signing_key(key) for key in keys])
            _replace(self.path, keys)
        return str(new["kid"])

    def _file_version(self) -> tuple[int, int, int]:
        status = os.stat(self.path)
        return status.st_ino, status.st_mtime_ns, status.st_size


def _load(path: Path) -> KeySet:
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError(f"{path}: group or others can access the file; run chmod 600 {path}")
    try:
        keys = KeySet([_signing_key(member) for member in _members(path)])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None
    if not keys.keys or not keys.keys[0].private:
        raise ValueError(f"{path}: the first key cannot sign; put a key with its private part first")
    return keys


def _members(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES)
    try:
        members = orjson.loads(content)["keys"]
    except (ValueError, KeyError, TypeError):
        raise ValueError('not a JWK set, which begins with {"keys": [') from None
    if not isinstance(members, list) or not all(isinstance(each, dict) for each in members):
        raise ValueError("keys must be a list of JWKs")
    return members


def _signing_key(member: dict[str, Any]) -> SigningKey:
    algorithm, key_type = member.get("alg"), member.get("kty")
    if key_type not in KEY_TYPES.values():
        raise ValueError(f"unsupported kty {key_type!r}; use one of {', '.join(sorted(set(KEY_TYPES.values())))}")
    if algorithm not in KEY_TYPES:
        raise ValueError(f"unsupported alg {algorithm!r}; use one of {', '.join(KEY_TYPES)}")
    return SigningKey.load(member, algorithm)


def _create(path: Path, keys: list[dict[str, Any]]) -> None:
    """Create *path* unless another worker already did: all workers must load the same keys."""
    temporary = _write_temporary(path, keys)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary)


def _replace(path: Path, keys: list[dict[str, Any]]) -> None:
    os.replace(_write_temporary(path, keys), path)


def _write_temporary(path: Path, keys: list[dict[str, Any]]) -> str:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp sets mode 0600
    with os.fdopen(descriptor, "wb") as file:
        file.write(orjson.dumps({"keys": keys}, option=orjson.OPT_INDENT_2))
        file.flush()
        os.fsync(file.fileno())
    return name


@contextmanager
def _exclusive(path: Path) -> Generator[None, None, None]:
    """Lock the folder of *path* against concurrent rotations, since the file itself is replaced."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        lock_file(folder)
        yield
    finally:
        os.close(folder)
