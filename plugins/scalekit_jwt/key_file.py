"""A file of keys that every worker reads, and that ``scalekit jwt rotate`` puts a new key into."""

from __future__ import annotations

import fcntl
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

from scalekit_jwt.keys import KEY_TYPES, KeySet, SigningKey
from scalekit_jwt.secret_key import make_secret

logger = logging.getLogger("scalekit.jwt")

MAX_BYTES = 1 << 20


def make_key(algorithm: str) -> dict[str, Any]:
    """Return a new key for *algorithm*, as a JWK."""
    kind = KEY_TYPES[algorithm]
    if kind == "oct":
        members = make_secret()
    else:
        from scalekit_jwt.asymmetric_key import make_pair  # takes long to import, and a secret does without

        members = make_pair(kind, algorithm)
    return {**members, "kid": secrets.token_urlsafe(9), "alg": algorithm, "use": "sig"}


class KeyFile:
    """The keys in *path*, the first of which signs.

    One that nobody else may read is made when there is none. It is read again when it has changed, and stays as it was
    known when it cannot be read.
    """

    wait_for_keys: Callable[[], Awaitable[bool]] | None = None

    def __init__(self, path: Path, algorithm: str) -> None:
        """Read *path*; raises ValueError when it holds no such keys."""
        self.path = path
        self._algorithm = algorithm
        if not path.exists():
            _make(path, [make_key(algorithm)])
        self._seen = self._look()
        self._current = _read(path)
        self._bad = self._seen

    @property
    def current(self) -> KeySet:
        """The keys that are known."""
        return self._current

    def missed(self) -> bool:
        """Look at once whether there are other keys, for a token was signed with one that is not known."""
        return self.reload()

    def reload(self) -> bool:
        """Read the file if it has changed; tell whether it had."""
        try:
            seen = self._look()
            if seen == self._seen:
                return False
            self._seen = seen
            self._current = _read(self.path)
        except (OSError, ValueError) as error:
            logger.error("the key file stays as it was known: %s", error)
            return False
        return True

    def rotate(self, keep: float, clock: Callable[[], float]) -> str:
        """Put a new key first and return its kid; those before it verify for *keep* seconds more."""
        with _alone(self.path):
            now = clock()
            old = [{"exp": now + keep, **key} for key in _members(self.path)]
            new = make_key(self._algorithm)
            keys = [new, *(key for key in old if key["exp"] > now)]
            KeySet([_key(key) for key in keys])
            _write(self.path, keys)
        return str(new["kid"])

    def _look(self) -> tuple[int, int, int]:
        status = os.stat(self.path)
        return status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: Path) -> KeySet:
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError(f"{path}: others may read the keys in it; run chmod 600 {path}")
    try:
        keys = KeySet([_key(member) for member in _members(path)])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None
    if not keys.keys or not keys.keys[0].private:
        raise ValueError(f"{path}: its first key cannot sign; put one with its private part first")
    return keys


def _members(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES)
    try:
        members = orjson.loads(content)["keys"]
    except (ValueError, KeyError, TypeError):
        raise ValueError('not a JWK set: it begins with {"keys": [') from None
    if not isinstance(members, list) or not all(isinstance(each, dict) for each in members):
        raise ValueError("keys is a list of JWKs")
    return members


def _key(member: dict[str, Any]) -> SigningKey:
    algorithm, kind = member.get("alg"), member.get("kty")
    if kind not in KEY_TYPES.values():
        raise ValueError(f"a key has the kty {kind!r}; there are {', '.join(sorted(set(KEY_TYPES.values())))}")
    if algorithm not in KEY_TYPES:
        raise ValueError(f"a key has the alg {algorithm!r}; there are {', '.join(KEY_TYPES)}")
    return SigningKey.load(member, algorithm)


def _make(path: Path, keys: list[dict[str, Any]]) -> None:
    """Write *path* unless another worker was first: all must have the same keys."""
    temporary = _temporary(path, keys)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary)


def _write(path: Path, keys: list[dict[str, Any]]) -> None:
    os.replace(_temporary(path, keys), path)


def _temporary(path: Path, keys: list[dict[str, Any]]) -> str:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # of mode 0600
    with os.fdopen(descriptor, "wb") as file:
        file.write(orjson.dumps({"keys": keys}, option=orjson.OPT_INDENT_2))
        file.flush()
        os.fsync(file.fileno())
    return name


@contextmanager
def _alone(path: Path) -> Generator[None, None, None]:
    """Be the only one who rotates: the folder is locked, since the file itself is replaced."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
