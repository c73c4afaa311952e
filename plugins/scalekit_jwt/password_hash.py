"""Keep passwords as argon2id (RFC 9106) of what OWASP recommends, and check them without stalling the event loop.

It needs argon2-cffi, which ``scalekit-asgi[jwt]`` brings.
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
MOST_WAITING = 100
"""Passwords that may wait for a thread; one more is a 503 at once."""
MOST_REMEMBERED = 10_000
LONGEST = 1024
"""Bytes of a password; a longer one is none."""
NOT_A_HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQxMjM0NTY3OA$YyUxYyjrzWqj1D4LgmWmRNVbtxrv/2OJ0JXGjyXZ2F0"

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="password")
_key = secrets.token_bytes(32)
_remembered: dict[bytes, float] = {}
_waiting = 0


async def hash_password(password: str) -> str:
    """Return the argon2id hash of *password*, with a salt.

    Raises ValueError when it is too long, and Unavailable when too many wait.
    """
    encoded = password.encode("utf-8", "surrogatepass")
    if len(encoded) > LONGEST:
        raise ValueError(f"a password has at most {LONGEST} bytes")
    return await _in_thread(_hash, encoded)


async def verify_password(password: str, hashed: str | None, *, remember: str | None = None) -> bool:
    """Tell whether *hashed* is of *password*; raises Unavailable when too many are being checked.

    Where there is no hash, for nobody has that name, None takes as long as a wrong password does. With *remember*, such
    as ``"60s"``, a success is remembered for that long, under a secret of this process, so that the next time costs
    next to nothing.
    """
    encoded = password.encode("utf-8", "surrogatepass")
    if len(encoded) > LONGEST:
        return False
    if hashed is None:
        await _in_thread(_verify, NOT_A_HASH, encoded)
        return False
    digest = _digest(hashed, encoded) if remember else b""
    if digest and time.monotonic() < _remembered.get(digest, 0.0):
        return True
    good = await _in_thread(_verify, hashed, encoded)
    if good and remember:
        _remember(digest, time.monotonic() + Duration(remember))
    return good


async def _in_thread(function: Callable[..., T], *arguments: object) -> T:
    global _waiting
    if _waiting >= MOST_WAITING:
        raise Unavailable("too many passwords are being checked")
    _waiting += 1
    call = _pool.submit(function, *arguments)
    work = asyncio.wrap_future(call)
    work.add_done_callback(_done)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        call.cancel()  # does nothing to what a thread has begun, which counts until it is done
        raise


def _done(work: asyncio.Future[T]) -> None:
    global _waiting
    _waiting -= 1
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
    """Return what stands for a success: of both, so that a new password ends it."""
    return blake2b(b"%d:%s%s" % (len(hashed), hashed.encode(), password), key=_key, digest_size=32).digest()


def _remember(digest: bytes, until: float) -> None:
    if len(_remembered) >= MOST_REMEMBERED:
        del _remembered[next(iter(_remembered))]
    _remembered.pop(digest, None)
    _remembered[digest] = until
