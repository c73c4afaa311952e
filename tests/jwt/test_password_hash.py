"""Passwords are kept as argon2id, and checked beside the event loop."""

from __future__ import annotations

import asyncio

import pytest

from scalekit.errors import Unavailable
from scalekit_jwt import password_hash as passwords
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
    with pytest.raises(ValueError, match="at most"):
        await hash_password("x" * 2000)


async def test_nobodys_password_takes_an_argon2_run_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def verify(hashed: str, password: bytes) -> bool:
        seen.append(hashed)
        return True

    monkeypatch.setattr(passwords, "_verify", verify)
    assert not await verify_password("x", None), "even a hash of that password is nobody's"
    assert seen == [passwords.NOT_A_HASH]


async def test_a_success_is_remembered_and_a_failure_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = 0
    real = passwords._verify

    def counted(hashed: str, password: bytes) -> bool:
        nonlocal runs
        runs += 1
        return real(hashed, password)

    monkeypatch.setattr(passwords, "_verify", counted)
    hashed = await hash_password("testpass")
    for _ in range(3):
        assert await verify_password("testpass", hashed, remember="60s")
    assert runs == 1
    for _ in range(2):
        assert not await verify_password("wrong", hashed, remember="60s")
    assert runs == 3
    assert await verify_password("testpass", hashed), "who does not ask for it remembers nothing"
    assert runs == 4
    assert await verify_password("testpass", await hash_password("testpass"), remember="60s")
    assert runs == 5, "a new hash is a new password"
    assert not [key for key in passwords._remembered if b"testpass" in key]


async def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "MOST_REMEMBERED", 2)
    monkeypatch.setattr(passwords, "_remembered", {})
    for number in range(5):
        passwords._remember(b"%d" % number, 1.0)
    assert list(passwords._remembered) == [b"3", b"4"]


async def test_a_password_of_a_client_that_has_gone_is_not_checked_and_makes_room() -> None:
    hashed = await hash_password("testpass")
    checks = [asyncio.create_task(verify_password("testpass", hashed)) for _ in range(passwords.MOST_WAITING)]
    await asyncio.sleep(0)
    for check in checks:
        check.cancel()
    await asyncio.wait(checks)
    await asyncio.sleep(0)
    assert passwords._waiting <= passwords.THREADS, "only what a thread has begun still counts"
    assert await verify_password("testpass", hashed)
    async with asyncio.timeout(60):
        while passwords._waiting:  # else those count in the next test, whose loop never hears of their end
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_too_many_are_refused_and_the_loop_runs_meanwhile() -> None:
    hashed = await hash_password("testpass")
    checks = [verify_password("testpass", hashed) for _ in range(passwords.MOST_WAITING)]
    waiting = asyncio.gather(*checks)
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await verify_password("testpass", hashed)
    turns = 0
    while not waiting.done():
        await asyncio.sleep(0)
        turns += 1
    assert await waiting == [True] * passwords.MOST_WAITING
    assert turns > passwords.MOST_WAITING
    assert await verify_password("testpass", hashed), "there is room again"
