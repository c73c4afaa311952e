"""Passwords are hashed with argon2id in threads, with a bounded queue and cache."""

from __future__ import annotations

import asyncio

import pytest

from scalekit.errors import Unavailable
from scalekit_jwt import password_hash
from scalekit_jwt.password_hash import hash_password, verify_password

pytestmark = pytest.mark.anyio


async def test_a_password_is_hashed_with_a_salt_and_verified() -> None:
    first, second = await hash_password("testpass"), await hash_password("testpass")
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert first != second
    assert await verify_password("testpass", first)
    assert not await verify_password("testpasS", first)
    assert not await verify_password("testpass", "no hash")
    assert not await verify_password("testpass", None)
    assert not await verify_password("\ud800", first)
    assert not await verify_password("x" * 2000, first)
    with pytest.raises(ValueError, match="longer than"):
        await hash_password("x" * 2000)


async def test_an_unknown_user_takes_an_argon2_run_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def verify(hashed: str, password: bytes) -> bool:
        seen.append(hashed)
        return True

    monkeypatch.setattr(password_hash, "_verify", verify)
    assert not await verify_password("x", None), "an unknown user never matches"
    assert seen == [password_hash.DUMMY_HASH]


async def test_a_success_is_cached_and_a_failure_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = 0
    real = password_hash._verify

    def counted(hashed: str, password: bytes) -> bool:
        nonlocal runs
        runs += 1
        return real(hashed, password)

    monkeypatch.setattr(password_hash, "_verify", counted)
    hashed = await hash_password("testpass")
    for _ in range(3):
        assert await verify_password("testpass", hashed, cache_ttl="60s")
    assert runs == 1
    for _ in range(2):
        assert not await verify_password("wrong", hashed, cache_ttl="60s")
    assert runs == 3
    assert await verify_password("testpass", hashed), "without cache_ttl nothing is cached"
    assert runs == 4
    assert await verify_password("testpass", await hash_password("testpass"), cache_ttl="60s")
    assert runs == 5, "a new hash is not in the cache"
    assert not [key for key in password_hash._cache if b"testpass" in key]


async def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_hash, "MAX_CACHED", 2)
    monkeypatch.setattr(password_hash, "_cache", {})
    for number in range(5):
        password_hash._store(b"%d" % number, 1.0)
    assert list(password_hash._cache) == [b"3", b"4"]


async def test_a_cancelled_verification_leaves_the_queue() -> None:
    hashed = await hash_password("testpass")
    checks = [asyncio.create_task(verify_password("testpass", hashed)) for _ in range(password_hash.MAX_QUEUE)]
    await asyncio.sleep(0)
    for check in checks:
        check.cancel()
    await asyncio.wait(checks)
    await asyncio.sleep(0)
    assert password_hash._pending <= password_hash.THREADS, "only started verifications are pending"
    assert await verify_password("testpass", hashed)
    async with asyncio.timeout(60):
        while password_hash._pending:  # the next test has another event loop, which would never see their end
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_a_full_queue_is_refused_and_the_event_loop_is_not_blocked() -> None:
    hashed = await hash_password("testpass")
    checks = [verify_password("testpass", hashed) for _ in range(password_hash.MAX_QUEUE)]
    waiting = asyncio.gather(*checks)
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await verify_password("testpass", hashed)
    turns = 0
    while not waiting.done():
        await asyncio.sleep(0)
        turns += 1
    assert await waiting == [True] * password_hash.MAX_QUEUE
    assert turns > password_hash.MAX_QUEUE
    assert await verify_password("testpass", hashed), "the queue is empty again"
