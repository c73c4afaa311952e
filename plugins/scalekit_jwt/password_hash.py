"""Hash and verify passwords with argon2id (RFC 9106) in threads, so that the event loop is not blocked.

The parameters are those that OWASP recommends. The library is argon2-cffi, part of ``scalekit-asgi[jwt]``.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar

from scalekit import Duration, Unavailable

if TYPE_CHECKING:
    from argon2 import PasswordHasher

T = TypeVar("T")

THREADS = 2
MAX_QUEUE = 100
"""Passwords that may wait for a thread; another raises Unavailable (503) at once."""
MAX_CACHED = 10_000
"""Maximum number of successful verifications that are cached."""
MAX_BYTES = 1024
"""Maximum length of a password in bytes."""
DUMMY_HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQxMjM0NTY3OA$YyUxYyjrzWqj1D4LgmWmRNVbtxrv/2OJ0JXGjyXZ2F0"
"""Verified for unknown users, so that the duration does not reveal which users exist."""

_executor = ThreadPoolExecutor(THREADS, thread_name_prefix="password")
_key = secrets.token_bytes(32)
_cache: dict[bytes, float] = {}
_pending = 0


async def hash_password(password: str) -> str:
    """Return the salted argon2id hash of *password*.

    Raises ValueError when it is longer than MAX_BYTES, and Unavailable when the queue is full.
    """
    encoded = password.encode("utf-8", "surrogatepass")
    if len(encoded) > MAX_BYTES:
        raise ValueError(f"password is longer than {MAX_BYTES} bytes")
    return await _in_thread(_hash, encoded)


async def verify_password(password: str, hashed: str | None, *, cache_ttl: str | None = None) -> bool:
    """Return whether *hashed* is the hash of *password*; raises Unavailable when the queue is full.

    For an unknown user pass None: it takes as long as a wrong password. With *cache_ttl*, such as ``"60s"``, a success
    is cached for that long under a key of this process, so that the next verification skips argon2id.
    """
    encoded = password.encode("utf-8", "surrogatepass")
    if len(encoded) > MAX_BYTES:
        return False
    if hashed is None:
        await _in_thread(_verify, DUMMY_HASH, encoded)
        return False
    digest = _digest(hashed, encoded) if cache_ttl else b""
    if digest and time.monotonic() < _cache.get(digest, 0.0):
        return True
    valid = await _in_thread(_verify, hashed, encoded)
    if valid and cache_ttl:
        _store(digest, time.monotonic() + Duration(cache_ttl))
    return valid


async def _in_thread(function: Callable[..., T], *args: object) -> T:
    global _pending
    if _pending >= MAX_QUEUE:
        raise Unavailable(f"{MAX_QUEUE} passwords are waiting to be hashed")
    _pending += 1
    call = _executor.submit(function, *args)
    work = asyncio.wrap_future(call)
    work.add_done_callback(_done)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        call.cancel()  # a started call is not cancelled and counts until it ends
        raise


def _done(work: asyncio.Future[T]) -> None:
    global _pending
    _pending -= 1
    if not work.cancelled():
        work.exception()


@cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)


def _hash(password: bytes) -> str:
    return _hasher().hash(password)


def _verify(hashed: str, password: bytes) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return _hasher().verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


def _digest(hashed: str, password: bytes) -> bytes:
    """Return the cache key of a success: of hash and password, so that a new password invalidates it."""
    return blake2b(b"%d:%s%s" % (len(hashed), hashed.encode(), password), key=_key, digest_size=32).digest()


def _store(digest: bytes, until: float) -> None:
    if len(_cache) >= MAX_CACHED:
        del _cache[next(iter(_cache))]
    _cache.pop(digest, None)
    _cache[digest] = until
