"""The sessions of a subject, in every session store."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from scalekit.contracts import SubjectIdentifier
from scalekit_jwt.plugin import COMPONENTS
from scalekit_jwt.session_store import RotationOutcome, SessionStore, TokenSession
from tests.jwt.harness import service

pytestmark = pytest.mark.anyio

ADA = SubjectIdentifier("scalekit", "ada")
HOSTILE = SubjectIdentifier("scalekit", "<b>' OR 1=1 --\n*")


async def start(store: SessionStore, family: str, subject: SubjectIdentifier, now: float, ttl: float) -> TokenSession:
    session = TokenSession(family, subject, await store.version_of(subject), f"first {family}", now + ttl)
    await store.create(session, now)
    return session


async def families(store: SessionStore, subject: SubjectIdentifier, now: float, limit: int = 10) -> list[str]:
    return [record.family for record in await store.sessions_of(subject, now, limit)]


async def test_sessions_are_listed_until_they_end(plugins: Mapping[str, Any]) -> None:
    async with service(plugins=plugins) as client:
        store, now = client.app.context.get(COMPONENTS).sessions, time.time()
        assert await families(store, ADA, now) == []
        for subject in (ADA, HOSTILE):
            name = subject.subject[:3]
            for number in (1, 2, 3):
                await start(store, f"{name} {number}", subject, now, 1000 * number)
        assert await families(store, ADA, now) == ["ada 3", "ada 2", "ada 1"]
        assert await families(store, HOSTILE, now) == ["<b> 3", "<b> 2", "<b> 1"]
        assert await families(store, ADA._replace(issuer="other"), now) == []
        assert await families(store, ADA, now, limit=2) == ["ada 3", "ada 2"]
        assert await families(store, ADA, now + 1500) == ["ada 3", "ada 2"]
        await store.end("ada 3", now, now + 900)
        assert await families(store, ADA, now) == ["ada 2", "ada 1"]
        assert await families(store, ADA, now, limit=1) == ["ada 2"], "a session that has ended takes no place"
        await store.revoke_all(ADA, now, now + 900)
        assert await families(store, ADA, now) == []
        await start(store, "ada 4", ADA, now, 500)
        assert await families(store, ADA, now, limit=1) == ["ada 4"], "revoked sessions take no place"
        assert len(await families(store, HOSTILE, now)) == 3


async def test_a_session_that_starts_while_all_are_revoked_is_not_listed(plugins: Mapping[str, Any]) -> None:
    async with service(plugins=plugins) as client:
        store, now = client.app.context.get(COMPONENTS).sessions, time.time()
        before = TokenSession("before", ADA, await store.version_of(ADA), "first", now + 1000)
        await store.revoke_all(ADA, now, now + 900)
        await store.create(before, now)
        assert await families(store, ADA, now) == []


async def test_a_record_has_the_times_of_its_session(plugins: Mapping[str, Any]) -> None:
    async with service(plugins=plugins) as client:
        store, now = client.app.context.get(COMPONENTS).sessions, time.time()
        session = await start(store, "one", ADA, now, 1000)
        (record,) = await store.sessions_of(ADA, now, 10)
        assert (record.created, record.refreshed) == (now, 0.0)
        assert record.expires == pytest.approx(now + 1000, abs=0.001)
        rotation = await store.rotate(session, "second", now=now + 10, grace=5, expires=now + 1010)
        assert rotation.outcome is RotationOutcome.ROTATED
        await store.mark_delivered("one", "second", now + 10)
        (record,) = await store.sessions_of(ADA, now + 1005, 10)
        assert (record.created, record.refreshed) == (now, now + 10)
        assert record.expires == pytest.approx(now + 1010, abs=0.001)
