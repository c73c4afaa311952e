"""Expiry of sessions, revocations, subject versions and proofs in every session store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from scalekit.contracts import SubjectIdentifier
from scalekit.errors import Unavailable
from scalekit_jwt.plugin import COMPONENTS
from scalekit_jwt.revocations import RevocationPoller
from scalekit_jwt.session_store import RotationOutcome, SessionStore, TokenSession
from scalekit_jwt.session_store import database as database_store
from scalekit_jwt.session_store import memory as memory_store
from scalekit_jwt.session_store.memory import MemorySessionStore
from tests.jwt.harness import JwtClient, service

pytestmark = pytest.mark.anyio
REFRESH, LEEWAY = 7 * 86400, 30
NOON = 1_700_000_000.0
ADA = SubjectIdentifier("scalekit", "ada")


def poller_of(client: JwtClient) -> RevocationPoller:
    poller: RevocationPoller = client.app.context.get(COMPONENTS).poller
    return poller


def sessions_of(client: JwtClient) -> SessionStore:
    return poller_of(client)._store


async def test_a_subjects_revocation_is_stored_for_as_long_as_a_session_could_last(
    plugins: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with service(plugins=plugins) as client:
        before, after = client.new_client(), client.new_client()
        await before.login("ada")
        started = time.time()
        await client.send("/revoke", "POST", {"subject": "ada"})
        ended = time.time()
        await after.login("ada")
        poller, sessions = poller_of(client), sessions_of(client)
        with monkeypatch.context() as patched:
            patched.setattr(poller, "_clock", lambda: started + REFRESH + 2 * LEEWAY - 1)
            await poller.remove_expired()
            assert await sessions.version_of(ADA)
            patched.setattr(poller, "_clock", lambda: ended + REFRESH + 2 * LEEWAY + 1)
            await poller.remove_expired()
            assert not await sessions.version_of(ADA)


async def test_sessions_started_after_the_expiry_end_with_the_next_revocation(plugins: Mapping[str, Any]) -> None:
    async with service(plugins=plugins) as client:
        sessions = sessions_of(client)
        await sessions.revoke_all(ADA, NOON, NOON + 900)
        between = TokenSession("between", ADA, await sessions.version_of(ADA), "one", NOON + 1e9)
        await sessions.create(between, NOON)
        await sessions.remove_expired(NOON, NOON - 1)
        assert await sessions.version_of(ADA) == between.version
        await sessions.remove_expired(NOON, NOON)
        assert await sessions.version_of(ADA) == 0
        since = TokenSession("since", ADA, await sessions.version_of(ADA), "one", NOON + 1e9)
        await sessions.create(since, NOON)
        for session in (between, since):
            assert (
                await sessions.rotate(session, "two", now=NOON, grace=5, expires=NOON + 1e9)
            ).outcome is RotationOutcome.ROTATED
        await sessions.revoke_all(ADA, NOON + 1, NOON + 900)
        for session in (between, since):
            assert (
                await sessions.rotate(session, "three", now=NOON, grace=5, expires=NOON + 1e9)
            ).outcome is RotationOutcome.ENDED


async def test_versions_increase_even_when_the_clock_goes_back(plugins: Mapping[str, Any]) -> None:
    async with service(plugins=plugins) as client:
        sessions = sessions_of(client)
        seen = []
        for now in (NOON, NOON, NOON - 60, NOON + 60):
            await sessions.revoke_all(ADA, now, NOON + 1e9)
            seen.append(await sessions.version_of(ADA))
        assert seen == sorted(set(seen))
        versions = [each.version for each in await sessions.revocations(0, NOON) if each.kind == "subject"]
        assert versions == seen
        await asyncio.gather(*(sessions.revoke_all(ADA._replace(subject="bob"), NOON, NOON + 1e9) for _ in range(20)))
        versions = [each.version for each in await sessions.revocations(0, NOON) if each.value == "bob"]
        assert len(set(versions)) == 20, "each revocation increases the version"


async def test_expired_entries_are_removed(plugins: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_store, "BATCH", 2)
    async with service(plugins=plugins) as client:
        sessions, now = sessions_of(client), time.time()
        for number in range(3):
            await sessions.create(TokenSession(f"f{number}", ADA, 0, "one", now + 1000), now)
            await sessions.revoke("scalekit", f"token {number}", now + 1000)
            assert await sessions.mark_proof_used(f"proof {number}", now, now + 1000)
        await sessions.remove_expired(now + 999, now)
        assert len(await sessions.revocations(0, now)) == 3
        assert not await sessions.mark_proof_used("proof 0", now, now + 1000)
        await sessions.remove_expired(now + 1001, now)
        assert len(await sessions.revocations(0, now)) == 0


async def test_an_expired_proof_is_removed(plugins: Mapping[str, Any]) -> None:
    async with service(plugins=plugins) as client:
        sessions = sessions_of(client)
        assert await sessions.mark_proof_used("brief", time.time(), time.time() + 0.05)
        while not await sessions.mark_proof_used("brief", time.time(), time.time() + 0.05):
            await sessions.remove_expired(time.time(), 0.0)


async def test_a_shorter_refresh_ttl_applies_to_existing_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins = {"pool": {"url": f"sqlite:///{tmp_path}/sessions.db"}}
    later = time.time() + 2 * 3600
    async with service({"refresh_ttl": "7d"}, plugins) as client:
        await client.login("ada")
    for refresh, status in (("1h", 401), ("7d", 200)):
        async with service({"refresh_ttl": refresh}, plugins) as now:
            monkeypatch.setattr(now.app.context.get(COMPONENTS).refresh_tokens, "_clock", lambda: later)
            now.refresh_token, now.cookie = client.refresh_token, client.cookie
            assert (await now.refresh()).status == status


async def test_the_number_of_stored_proofs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_store, "MAX_ENTRIES", 3)
    sessions = MemorySessionStore()
    assert [await sessions.mark_proof_used(name, 0.0, 10.0) for name in "abcabc"] == [True] * 3 + [False] * 3
    with pytest.raises(Unavailable):
        await sessions.mark_proof_used("d", 9.0, 19.0)
    assert [await sessions.mark_proof_used(name, 10.0, 20.0) for name in "defg"[:3]] == [True] * 3
    with pytest.raises(Unavailable):
        await sessions.mark_proof_used("g", 10.0, 20.0)
